"""The top of a run's page: the verdict, its three numbers, and the runs that they come from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from selectune.costs.saving import UNIT_NAMES, UNITS, WHOLE, Terms
from selectune.report.cells import Cell, Group, Number, Row, Table, cell, number
from selectune.report.labels import capital
from selectune.report.numbers import flop, seconds, share
from selectune.report.run_data import RunData
from selectune.verdict import prose
from selectune.verdict.decision import Word
from selectune.verdict.evidence import ARMS, FAIR, Arm, ArmName, Cost, Evidence, Metric
from selectune.verdict.intervals import Difference
from selectune.verdict.verdict import Colour

ARM_NAMES: dict[ArmName, str] = {
    "all_rows": "All rows",
    "random_rows": "Random rows, same total cost",
    "fewer_epochs": "All rows for fewer epochs, same total cost",
}
MEASURED = {True: "against an estimate from this run's cost a token", False: "both measured"}


@dataclass(frozen=True)
class Tile:
    """One of the numbers at the top: its name, the number, what it means, and the command that would give it."""

    name: str
    value: Cell
    notes: Sequence[Cell]
    command: str = ""


@dataclass(frozen=True)
class Top:
    """The top of a page; the sentences below the headline are one paragraph each."""

    colour: Colour
    headline: str
    sentences: Sequence[str]
    tiles: Sequence[Tile]


def top_of(run: RunData) -> Top:
    """The verdict on a run; of one that cannot be judged, that it is not known, and why."""
    problems = [problem.message for problem in run.training.problems] if run.training and run.training.failed else []
    if (verdict := run.verdict) is not None:
        rest = capital(verdict.sentence.removeprefix(verdict.headline).lstrip(":, "))
        return Top(verdict.colour, verdict.headline, [*problems, rest], _tiles(verdict.evidence))
    word = Word.TRAINING_FAILED if problems else Word.NOT_KNOWN_YET
    unfinished = [run.unfinished] if run.unfinished else []
    sentences = [*problems, *unfinished, *([] if problems else [_why_not_judged(run)])]
    tiles = [_cost_of(run), *(Tile(f"Metric against {arm}", "not known", []) for arm in ("all rows", "random rows"))]
    return Top("red" if problems else "grey", prose.HEADLINES[word], sentences, tiles)


def _why_not_judged(run: RunData) -> str:
    if run.unfinished or run.saving is None:
        return "How training on these rows compares with all rows, and with random ones of the same cost, is not known."
    if run.selected_for == "warm_up":
        return (
            "Rows were selected for the warm-up alone. What that gave is not known from one run: run the same config "
            "with warm_up.data.selector Random, and compare both with `python main.py report RUN RUN`."
        )
    return "There is no metric on held-out data, so what the selection gave is not known; give data.test_split."


def _tiles(evidence: Evidence) -> list[Tile]:
    """Cost against all rows, and the metric against all rows and against random rows of the same cost."""
    name = capital(prose.metric_name(evidence.metric))
    return [
        _cost_tile(evidence.cost, evidence.all_rows.cost),
        _metric_tile(evidence, "all_rows", f"{name} against all rows"),
        _metric_tile(evidence, "random_rows", f"{name} against random rows"),
    ]


def _cost_of(run: RunData) -> Tile:
    """The cost tile of a run without a verdict, from its saving."""
    if run.saving is None:
        return Tile("Cost against all rows", "not known", [])
    flops, device_s = (getattr(run.saving.main, unit) for unit in UNITS)
    full = Cost(flops.full_training, device_s.full_training, flops.full_is_estimated)
    tile = _cost_tile(Cost(_total(flops), _total(device_s)), full)
    return tile if run.selected_for == "fit" else replace(tile, name=f"Cost against {WHOLE[run.selected_for]}")


def _total(terms: Terms) -> float | None:
    return None if terms.selection is None or terms.training is None else terms.selection + terms.training


def _cost_tile(cost: Cost, all_rows: Cost | None) -> Tile:
    ratios = cost.ratios_to(all_rows) if all_rows else {}
    if not ratios or all_rows is None:
        return Tile("Cost against all rows", "not known", [])
    (unit, ratio), *others = ratios.items()
    notes: list[Cell] = [[f"{UNIT_NAMES[name]} ", number(other - 1, signed_share)] for name, other in others]  # type: ignore[index]
    value: Cell = [number(ratio - 1, signed_share), f" {UNIT_NAMES[unit]}"]  # type: ignore[index]
    return Tile("Cost against all rows", value, [*notes, MEASURED[all_rows.estimated]])


def _metric_tile(evidence: Evidence, name: ArmName, title: str) -> Tile:
    arm = evidence.arm(name)
    if (difference := arm.difference) is None:
        value, notes = ("no result", [arm.problem]) if arm.problem else ("not run", [])
        return Tile(title, value, notes, arm.command)
    points, low, high = change(evidence.metric, difference)
    about: list[Cell] = [["95 % interval ", low, " to ", high], over(difference)]
    ratio = evidence.relative_cost(name)
    if name != "all_rows":
        times = number(ratio, "{:.2f} times".format)
        about.append("at the same total cost" if abs(ratio - 1) <= FAIR else ["at ", times, " the cost of this run"])
    unit = "" if evidence.metric.scale == "plain" else " points"
    return Tile(title, [points, unit], about)


def change(metric: Metric, difference: Difference) -> list[Number]:
    """A difference and the bounds of its interval, in points, as far as the metric has them."""
    bounds = (difference.value, difference.low, difference.high)
    width = (difference.high - difference.low) / metric.unit
    least = 0 if metric.scale == "plain" else 1
    digits = min(max(1 - math.floor(math.log10(width)), least), 4) if width > 0 else 2

    def write(value: float | None) -> str:
        return f"{(value or 0) / metric.unit:+.{digits}f}".replace("-", "\N{MINUS SIGN}")

    return [number(bound, write) for bound in bounds]


def over(difference: Difference) -> str:
    """The seeds and rows of an interval: "3 seeds, 1,000 rows"; of one seed, that another may differ."""
    if difference.over == "rows":
        return f"{difference.n_rows:,} rows of one seed; another may differ"
    rows = f", {difference.n_rows:,} rows" if difference.over != "seeds" else ""
    return f"{difference.n_seeds} seeds{rows}"


def arms_table(run: RunData) -> Table | None:
    """The run and the arms that it is judged against: cost, metric and difference; None without a verdict."""
    if run.verdict is None:
        return None
    evidence = run.verdict.evidence
    score = _score(evidence, evidence.score)
    rows = [Row("This run", [*_cost_cells(evidence.cost), score, "", "", "", measured_over(run, evidence)])]
    for name in ARMS:
        arm = evidence.arm(name)
        mark = arm.problem or ("cost estimated" if arm.cost and arm.cost.estimated else "")
        rows.append(Row(ARM_NAMES[name], [*_cost_cells(arm.cost), *_arm_cells(evidence, arm)], mark=mark))
    columns = ("", "FLOPs", "Device time", capital(prose.metric_name(evidence.metric)),
               "Difference", "95 % interval", "p (Holm)", "Over")  # fmt: skip
    return Table("arms", columns, [Group(rows)])


def _cost_cells(cost: Cost | None) -> list[Cell]:
    return [cell(cost.flops if cost else None, flop), cell(cost.device_s if cost else None, seconds)]


def _arm_cells(evidence: Evidence, arm: Arm) -> list[Cell]:
    if (difference := arm.difference) is None:
        return [_score(evidence, arm.score), "no result" if arm.problem else "not run", "", "", ""]
    value, low, high = change(evidence.metric, difference)
    p = difference.p if difference.p_holm is None else difference.p_holm
    p_value = number(p, lambda value: "< 0.001" if (value or 0) < 0.001 else f"{value:.3f}")
    return [_score(evidence, arm.score), value, [low, " to ", high], p_value, over(difference)]


def _score(evidence: Evidence, value: float | None) -> Cell:
    return cell(value, lambda value: prose.score(evidence.metric, value or 0.0))


def measured_over(run: RunData, evidence: Evidence) -> str:
    """The seeds and rows that the metric of a run is the mean over: "3 seeds, 1,000 rows"."""
    one = run.measured.get(f"test/{evidence.metric.name}")
    rows = [one.rows] if one and one.n_rows else []
    return ", ".join([f"{evidence.n_seeds} seed{'s' if evidence.n_seeds > 1 else ''}", *rows])


def in_metric(run: RunData) -> str:
    """The price of a run's saving in its metric, in one sentence to stand beside the saving; or that it is unknown."""
    evidence = run.verdict.evidence if run.verdict else None
    if evidence is None or (difference := evidence.all_rows.difference) is None:
        return "What that cost in accuracy is not known, as it was not compared with training on all rows."
    value, low, high = (bound.text for bound in change(evidence.metric, difference))
    unit = "" if evidence.metric.scale == "plain" else " points"
    name = prose.metric_name(evidence.metric)
    return f"In {name}, it is {value}{unit} against all rows (95 % interval {low} to {high}, {over(difference)})."


def signed_share(value: float | None) -> str:
    """A relative change in per cent: "+4.0 %"."""
    return f"{'+' if (value or 0) > 0 else ''}{share(value)}"
