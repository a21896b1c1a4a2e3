"""Over the seeds of each task, method and budget: mean, spread, cost, and the difference to random rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from selectune.tables.bootstrap import Difference, difference
from selectune.tables.grid import NO_BUDGET
from selectune.tables.results import Result, write_rows

RANDOM = "random"
COLUMNS = (
    "task", "budget", "metric", "method", "mean", "sd", "n", "tokens_trained_on", "total_flops", "selection_flops",
    "total_device_s", "versus_random", "low", "high", "over_rows", "matches", "by", "matched_versus_this",
    "matched_low", "matched_high",
)  # fmt: skip


@dataclass(frozen=True)
class Match:
    """That random rows are as much as another method's.

    Args:
        method: the other one.
        by: what is the same: ``rows``, ``tokens`` or ``cost``.
        gain: the difference of the other one to these random rows; None where unknown.
    """

    method: str
    by: str
    gain: Difference | None


@dataclass(frozen=True)
class Line:
    """A method on a task at a budget.

    Args:
        method: by name.
        budget: that it was run at; ``none`` where it has none.
        mean: of the headline over seeds.
        sd: of the headline over seeds, with n - 1; None for one seed.
        n: seeds that are done.
        tokens: trained on, mean over seeds.
        flops: selection, warm-up and training, mean over seeds; None when unknown.
        selection_flops: of it, the selection.
        device_s: as `flops`, in seconds.
        versus_random: the difference to random rows of the same budget; None for random itself, and where unknown.
        match: of random rows that are as much as another method's.
        warned: what the selections and trainings of its runs warned of, of each run that did.
    """

    method: str
    budget: str
    mean: float
    sd: float | None
    n: int
    tokens: float
    flops: float | None
    selection_flops: float | None
    device_s: float | None
    versus_random: Difference | None
    match: Match | None = None
    warned: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """The methods of a task at a budget, with those that have no budget.

    Args:
        task: by name.
        budget: as written in the table.
        metric: the headline.
        lines: in the table's order.
    """

    task: str
    budget: str
    metric: str
    lines: list[Line]


def summarise(results: list[Result]) -> list[Group]:
    """All groups that have a done cell, in the order of the results."""
    by_place: dict[tuple[str, str, str], list[Result]] = {}
    for result in results:
        cell = result.cell
        by_place.setdefault((cell.task, cell.budget, cell.method), []).append(result)
    groups = []
    for task in dict.fromkeys(task for task, _, _ in by_place):
        budgets = list(dict.fromkeys(budget for name, budget, _ in by_place if name == task))
        for budget in [budget for budget in budgets if budget != NO_BUDGET] or [NO_BUDGET]:
            runs = {(b, m): found for (t, b, m), found in by_place.items() if t == task and b in (budget, NO_BUDGET)}
            random = runs.get((budget, RANDOM), [])
            lines = [
                _line(found, [] if name == RANDOM else random, runs.get((place, found[0].cell.match), []))
                for (place, name), found in runs.items()
            ]
            first = next(iter(runs.values()))[0]
            groups.append(Group(task, budget, first.cell.metric, lines))
    return groups


def write_summary(groups: list[Group], file: Path) -> None:
    """Write ``summary.csv``, a row a line of ``table.md``; figures as fractions, FLOPs, seconds."""
    write_rows(COLUMNS, [_row(group, line) for group in groups for line in group.lines], file)


def _row(group: Group, line: Line) -> dict[str, Any]:
    named = {"task": group.task, "budget": group.budget, "metric": group.metric, "method": line.method}
    row = named | {
        "mean": line.mean,
        "sd": line.sd,
        "n": line.n,
        "tokens_trained_on": line.tokens,
        "total_flops": line.flops,
        "selection_flops": line.selection_flops,
        "total_device_s": line.device_s,
    }
    if found := line.versus_random:
        row |= {"versus_random": found.value, "low": found.low, "high": found.high, "over_rows": found.over_rows}
    if line.match is not None:
        row |= {"matches": line.match.method, "by": line.match.by}
        if gain := line.match.gain:
            row |= {"matched_versus_this": gain.value, "matched_low": gain.low, "matched_high": gain.high}
    return row


def _line(results: list[Result], random: list[Result], matched: list[Result]) -> Line:
    values = [result.headline for result in results]
    cell = results[0].cell

    def mean(name: str) -> float | None:
        given: list[Any] = [result.row[name] for result in results]
        return None if None in given else float(np.mean(given))

    return Line(
        method=cell.method,
        budget=cell.budget,
        mean=float(np.mean(values)),
        sd=float(np.std(values, ddof=1)) if len(values) > 1 else None,
        n=len(values),
        tokens=mean("tokens_trained_on") or 0.0,
        flops=mean("total_flops"),
        selection_flops=mean("selection_flops"),
        device_s=mean("total_device_s"),
        versus_random=compare(results, random),
        match=Match(cell.match, cell.by, compare(matched, results)) if cell.match else None,
        warned=tuple(result.row["warnings"] for result in results if result.row["warnings"]),
    )


def compare(results: list[Result], others: list[Result]) -> Difference | None:
    """The difference of two methods over the seeds that both have; None where nothing can be said."""
    if not results or not others:
        return None
    theirs = {other.cell.seed: other for other in others}
    pairs = sorted(
        ((result, theirs[result.cell.seed]) for result in results if result.cell.seed in theirs),
        key=lambda pair: pair[0].cell.seed,
    )
    ours, random = [one.headline for one, _ in pairs], [other.headline for _, other in pairs]
    if any(math.isnan(value) for value in ours + random):
        return None
    return difference(results[0].cell.metric, ours, random, [(one.figures(), other.figures()) for one, other in pairs])
