"""The verb ``estimate``: a run from its warm-up to its last evaluation, forecast on this machine.

A few batches of every kind are run on throw-away weights and timed; FLOPs are those of all the batches that will be
made. Nothing is written but the cache of tokens, and ``forecast.json`` where a run is named.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from selectune.common.errors import UserError
from selectune.costs.record import Part, Total, totals
from selectune.forecast.forecaster import Forecaster
from selectune.forecast.ledger import EstimatedCosts
from selectune.forecast.result import Forecast, advice
from selectune.report.numbers import flop, memory, seconds
from selectune.report.run_data import STAGE_NAMES
from selectune.runs.job import Job, Start, abandoned_on_mistakes, begin

PARTS: dict[Part, str] = {"fit": "This task", "warm_up": "Warm-up's data"}
COLUMNS = ("Stage", "FLOPs", "Device time", "Wall time", "Peak memory")


@dataclass(frozen=True)
class Machine:
    """Another machine than this one.

    Args:
        device_flops: FLOPs a second of one of its devices, at its best.
        utilisation: share of them that is reached.
    """

    device_flops: float
    utilisation: float

    @classmethod
    def of(cls, device_flops: float | None, utilisation: float | None) -> Machine | None:
        """The machine that is asked for; None for this one.

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
        return cls(device_flops, utilisation)


def estimate(job: Job, device_flops: float | None = None, utilisation: float | None = None) -> None:
    """Forecast the costs of a fit, and whether selecting will pay, from a few batches; nothing is trained or selected.

    The ledger of the run is left alone: the forecast itself says what it took.
    """
    machine = Machine.of(device_flops, utilisation)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UserError("estimate measures in one process, for as many as trainer.devices says; start it alone.")
    with abandoned_on_mistakes(job):
        start = begin(job, "estimate")
        job.ledger.path = None
        made = forecast(job, start, machine)
    if job.directory is not None:
        made.write(job.run.path)
    print_forecast(made)


def forecast(job: Job, start: Start, machine: Machine | None = None) -> Forecast:
    """The estimated costs of a fit.

    Args:
        job: the fit; its data are loaded, and its ledger knows the device.
        start: of it.
        machine: that the times are of; default this one.

    Raises:
        UserError: whatever the fit would refuse before it trains.
    """
    began, device = time.perf_counter(), job.ledger.device
    speed = None if machine is None else machine.device_flops * machine.utilisation
    estimated = EstimatedCosts(device, job.trainer.world_size, speed)
    forecaster = Forecaster(job, start, estimated)
    with tempfile.TemporaryDirectory() as folder:
        saving, keep, scorer = forecaster.run(Path(folder))
    if machine is None:
        note = f"Times are of this machine ({device}), from a few batches of each kind; it must be as busy then as now."
    else:
        device = f"a device of {machine.device_flops:.3g} FLOP/s at a utilisation of {machine.utilisation:g}"
        note = f"Times are FLOPs over {device}; of stages without arithmetic they are those of this machine."
    if unscaled := estimated.unscaled:
        note += (
            f" The FLOPs of {', '.join(unscaled)} are not known, so its times are those of this machine too, and "
            "the saving in device time is not known."
        )
    notes = [note, *dict.fromkeys(forecaster.notes)]
    wall_s = time.perf_counter() - began
    return Forecast(estimated.records, saving, keep, scorer, notes, device, wall_s, advice(scorer, saving))


def print_forecast(forecast: Forecast) -> None:
    """Print the stages, whether selecting will pay, and the assumptions."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape as plain
    from rich.table import Table

    console = Console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in COLUMNS:
        table.add_column(name, justify="left" if name == "Stage" else "right", no_wrap=True)
    for part, name in PARTS.items():
        spent = totals(record for record in forecast.records if record.part == part).spent
        if spent:
            table.add_row(f"[italic]{name}[/italic]")
        for stage, total in spent.items():
            table.add_row(f"  {STAGE_NAMES[stage]}", *_cells(total))
    table.add_row("[bold]Total forecast[/bold]", *_cells(forecast.total))
    console.print(f"What this run will cost, on {plain(forecast.device)}:", highlight=False)
    console.print(table)
    console.print(f"[bold]{plain(forecast.sentence())}[/bold]", highlight=False)
    for sentence in (forecast.break_even(), forecast.scorer.sentence() if forecast.scorer else "", forecast.advice):
        if sentence:
            console.print(plain(sentence), highlight=False)
    for note in forecast.assumptions:
        console.print(f"[dim]- {plain(note)}[/dim]", highlight=False)
    console.print(f"[dim]- This forecast took {forecast.wall_s:,.0f} s.[/dim]", highlight=False)


def _cells(total: Total) -> list[str]:
    peak = max(total.peak_rss_bytes, total.peak_cuda_bytes or 0)
    return [flop(total.flops), seconds(total.device_s), seconds(total.wall_s), memory(peak)]
