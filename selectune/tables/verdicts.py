"""The verdict on each method of a table, against runs of the table that do not select or select at random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from selectune.tables.grid import RANDOM
from selectune.tables.results import Result
from selectune.verdict.evidence import ArmName, Metric
from selectune.verdict.intervals import Difference
from selectune.verdict.judge import difference_of_runs, headline, judge_runs
from selectune.verdict.judged import Judged
from selectune.verdict.row_metrics import pairable
from selectune.verdict.verdict import Verdict

Results = Sequence[Result]  # of one method on a task at a budget, one a seed


def judge_method(method: Results, beside: Mapping[str, Results]) -> Verdict | None:
    """The verdict on a method of a table; None for one that others are compared with.

    Args:
        method: its results.
        beside: those of each method of the task, by name, at the same budget or without one.
    """
    cell = method[0].cell
    if not cell.selects or cell.match or cell.method == RANDOM:
        return None
    rivals = _rivals(method, beside)
    metric = headline([cell.metric])
    runs, *others = comparable(metric, method, *rivals.values())
    return judge_runs(metric, runs, dict(zip(rivals, others)))


def compare(method: Results, other: Results) -> Difference | None:
    """The difference of two methods over the seeds that both have; None where it is unknown."""
    if not method or not other:
        return None
    metric = headline([method[0].cell.metric])
    runs, others = comparable(metric, method, other)
    if not (seeds := runs.keys() & others):
        return None
    return difference_of_runs(metric, *({seed: some[seed] for seed in sorted(seeds)} for some in (runs, others)))


def comparable(metric: Metric, *methods: Results) -> list[Mapping[int, Judged]]:
    """The runs of methods by seed; without the rows of a metric where these differ or are one: it is compared then."""
    runs: list[Mapping[int, Judged]] = [{one.cell.seed: one.judged for one in method} for method in methods]
    if pairable(metric.name, [run.rows_of(metric) for of_method in runs for run in of_method.values()]):
        return runs
    return [{seed: replace(run, rows={}, evaluated={}) for seed, run in of_method.items()} for of_method in runs]


def _rivals(method: Results, beside: Mapping[str, Results]) -> dict[ArmName, Results]:
    """The methods that a method is judged against, as far as the table has them.

    Several may train on all rows: the first of the same length is taken, and of shorter ones that of the nearest cost.
    Random rows are those of the same total cost, or else as many of them; the verdict holds no dearer ones against a
    method, and no cheaper ones for it.
    """
    cell, cost = method[0].cell, _flops(method)
    others = {name: results for name, results in beside.items() if results}
    rivals: dict[ArmName, Results] = {}
    whole = [results for results in others.values() if results[0].cell.whole]
    same = next((results for results in whole if results[0].cell.length == cell.length), None)
    if same is not None:
        rivals["all_rows"] = same
        shorter = [some for some in whole if some[0].cell.length != cell.length and _tokens(some) < _tokens(same)]
        if shorter:
            rivals["fewer_epochs"] = min(shorter, key=lambda some: abs(_flops(some) - cost))
    matched = [some for some in others.values() if (some[0].cell.match, some[0].cell.by) == (cell.method, "cost")]
    if random := matched or [others[name] for name in [RANDOM] if name in others]:
        rivals["random_rows"] = random[0]
    return rivals


def _flops(results: Results) -> float:
    """The mean of what is known over seeds; 0 where nothing is."""
    return float(np.mean([result.row["total_flops"] or 0.0 for result in results]))


def _tokens(results: Results) -> float:
    return float(np.mean([result.row["tokens_trained_on"] for result in results]))
