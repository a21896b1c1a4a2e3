"""Rows and seconds of the cells that are left, estimated from those that are done."""

from __future__ import annotations

import numpy as np

from selectune.tables.grid import Cell, Table
from selectune.tables.layers import setting
from selectune.tables.results import Result


def remaining_rows(cell: Cell, table: Table, results: list[Result]) -> int | None:
    """Rows that a cell will train on, from the pool of a done cell or from its config; None where not known yet."""
    pools = [result.row["pool_rows"] for result in results if result.cell.task == cell.task]
    pool = pools[0] if pools else setting(cell.config, "data.max_train_rows")
    budget, selects = table.budget, setting(cell.config, "data.selector") is not None
    value = setting(cell.config, budget) if budget.startswith("data.") else None
    if selects and value is not None and setting(cell.config, "data.selector.match") is None:
        if budget.endswith(".keep_rows"):
            return int(value)
        return round(value * pool) if budget.endswith(".keep") and pool is not None else None
    return None if selects else pool


def remaining_seconds(cell: Cell, table: Table, results: list[Result]) -> float | None:
    """Seconds that a cell will take: those of other seeds, else from its task's seconds a row; None if unknown."""
    task = [result for result in results if result.cell.task == cell.task]
    same = [one.seconds for one in task if (one.cell.method, one.cell.budget) == (cell.method, cell.budget)]
    if same:
        return float(np.mean(same))
    rows = remaining_rows(cell, table, results)
    training = [one for one in task if one.row["training_device_s"] and one.row["rows"]]
    if not training or rows is None:
        return None
    per_row = np.mean([one.row["training_device_s"] / one.row["rows"] for one in training])
    rest = np.mean([max(0.0, one.seconds - one.row["training_device_s"]) for one in training])
    return float(rest + per_row * rows)
