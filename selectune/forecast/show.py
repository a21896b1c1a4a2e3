"""A forecast on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from selectune.costs import Part, Total, totals
from selectune.report.facts import STAGE_NAMES
from selectune.report.figures import flop, memory, seconds

if TYPE_CHECKING:
    from rich.console import Console

    from selectune.forecast.result import Forecast

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
