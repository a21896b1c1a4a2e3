"""Mean, spread and cost over the seeds of each task, method and budget, and the difference to random rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from selectune.common.files import write_json
from selectune.tables.grid import NO_BUDGET, RANDOM, Cell
from selectune.tables.published import UNTOUCHED
from selectune.tables.results import Result, write_rows
from selectune.tables.untouched import untouched
from selectune.tables.verdicts import compare, judge_method
from selectune.verdict.evidence import ARMS
from selectune.verdict.intervals import Difference, corrected
from selectune.verdict.metric_kinds import metric_of
from selectune.verdict.verdict import Verdict

UNITS = {"fraction": "fraction", "percent": "0 to 100", "plain": ""}  # of ``summary.csv``, by scale
COLUMNS = (
    "task", "budget", "metric", "method", "mean", "sd", "n", "tokens_trained_on", "total_flops", "selection_flops",
    "total_device_s", "versus_random", "low", "high", "p", "p_holm", "over_rows", "matches", "by",
    "matched_versus_this", "matched_low", "matched_high", "unit", "verdict",
    *(f"{column}_{arm}" for arm in ARMS for column in ("versus", "low", "high")),
)  # fmt: skip


def is_fraction(metric: str) -> bool:
    """Whether a metric is shown in per cent, being a fraction."""
    return metric_of(metric).scale == "fraction"


@dataclass(frozen=True)
class Match:
    """The method that random rows are matched to by rows, tokens or cost, and its gain over them if known."""

    method: str
    by: str
    gain: Difference | None


@dataclass(frozen=True)
class Line:
    """A method on a task at a budget.

    Args:
        budget: that it was run at; ``none`` where it has none.
        mean: of the headline over seeds.
        sd: of the headline over seeds, with n - 1; None for one seed.
        n: seeds that are done.
        n_rows: held-out rows that the headline is of; None where unknown, or not the same for all seeds.
        tokens: trained on, mean over seeds.
        flops: selection, warm-up and training, mean over seeds; None when unknown.
        selection_flops: of it, the selection.
        device_s: as `flops`, in seconds.
        versus_random: the difference to random rows of the same budget; None for random itself, and where unknown.
        match: of random rows that are matched to another method.
        warned: warnings of selections and trainings, one entry a run that had any.
        verdict: against the table's runs that do not select; None for these and for random rows.
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
    verdict: Verdict | None = None
    n_rows: int | None = None


@dataclass(frozen=True)
class Group:
    """The methods of a task at a budget, with those that have no budget, in the table's order.

    Args:
        task: by name, or in words of a mean over several.
        budget: by name.
        metric: that the lines are of.
        lines: one a method.
        further: the same methods by further metrics of the task; without verdicts, which the headline alone has.
    """

    task: str
    budget: str
    metric: str
    lines: list[Line]
    further: tuple[Group, ...] = ()


def summarise(results: list[Result]) -> list[Group]:
    """All groups that have a done cell, in the order of the results, with further metrics of tasks that have some.

    The untouched model comes first in its task, where it was evaluated.
    """
    tasks = dict.fromkeys(result.cell.task for result in results)
    by_task = [[result for result in results if result.cell.task == task] for task in tasks]
    results, groups = [one for own in by_task for one in (*untouched(own), *own)], []
    for group in of_one_metric(results):
        own = [result for result in results if result.cell.task == group.task]
        others = [by_metric(own, metric) for metric in own[0].cell.further]
        further = [other for some in others for other in some if other.budget == group.budget]
        groups.append(replace(group, further=tuple(further)))
    return groups


def by_metric(results: list[Result], metric: str) -> list[Group]:
    """The groups of results by another metric than their tasks' own, of those that have it; without verdicts."""
    others = [result.by(metric) for result in results]
    groups = of_one_metric([other for other in others if f"test/{metric}" in other.row])
    return [replace(group, lines=[replace(line, verdict=None) for line in group.lines]) for group in groups]


def of_one_metric(results: list[Result]) -> list[Group]:
    """The groups of results by the metric of their cells."""
    runs: dict[tuple[str, str, str], list[Result]] = {}
    budgets: dict[str, list[str]] = {}
    for result in results:
        cell = result.cell
        runs.setdefault((cell.task, cell.budget, cell.method), []).append(result)
        budgets.setdefault(cell.task, []).append(cell.budget)
    groups = []
    for task, names in budgets.items():
        for budget in [name for name in dict.fromkeys(names) if name != NO_BUDGET] or [NO_BUDGET]:
            beside = {key[2]: some for key, some in runs.items() if key[0] == task and key[1] in (budget, NO_BUDGET)}
            lines = [_line(of_method, beside) for of_method in beside.values()]
            metric = next(result.cell.metric for result in results if result.cell.task == task)
            groups.append(Group(task, budget, metric, with_corrected(lines)))
    return groups


