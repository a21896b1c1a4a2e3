"""The verb ``estimate``: a run from its warm-up to its last evaluation, forecast on this machine.

A few batches of every kind are run on throw-away weights and timed; FLOPs are those of all the batches that will be
made. Nothing is written but the cache of tokens, and ``forecast.json`` where a run is named.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from pathlib import Path

from selectune.common.errors import UserError
from selectune.common.files import write_json
from selectune.common.printable import plain
from selectune.costs.record import STAGES, TRAINING
from selectune.forecast.forecaster import Forecaster
from selectune.forecast.ledger import EstimatedCosts
from selectune.forecast.result import Forecast
from selectune.report.terminal import print_costs
from selectune.runs.job import Job, Start, abandoned_on_mistakes, begin

COLUMNS = ("Stage", "FLOPs", "Device time", "Wall time", "Peak memory")


def speed_of(device_flops: float | None, utilisation: float | None) -> float | None:
    """FLOPs a second of another machine, given its best and the share that is reached; None for this machine.

    Raises:
        UserError: one without the other, or one that cannot be.
    """
    if device_flops is None and utilisation is None:
        return None
    if device_flops is None or utilisation is None:
        raise UserError("Another machine takes both, --device_flops and --utilisation; give the other one too.")
    if not 0 < device_flops < math.inf:
        raise UserError(f"--device_flops is {device_flops:g}, but must be FLOPs a second, such as 1e14.")
    if not 0 < utilisation <= 1:
        raise UserError(f"--utilisation is {utilisation:g}, but must be a share over 0 and at most 1.")
    return device_flops * utilisation


def estimate(job: Job, device_flops: float | None = None, utilisation: float | None = None) -> None:
    """Forecast the costs of a fit, and whether selecting will pay, from a few batches; nothing is trained or selected.

    The ledger of the run is left alone: the forecast itself says what it took.
    """
    speed_of(device_flops, utilisation)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UserError("estimate measures in one process, for as many as trainer.devices says; start it alone.")
    with abandoned_on_mistakes(job):
        start = begin(job, "estimate")
        job.ledger.path = None
        made = forecast(job, start, device_flops, utilisation)
    if job.directory is not None:
        write_json(job.run.forecast, made.to_json())
    print_forecast(made)


def forecast(job: Job, start: Start, device_flops: float | None = None, utilisation: float | None = None) -> Forecast:
    """The estimated costs of a fit.

    Args:
        job: the fit; its data are loaded, its ledger knows the device, and a few steps of its model are trained.
        start: of it.
        device_flops: FLOPs a second of a device of another machine, at its best; default this machine.
        utilisation: share of them that is reached.

    Raises:
        UserError: whatever the fit would refuse before it trains.
    """
    began, device, speed = time.perf_counter(), job.ledger.device, speed_of(device_flops, utilisation)
    estimated = EstimatedCosts(device, job.trainer.world_size, speed)
    forecaster = Forecaster(job, start, estimated)
    with tempfile.TemporaryDirectory() as folder:
        saving, keep, scorer = forecaster.run(Path(folder))
    note = f"Times are of this machine ({device}), from a few batches of each kind; it must be as busy then as now."
    if speed is not None:
        device = f"a device of {device_flops:.3g} FLOP/s at a utilisation of {utilisation:g}"
        note = f"Times are FLOPs over {device}; of stages without arithmetic they are those of this machine."
        unknown = {record.stage for record in estimated.records if record.flops is None and not record.cached}
        if unknown:
            note += (
                f" The FLOPs of {', '.join(sorted(unknown, key=STAGES.index))} are not known, so its times are those "
                "of this machine too, and the saving in device time is not known."
            )
    notes = list(dict.fromkeys([note, *forecaster.notes]))
    return Forecast(estimated.records, saving, keep, scorer, notes, device, time.perf_counter() - began)


def print_forecast(forecast: Forecast) -> None:
    """Print the stages, whether selecting will pay, and the assumptions."""
    from rich.console import Console

    console = Console()
    console.print(f"What this run will cost, on {plain(forecast.device)}:", highlight=False)
    groups = {part: spent for part in TRAINING if (spent := forecast.spent(part))}
    print_costs(COLUMNS, groups, {"Total forecast": forecast.total}, console)
    console.print(f"[bold]{plain(forecast.sentence())}[/bold]", highlight=False)
    for sentence in (forecast.break_even(), forecast.scorer.sentence() if forecast.scorer else "", forecast.advice):
        if sentence:
            console.print(plain(sentence), highlight=False)
    for note in (*forecast.assumptions, f"This forecast took {forecast.wall_s:,.0f} s."):
        console.print(f"[dim]- {plain(note)}[/dim]", highlight=False)
