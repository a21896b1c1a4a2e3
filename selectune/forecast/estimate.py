"""The verb ``estimate``: a run from its warm-up to its last evaluation, forecast on this machine.

A few batches of every kind are run on throw-away weights and timed; FLOPs are those of all the batches that will be
made. Nothing is written but the cache of tokens, and ``forecast.json`` where a run is named.
"""

from __future__ import annotations

import math
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from selectune.errors import UserError
from selectune.forecast.forecaster import Forecaster
from selectune.forecast.result import Forecast
from selectune.forecast.tally import Tally
from selectune.pipeline import Job


@dataclass(frozen=True)
class Machine:
    """Another machine than this one.

    Args:
        device_flops: FLOPs a second of one of its devices, at its best.
        utilisation: share of them that is reached.

    Raises:
        UserError: one without the other, or one that cannot be.
    """

    device_flops: float
    utilisation: float

    @classmethod
    def of(cls, device_flops: float | None, utilisation: float | None) -> Machine | None:
        """The machine that is asked for; None for this one."""
        if device_flops is None and utilisation is None:
            return None
        if device_flops is None or utilisation is None:
            raise UserError("Another machine takes both, --device_flops and --utilisation; give the other one too.")
        if not 0 < device_flops < math.inf:
            raise UserError(f"--device_flops is {device_flops:g}, but must be FLOPs a second, such as 1e14.")
        if not 0 < utilisation <= 1:
            raise UserError(f"--utilisation is {utilisation:g}, but must be a share over 0 and at most 1.")
        return cls(device_flops, utilisation)


def forecast(job: Job, machine: Machine | None = None) -> Forecast:
    """What a fit of the job will cost.

    Args:
        job: begun: its data are loaded, and its ledger knows the device.
        machine: that the times are of; default this one.

    Raises:
        UserError: whatever the fit would refuse before it trains.
    """
    began, device = time.perf_counter(), job.ledger.device
    speed = None if machine is None else machine.device_flops * machine.utilisation
    tally = Tally(device, job.trainer.world_size, speed)
    forecaster = Forecaster(job, tally)
    with tempfile.TemporaryDirectory() as folder:
        made = forecaster.run(Path(folder))
    if machine is None:
        named = device
        told = f"Times are of this machine ({device}), from a few batches of each kind; it must be as busy then as now."
    else:
        named = f"a device of {machine.device_flops:.3g} FLOP/s at a utilisation of {machine.utilisation:g}"
        told = f"Times are FLOPs over {named}; of stages without arithmetic they are those of this machine."
        if unrated := tally.unrated:
            told += (
                f" The FLOPs of {', '.join(unrated)} are not known, so its times are those of this machine too, and "
                "the saving in device time is not known."
            )
    notes = [told, *dict.fromkeys(forecaster.notes)]
    return replace(made, assumptions=notes, device=named, wall_s=time.perf_counter() - began)
