"""The costs of a run as a table on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selectune.common.printable import plain
from selectune.costs.record import Stage, Total
from selectune.report.cost_notes import entropy_note, review_note
from selectune.report.measured import ONE_SEED, Measured
from selectune.report.numbers import count, flop, memory, seconds, share
from selectune.report.run_data import STAGE_NAMES, RunData
from selectune.verdict.verdict import Verdict

if TYPE_CHECKING:
    from rich.console import Console

COLUMNS = ("Stage", "FLOPs", "Device time", "Wall time", "Rows", "Tokens")
GROUPS = {
    "fit": "This task",
    "warm_up": "Warm-up's data",
    "diagnosis": "Diagnosis",
    "pilot": "Pilot",
    "avoided": "Avoided",
}


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

    console = console or Console()
    run = RunData.read(Path(run_dir), finished)
    if run.records:
        print_costs(COLUMNS, run.cost_groups, {"Total spent": run.spent}, console)
    if run.costs.redone:
        spent = f"{flop(run.redone.flops)}, {seconds(run.redone.device_s)}"
        console.print(f"redone after an interruption: {spent}, in the total and not in the saving", highlight=False)
    for name, (kept, pool) in run.sizes.items():
        part = share(kept / pool) if pool else ""
        console.print(f"{name} kept: {count(kept)} of {count(pool)} ({part})")
    for note in (review_note(run.review) if run.review else "", entropy_note(run)):
        if note:
            console.print(plain(note), highlight=False)
    _print_metrics(run.measured, "test", console)
    if run.expected:
        console.print(plain(run.expected), highlight=False)
    if run.verdict is not None:
        print_verdict(run.verdict, console)
    if run.saving:
        cost = run.saving.sentence()
        pays = run.saving.break_even_sentence()
        console.print(f"Counting cost alone: {plain(cost)}{'' if pays in cost else f' {plain(pays)}'}")
    for line in run.warnings:
        console.print(f"[yellow]Warning:[/yellow] {plain(line)}")


def print_metrics(run_dir: Path, split: str, n_rows: Mapping[str, int]) -> None:
    """Print the metrics of a run on a split, ``val`` or ``test``, with what they were measured on.

    Args:
        run_dir: of the run.
        split: whose metrics are printed, those of further held-out splits with ``test``.
        n_rows: of each split, where they are known; else they are those of the run's files.

    Raises:
        UserError: a file of the run is damaged.
    """
    from rich.console import Console

    known = RunData.read(Path(run_dir)).measured
    sized = {name: replace(one, n_rows=n_rows.get(name.rpartition("/")[0], one.n_rows)) for name, one in known.items()}
    _print_metrics(sized, split, Console())


def _print_metrics(metrics: Mapping[str, Measured], split: str, console: Console) -> None:

    known = [one for name, one in metrics.items() if name.startswith(f"{split}/")]
    for one in known:
        console.print(plain(one.sentence()), highlight=False)
    if any(one.bounds for one in known):
        console.print(ONE_SEED)


def print_verdict(verdict: Verdict, console: Console | None = None) -> None:
    """Print a verdict, its headline in its colour."""
    from rich.console import Console

    rest = verdict.sentence.removeprefix(verdict.headline)
    colour = {"green": "green", "red": "red", "grey": "bright_black"}[verdict.colour]
    (console or Console()).print(f"[bold {colour}]{plain(verdict.headline)}[/bold {colour}]{plain(rest)}")


def print_costs(
    columns: Sequence[str], groups: Mapping[Any, dict[Stage, Total]], sums: dict[str, Total], console: Console
) -> None:
    """Print the totals of the stages of some `GROUPS`, and sums by name, in some of the columns of `_cells`."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in columns:
        table.add_column(name, justify="left" if name == "Stage" else "right", no_wrap=True)
    for group, stages in groups.items():
        table.add_row(f"[italic]{GROUPS[group]}[/italic]")
        for stage, total in stages.items():
            table.add_row(f"  {STAGE_NAMES[stage]}", *(_cells(total)[name] for name in columns[1:]))
    for name, total in sums.items():
        table.add_row(f"[bold]{name}[/bold]", *(_cells(total)[name] for name in columns[1:]))
    console.print(table)


def _cells(total: Total) -> dict[str, str]:
    rows, tokens = (count(value) if value else "–" for value in (total.examples, total.tokens))
    times = {"Device time": seconds(total.device_s), "Wall time": seconds(total.wall_s)}
    peak = memory(max(total.peak_rss_bytes, total.peak_cuda_bytes or 0))
    return {"FLOPs": flop(total.flops), **times, "Rows": rows, "Tokens": tokens, "Peak memory": peak}
