"""A decision on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from selectune.common.run_files import RunFiles
from selectune.costs.saving import percent
from selectune.diagnose.diagnosis import TITLES as FAULTS
from selectune.pilot.decision import Decision
from selectune.pilot.ranking import AGAINST, Ranked, on, points, quoted
from selectune.pilot.recipes import TITLES
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
    from rich.markup import escape as plain

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
    from rich.markup import escape as plain
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
