"""The untouched model as a line of a table, from what evaluations found before the training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from selectune.common.run_files import BEFORE
from selectune.tables.grid import NO_BUDGET, Cell
from selectune.tables.layers import setting
from selectune.tables.published import UNTOUCHED
from selectune.tables.results import Result
from selectune.verdict.evidence import Cost
from selectune.verdict.judged import Judged

NOTHING = {"tokens_trained_on": 0.0, "total_flops": 0.0, "selection_flops": 0.0, "total_device_s": 0.0, "warnings": ""}


def untouched(results: Sequence[Result]) -> list[Result]:
    """The model that all runs of a task start from, by seed, where the headline was measured before the training too.

    It is a method without a budget and without a cost. There is none where the runs start from different models, or a
    warm-up came before what was measured.

    Args:
        results: of one task.
    """
    configs = [result.cell.config for result in results]
    starts = {str(setting(config, "model.checkpoint")) for config in configs}
    if len(starts) > 1 or any(setting(config, "warm_up") is not None for config in configs):
        return []
    found: dict[int, Result] = {}
    for result in results:
        if f"test/{result.cell.metric}{BEFORE}" in result.row:
            found.setdefault(result.cell.seed, _before(result))
    return list(found.values())


def _before(result: Result) -> Result:
    """A run as it was before its training."""
    run, of = result.judged, result.cell
    metrics = {name.removesuffix(BEFORE): value for name, value in run.metrics.items() if name.endswith(BEFORE)}
    evaluated = {name.removesuffix(BEFORE): rows for name, rows in run.evaluated.items() if name.endswith(BEFORE)}
    judged = Judged(metrics=metrics, kept_rows=0, pool_rows=run.pool_rows, cost=Cost(0.0, 0.0), evaluated=evaluated)
    cell = Cell(of.task, UNTOUCHED, NO_BUDGET, of.seed, of.folder, {}, of.metric, further=of.further)
    row = NOTHING | {f"test/{name}": value for name, value in metrics.items()}
    return replace(result, cell=cell, row=row, seconds=0.0, judged=judged)
