"""A decision, and a pilot of it, on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from selectune.common.printable import plain
from selectune.common.run_files import RunFiles
from selectune.costs.saving import percent
from selectune.diagnose.diagnosis import TITLES as FAULTS
from selectune.pilot.decision import Decision
from selectune.pilot.ranking import AGAINST, Ranked, on, points, quoted
from selectune.pilot.recipes import TITLES
from selectune.pilot.result import SHAPES, Pilot, percent_of, points_of
from selectune.report.numbers import flop, seconds

if TYPE_CHECKING:
    from rich.console import Console


def print_decision(decision: Decision, files: RunFiles, console: Console | None = None) -> None:
    """Print what to do, the plans in their order, and the command that carries out the first.

    Args:
        decision: to print.
        files: of the run that it lies in.
        console: where to; default the terminal.
    """
    from rich.console import Console

    console = console or Console()

    def told(text: str, style: str = "") -> None:
        console.print(plain(text), highlight=False, style=style)

    full = decision.full
    told(f"{full.rows:,} rows of {decision.pool}; {_amount(full.cost.flops, full.cost.device_s)} for all of them in "
         f"{full.epochs:.3g} epochs. The budget {decision.budget} is {percent(decision.share)} of that.")  # fmt: skip
    cost = _amount(decision.diagnosis.flops, decision.diagnosis.device_s)
    told(
        f"The diagnosis {'was there, and had' if decision.diagnosed_before else 'has'} cost {cost}, beside the budget."
    )
    for fault in decision.faults:
        doubt = f"; only suspected, as {fault.doubt}" if fault.doubt else ""
        told(f"Found: {FAULTS[fault.name].lower()}, {percent(fault.share)} [{percent(fault.low)}, "
             f"{percent(fault.high)}] of the rows{doubt}.")  # fmt: skip
    if not decision.faults:
        told("The diagnosis found nothing.")
    if decision.prior:
        told(f"Class prior: {decision.prior}.")
    told(decision.sentence(), "bold")
    _print_plans(decision.ranked, console)
    for one in decision.left_out:
        told(f"Not planned: {quoted(one.name)}, as {one.why}.")
    if decision.first is not None:
        told(f"To train by the first: fit --config YOURS.yaml --config {files.plan_overlay} --output ANOTHER_RUN; "
             f"the others are in {files.plan}.")  # fmt: skip
    for note in decision.notes:
        told(f"- {note}", "dim")


def _print_plans(ranked: tuple[Ranked, ...], console: Console) -> None:
    """Print each plan beside its number, with its cost, gain and reason below its name."""
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, justify="right")
    table.add_column(overflow="fold")
    for number, one in enumerate(ranked, 1):
        table.add_row()
        table.add_row("–" if one.plan.unfit else f"{number}", f"[bold]{TITLES[one.plan.name]}[/bold]")
        for line in _lines(one):
            table.add_row("", plain(line))
    table.add_row()
    console.print(table, highlight=False)


def _lines(one: Ranked) -> list[str]:
    plan, lines = one.plan, []
    if not plan.unfit:
        both = plan.cost.selection + plan.cost.training
        selection = plan.cost.selection.flops if plan.cost.selection.flops is not None else plan.cost.selection.device_s
        share = percent(plan.cost.share)
        of_it = (
            f", {_amount(plan.cost.selection.flops, plan.cost.selection.device_s)} of it to choose" if selection else ""
        )
        lines.append(f"{plan.rows:,} rows, {plan.epochs:.3g} epochs: {share} of the full cost, "
                     f"{_amount(both.flops, both.device_s)}{of_it}.")  # fmt: skip
    if plan.answers:
        lines.append(f"Answers: {', '.join(FAULTS[name].lower() for name in plan.answers)}.")
    if plan.note:
        lines.append(plan.note)
    for gain in (one.gain, one.over_fewer_epochs):
        if gain is not None:
            lines.append(f"Expected: {points(gain)} over {AGAINST[gain.against]},{on(gain)}.")
    return [*lines, one.why]


def _amount(flops: float | None, device_s: float) -> str:
    """A cost in both units: "2.91 TFLOP, 83.1 s"."""
    return f"{flop(flops)}, {seconds(device_s)}" if flops is not None else seconds(device_s)


def print_pilot(pilot: Pilot, decision: Decision, files: RunFiles, console: Console | None = None) -> None:
    """Print the recommendation of a pilot, its forecasts, the plans with their gains, and what it cost.

    Args:
        pilot: to print.
        decision: the plans that it tried.
        files: of the run that it lies in.
        console: where to; default the terminal.
    """
    from rich.console import Console
    from rich.table import Table

    console = console or Console()

    def told(text: str, style: str = "") -> None:
        console.print(plain(text), highlight=False, style=style)

    told(pilot.sentence(), "bold")
    told(f"All rows would come to an accuracy of {percent_of(pilot.all_rows)}, the plan to "
         f"{percent_of(pilot.picked.accuracy)} at {percent(pilot.budget_share)} of the cost; "
         f"{pilot.level:.0%} intervals. At the sizes that were tried, {SHAPES[pilot.shape]}.")  # fmt: skip
    told(held_out_sentence(pilot))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("Plan", "Over random rows", "Accuracy", "Tried by"):
        table.add_column(name, justify="left", overflow="fold")
    for one in pilot.plans:
        tried = ", ".join(one.trials) or "nothing"
        told_why = f"{tried}; no arm, as {one.why_not}" if one.why_not else tried
        cells = TITLES[one.gain.name], points_of(one.gain), percent_of(one.accuracy), told_why
        table.add_row(*map(plain, cells), style="bold" if one.gain.name == pilot.plan else "")
    console.print(table, highlight=False)
    told(cost_sentence(pilot))
    told(f"To train by it: fit --config YOURS.yaml --config {files.plan_overlay} --output ANOTHER_RUN; the page is "
         f"{files.pilot_page}.")  # fmt: skip
    for note in decision.notes:
        told(f"- {note}", "dim")


def cost_sentence(pilot: Pilot) -> str:
    """The cost of a pilot beside its limit."""
    diagnosis = pilot.diagnosis.over(pilot.full, pilot.unit)
    spent, share = _amount(pilot.spent.flops, pilot.spent.device_s), percent(pilot.spent_share)
    return (
        f"The pilot cost {share} of the full training ({spent}), {percent(diagnosis)} of it for the diagnosis; it was "
        f"allowed {percent(pilot.share)}."
    )


def held_out_sentence(pilot: Pilot) -> str:
    """The rows that a pilot was judged on."""
    if not pilot.split_off:
        return f"Judged on {pilot.held_out:,} rows of dev, a split of its own, which is taken to be sound."
    return (
        f"Judged on {pilot.held_out:,} rows of dev, which were split off the pool and carry its faults; gains are "
        f"those on {pilot.sound:,} of them that look sound, and in rehearsals on {pilot.unseen:,} such rows of the "
        "pool, each by a head that did not see it."
    )
