"""The costs of a run as a table on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from selectune.costs.record import Stage, Total, add_up
from selectune.report.cost_tables import COST_COLUMNS, GROUPS, all_spent, cost_cells, cost_groups
from selectune.report.numbers import count, flop, seconds, share
from selectune.report.run_data import STAGE_NAMES, RunData
from selectune.report.run_tables import selected_name
from selectune.verdict.verdict import Verdict

if TYPE_CHECKING:
    from rich.console import Console

COLUMNS = COST_COLUMNS[:6]  # those that fit into 80 characters


def print_summary(run_dir: Path, console: Console | None = None, finished: bool | None = None) -> None:
    """Print the saving, the costs by stage and the held-out metrics of a run.

    Args:
        run_dir: of the run.
        console: where to; default the terminal.
        finished: whether the run is; None looks for ``done.json``.

    Raises:
        UserError: there is no such directory, or a file of it is damaged.
    """
    from rich.console import Console
    from rich.markup import escape as plain

    console = console or Console()
    run = RunData.read(Path(run_dir), finished)
    if run.records:
        print_costs(COLUMNS, cost_groups(run), {"Total spent": all_spent(run)}, console)
    if run.costs.redone:
        again = add_up(run.costs.redone)
        spent = f"{flop(again.flops)}, {seconds(again.device_s)}"
        console.print(f"redone after an interruption: {spent}, in the total and not in the saving", highlight=False)
    for name, (kept, pool) in run.sizes.items():
        part = share(kept / pool) if pool else ""
        console.print(f"{selected_name(name, run)} kept: {count(kept)} of {count(pool)} ({part})")
    for name, value in run.metrics.items():
        if name.startswith("test/"):
            console.print(f"{plain(name)}: " + f"{value:.4f}".replace("-", "\N{MINUS SIGN}"), highlight=False)
    if run.verdict is not None:
        print_verdict(run.verdict, console)
    if run.saving:
        cost = run.saving.sentence()
        pays = run.saving.break_even_sentence()
        console.print(f"Counting cost alone: {plain(cost)}{'' if pays in cost else f' {plain(pays)}'}")
    for line in run.warnings:
        console.print(f"[yellow]Warning:[/yellow] {plain(line)}")


def print_verdict(verdict: Verdict, console: Console | None = None) -> None:
    """Print a verdict, its headline in its colour."""
    from rich.console import Console
    from rich.markup import escape as plain

    rest = verdict.sentence.removeprefix(verdict.headline)
    colour = {"green": "green", "red": "red", "grey": "bright_black"}[verdict.colour]
    (console or Console()).print(f"[bold {colour}]{plain(verdict.headline)}[/bold {colour}]{plain(rest)}")


def print_costs(
    columns: Sequence[str],
    groups: Iterable[tuple[str, dict[Stage, Total]]],
    sums: dict[str, Total],
    console: Console,
) -> None:
    """Print the totals of the stages of some `GROUPS`, and sums by name, in some of `COST_COLUMNS`."""
    from rich import box
    from rich.table import Table

    def cells(total: Total) -> list[str]:
        written = {name: write(value) for name, (value, write) in zip(COST_COLUMNS[1:], cost_cells(total))}
        return [written[name] for name in columns[1:]]

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in columns:
        table.add_column(name, justify="left" if name == "Stage" else "right", no_wrap=True)
    for group, stages in groups:
        table.add_row(f"[italic]{GROUPS[group][0]}[/italic]")
        for stage, total in stages.items():
            table.add_row(f"  {STAGE_NAMES[stage]}", *cells(total))
    for name, total in sums.items():
        table.add_row(f"[bold]{name}[/bold]", *cells(total))
    console.print(table)
