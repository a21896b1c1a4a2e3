"""The costs of a run as a table on the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from selectune.costs.record import Total, add_up
from selectune.report.html_tables import COST_COLUMNS, GROUPS, all_spent, cost_cells, cost_groups
from selectune.report.labels import metric
from selectune.report.numbers import count, flop, seconds, share
from selectune.report.page import kept_name
from selectune.report.run_data import STAGE_NAMES, Facts

if TYPE_CHECKING:
    from rich.console import Console


def print_summary(run_dir: Path, console: Console | None = None) -> None:
    """Print the saving, the costs by stage and the held-out figures of a run.

    Args:
        run_dir: of the run.
        console: where to; default the terminal.

    Raises:
        UserError: there is no such directory, or a file of it is damaged.
    """
    from rich import box
    from rich.console import Console
    from rich.markup import escape as plain
    from rich.table import Table

    console = console or Console()
    facts = Facts.read(Path(run_dir))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    shown = COST_COLUMNS[:6]  # what 80 columns have room for
    for name in shown:
        table.add_column(name, justify="left" if name == "Stage" else "right", no_wrap=True)
    for group, rows in cost_groups(facts.records):
        table.add_row(f"[italic]{GROUPS[group][0]}[/italic]")
        for stage, total in rows.items():
            table.add_row(f"  {STAGE_NAMES[stage]}", *_shown(total, len(shown)))
    table.add_row("[bold]Total spent[/bold]", *_shown(all_spent(facts.records), len(shown)))
    if facts.records:
        console.print(table)
    if facts.costs.redone:
        again = add_up(facts.costs.redone)
        told = f"{flop(again.flops)}, {seconds(again.device_s)}"
        console.print(f"redone after an interruption: {told}, in the total and not in the saving", highlight=False)
    for name, (kept, pool) in facts.sizes.items():
        console.print(
            f"{kept_name(name, facts)}: {count(kept)} of {count(pool)} ({share(kept / pool) if pool else ''})"
        )
    test = {name: value for name, value in facts.metrics.items() if name.startswith("test/")}
    for name, value in test.items():
        console.print(f"{plain(name)}: {metric(value)}", highlight=False)
    if facts.saving:
        console.print(f"[bold]{plain(facts.saving.sentence())}[/bold]")
        if (pays := facts.saving.break_even_sentence()) not in facts.saving.sentence():
            console.print(plain(pays))
    for line in facts.warnings:
        console.print(f"[yellow]Warning:[/yellow] {plain(line)}")


def _shown(total: Total, n_columns: int) -> list[str]:
    return [told(value) for value, told in cost_cells(total)][: n_columns - 1]