def with_corrected(lines: list[Line]) -> list[Line]:
    """The lines, their p corrected for how many methods are compared with random rows."""
    gaps = {line.method: line.versus_random for line in lines if line.versus_random and line.method != UNTOUCHED}
    adjusted = dict(zip(gaps, corrected(list(gaps.values()))))
    return [replace(line, versus_random=adjusted.get(line.method, line.versus_random)) for line in lines]


def _line(results: list[Result], beside: dict[str, list[Result]]) -> Line:
    """The line of a method, with `beside` being the results of each method of the group."""
    values = [result.headline for result in results]
    cell = results[0].cell
    metric = metric_of(cell.metric)

    def mean(name: str) -> float | None:
        given: list[Any] = [result.row[name] for result in results]
        return None if None in given else float(np.mean(given))

    return line_of(
        cell,
        values,
        mean,
        versus_random=None if cell.method == RANDOM else compare(results, beside.get(RANDOM, [])),
        match=Match(cell.match, cell.by, compare(beside.get(cell.match, []), results)) if cell.match else None,
        warned=tuple(result.row["warnings"] for result in results if result.row["warnings"]),
        verdict=judge_method(results, beside),
        n_rows=rows.pop() if len(rows := {result.judged.n_rows_of(metric) for result in results}) == 1 else None,
    )


def line_of(cell: Cell, values: list[float], cost: Callable[[str], float | None], **more: Any) -> Line:
    """The line of a method.

    Args:
        cell: one of the method.
        values: of the metric, by seed.
        cost: from the name of a column of ``table.csv``; None where it is unknown.
        more: further fields.
    """
    return Line(
        method=cell.method,
        budget=cell.budget,
        mean=float(np.mean(values)),
        sd=float(np.std(values, ddof=1)) if len(values) > 1 else None,
        n=len(values),
        tokens=cost("tokens_trained_on") or 0.0,
        flops=cost("total_flops"),
        selection_flops=cost("selection_flops"),
        device_s=cost("total_device_s"),
        **more,
    )


def write_summary(groups: list[Group], file: Path, protocol: str = "") -> None:
    """Write ``summary.csv``, a row a line of ``table.md`` and metric; in their ``unit``, FLOPs, seconds.

    Args:
        groups: of `summarise`.
        file: to write.
        protocol: that the table was run by, in a column of its own; empty for none.
    """
    rows = [
        _row(group, line) for first in groups for group in (first, *first.further) for line in group.lines
    ]  # fmt: skip
    columns, more = (COLUMNS, {}) if not protocol else ((*COLUMNS, "protocol"), {"protocol": protocol})
    write_rows(columns, [row | more for row in rows], file)


def _row(group: Group, line: Line) -> dict[str, Any]:
    row: dict[str, Any] = {"task": group.task, "budget": group.budget, "metric": group.metric}
    row["unit"] = UNITS[metric_of(group.metric).scale]
    row |= {"method": line.method, "mean": line.mean, "sd": line.sd, "n": line.n}
    row |= {"tokens_trained_on": line.tokens, "total_flops": line.flops, "total_device_s": line.device_s}
    row["selection_flops"] = line.selection_flops
    row |= columns_of(line.versus_random)
    if line.match is not None:
        row |= {"matches": line.match.method, "by": line.match.by}
        if gain := line.match.gain:
            row |= {"matched_versus_this": gain.value, "matched_low": gain.low, "matched_high": gain.high}
    if line.verdict is not None:
        row["verdict"] = line.verdict.word
        for arm, gap in line.verdict.evidence.differences():
            row |= {f"versus_{arm}": gap.value, f"low_{arm}": gap.low, f"high_{arm}": gap.high}
    return row


def columns_of(gap: Difference | None, scale: float = 1.0) -> dict[str, Any]:
    """The columns of a difference to random rows; none where there is none. `scale` brings it to another unit."""
    if gap is None:
        return {}
    columns = {"versus_random": scale * gap.value, "low": scale * gap.low, "high": scale * gap.high, "p": gap.p}
    return columns | {"p_holm": gap.p_holm, "over_rows": gap.over != "seeds"}


def write_verdicts(groups: list[Group], file: Path) -> None:
    """Write ``verdicts.json``: for each method that is judged its place in the table, and its ``verdict.json``."""
    verdicts = [
        {"task": group.task, "budget": group.budget, "method": line.method, "verdict": line.verdict.to_json()}
        for group in groups
        for line in group.lines
        if line.verdict is not None
    ]
    write_json(file, verdicts)
