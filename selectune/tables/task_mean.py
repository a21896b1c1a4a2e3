"""The mean of the headlines over tasks, as tables of papers end with one."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from selectune.tables.grid import NO_BUDGET, RANDOM
from selectune.tables.results import Result
from selectune.tables.summary import Group, Line, line_of, with_corrected
from selectune.verdict.intervals import Difference, difference_of_seeds
from selectune.verdict.metric_kinds import MEAN, metric_of

SCALES = {"fraction": 1.0, "percent": 0.01}  # to fractions, by the scale of a metric

OfTasks = Mapping[str, Mapping[int, Result]]  # the results of a method, by task and seed


def mean_over_tasks(results: list[Result], tasks: Collection[str]) -> list[Group]:
    """A group for each budget that all of some tasks have, with the methods that are done on all of them.

    A line is the mean over the seeds that a method has on all of the tasks, and its costs are sums over the tasks. The
    difference to random rows is over seeds alone.

    Args:
        results: in the table's order.
        tasks: whose headlines are fractions, or from 0 to 100.
    """
    budgets = {task: {result.cell.budget for result in results if result.cell.task == task} for task in tasks}
    order = dict.fromkeys(result.cell.budget for result in results if result.cell.budget != NO_BUDGET)
    groups = []
    for budget in [name for name in order if all(name in budgets[task] for task in tasks)]:
        methods: dict[str, dict[str, dict[int, Result]]] = {}
        for result in results:
            cell = result.cell
            if cell.task in tasks and cell.budget in (budget, NO_BUDGET):
                methods.setdefault(cell.method, {}).setdefault(cell.task, {})[cell.seed] = result
        whole = {name: of for name, of in methods.items() if len(of) == len(tasks) and _seeds(of)}
        lines = [_line(of, whole.get(RANDOM)) for of in whole.values()]
        if lines:
            groups.append(Group(f"mean over {len(tasks)} tasks", budget, MEAN, with_corrected(lines)))
    return groups


def _seeds(of: OfTasks) -> list[int]:
    """Seeds that all tasks have."""
    return sorted(set.intersection(*(set(by_seed) for by_seed in of.values())))


def _means(of: OfTasks) -> dict[int, float]:
    """The mean over tasks, by seed."""
    scales = {task: SCALES[metric_of(next(iter(of[task].values())).cell.metric).scale] for task in of}
    return {seed: float(np.mean([scales[task] * of[task][seed].headline for task in of])) for seed in _seeds(of)}


def _line(of: OfTasks, random: OfTasks | None) -> Line:
    means = _means(of)
    cell = next(iter(next(iter(of.values())).values())).cell

    def total(name: str) -> float | None:
        given = [[by_seed[seed].row[name] for seed in means] for by_seed in of.values()]
        return None if any(None in some for some in given) else float(sum(np.mean(some) for some in given))

    gap = None if cell.method == RANDOM or random is None else _difference(means, _means(random))
    return line_of(cell, list(means.values()), total, versus_random=gap)


def _difference(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Difference | None:
    return difference_of_seeds(ours, theirs) if ours.keys() & theirs else None
