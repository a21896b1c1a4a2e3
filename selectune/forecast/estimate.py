"""The verb ``estimate``: a run from its warm-up to its last evaluation, forecast on this machine.

A few batches of every kind are run on throw-away weights and timed; FLOPs are those of all the batches that will be
made. Nothing is written but the cache of tokens, and ``forecast.json`` where a run is named.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from selectune.common.errors import UserError
from selectune.costs.record import Part, Total, totals
from selectune.forecast.forecaster import Forecaster
from selectune.forecast.ledger import Tally
from selectune.forecast.result import Forecast
from selectune.report.numbers import flop, memory, seconds
from selectune.report.run_data import STAGE_NAMES
from selectune.runs.job import Job, Start, abandoned_on_mistakes, begin

if TYPE_CHECKING:
    from rich.console import Console


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


def estimate(job: Job, device_flops: float | None = None, utilisation: float | None = None) -> None:
    """Forecast what a fit will cost and whether selecting will pay, from a few batches; nothing is trained or selected.

    The ledger of the run is left alone: what a forecast takes is said in the forecast.
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
    """What a fit of the job will cost.

    Args:
        job: what was asked for; its data are loaded, and its ledger knows the device.
        start: of it.
        machine: that the times are of; default this one.

    Raises:
        UserError: whatever the fit would refuse before it trains.
    """
    began, device = time.perf_counter(), job.ledger.device
    speed = None if machine is None else machine.device_flops * machine.utilisation
    tally = Tally(device, job.trainer.world_size, speed)
    forecaster = Forecaster(job, start, tally)
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


PARTS: dict[Part, str] = {"fit": "This task", "warm_up": "Warm-up's data"}
COLUMNS = ("Stage", "FLOPs", "Device time", "Wall time", "Peak memory")


def print_forecast(forecast: Forecast, console: Console | None = None) -> None:
    """Print the stages, whether selecting will pay, and what the forecast rests on.

    Args:
        forecast: any.
        console: where to; default the terminal.
    """
    from rich import box
    from rich.console import Console
    from rich.markup import escape as plain
    from rich.table import Table

    console = console or Console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in COLUMNS:
        table.add_column(name, justify="left" if name == "Stage" else "right", no_wrap=True)
    for part, named in PARTS.items():
        spent = totals(record for record in forecast.records if record.part == part).spent
        if spent:
            table.add_row(f"[italic]{named}[/italic]")
        for stage, total in spent.items():
            table.add_row(f"  {STAGE_NAMES[stage]}", *_shown(total))
    table.add_row("[bold]Total forecast[/bold]", *_shown(forecast.total))
    console.print(f"What this run will cost, on {plain(forecast.device)}:", highlight=False)
    console.print(table)
    console.print(f"[bold]{plain(forecast.sentence())}[/bold]", highlight=False)
    for told in (forecast.break_even(), forecast.scorer.sentence() if forecast.scorer else "", forecast.advice):
        if told:
            console.print(plain(told), highlight=False)
    for note in forecast.assumptions:
        console.print(f"[dim]- {plain(note)}[/dim]", highlight=False)
    console.print(f"[dim]- This forecast took {forecast.wall_s:,.0f} s.[/dim]", highlight=False)


def _shown(total: Total) -> list[str]:
    peak = max(total.peak_rss_bytes, total.peak_cuda_bytes or 0)
    return [flop(total.flops), seconds(total.device_s), seconds(total.wall_s), memory(peak)]
