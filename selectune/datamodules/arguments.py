"""The checks of a data module's arguments, before any data is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from selectune.errors import BudgetError, DataError
from selectune.selectors.base import Budget

if TYPE_CHECKING:
    from selectune.datamodules.base import SelectionDataModule


def check_arguments(data: SelectionDataModule) -> None:
    """Refuse arguments that cannot be, or not together.

    Raises:
        BudgetError: of the budget.
        DataError: of a limit or a length.
    """
    given = [name for name in ("keep", "keep_rows", "keep_tokens") if getattr(data, name) is not None]
    for name in ("keep_rows", "keep_tokens"):
        if (value := getattr(data, name)) is not None and value < 1:
            raise BudgetError(f"data.{name} is {value}, but must be at least 1.")
    Budget.of(2**62, 2**62, data.keep, data.keep_rows, data.keep_tokens)
    if data.selector is None:
        if given and data.selection is None:
            raise BudgetError(f"data.{given[0]} is given without data.selector; name a selector, or leave it out.")
    elif data.selector.sets_own_size and given:
        raise BudgetError(f"The selector fixes its own bounds, so data.{given[0]} must be left out.")
    elif not data.selector.sets_own_size and not given and data.selection is None:
        raise BudgetError("data.selector needs a budget; give data.keep, data.keep_rows or data.keep_tokens.")
    limits = ("max_train_rows", "max_dev_rows", "max_eval_rows", "max_target_rows")
    for name in (*limits, "batch_size", "max_length", "max_batch_tokens"):
        value = getattr(data, name)
        if value is not None and value < 1:
            raise DataError(f"data.{name} is {value}, but must be at least 1.")
