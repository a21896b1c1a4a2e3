"""What the cells that are left will take, from those that are done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from selectune.tables.grid import NO_BUDGET, Cell, Table
from selectune.tables.layers import setting
from selectune.tables.results import Result


@dataclass(frozen=True)
class Forecast:
    """Of a cell that is to do; None is what is not known yet.

    Args:
        rows: that it will train on.
        epochs: that it will train for.
        seconds: that it will take.
    """

    rows: int | None
    epochs: Any
    seconds: float | None


def forecast(cell: Cell, table: Table, results: list[Result]) -> Forecast:
    """What a cell will take: as much as the same with other seeds, else its task's seconds a token.

    A forecast from the data itself, without any run, belongs here.

    Args:
        cell: that is to do.
        table: that it is of.
        results: of the cells that are done.
    """
    rows = _rows(cell, table, results)
    epochs = setting(cell.config, "trainer.max_epochs")
    task = [result for result in results if result.cell.task == cell.task]
    alike = [one.seconds for one in task if (one.cell.method, one.cell.budget) == (cell.method, cell.budget)]
    if alike:
        return Forecast(rows, epochs, float(np.mean(alike)))
    training = [one for one in task if one.row["training_device_s"] and one.row["rows"]]
    if not training or rows is None:
        return Forecast(rows, epochs, None)
    per_row = np.mean([one.row["training_device_s"] / one.row["rows"] for one in training])
    rest = np.mean([max(0.0, one.seconds - one.row["training_device_s"]) for one in training])
    return Forecast(rows, epochs, float(rest + per_row * rows))


def _rows(cell: Cell, table: Table, results: list[Result]) -> int | None:
    """Rows to train on, from the pool of a done cell, or from what the config says of it."""
    pools = [result.row["pool_rows"] for result in results if result.cell.task == cell.task]
    pool = pools[0] if pools else setting(cell.config, "data.max_train_rows")
    name = table.budget
    if cell.budget != NO_BUDGET and name.startswith("data.") and setting(cell.config, "data.selector.match") is None:
        value = setting(cell.config, name)
        if name.endswith(".keep_rows"):
            return int(value)
        if name.endswith(".keep") and pool is not None:
            return round(value * pool)
        return None
    return None if setting(cell.config, "data.selector") is not None else pool
