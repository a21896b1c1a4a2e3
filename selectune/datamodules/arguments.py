"""The checks of a data module's arguments, before any data is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from selectune import checks
from selectune.errors import BudgetError, DataError
from selectune.selectors.base import Budget
from selectune.selectors.checking import check_selector

if TYPE_CHECKING:
    from selectune.datamodules.base import SelectionDataModule


def check_arguments(data: SelectionDataModule) -> None:
    """Refuse arguments that cannot be, or not together.

    Raises:
        BudgetError: of the budget.
        DataError: of a limit or a length.
        SelectionError: of the selector.
        UserError: of the seed.
    """
    if data.selector is not None:
        check_selector(data.selector)
    given = [name for name in ("keep", "keep_rows", "keep_tokens") if getattr(data, name) is not None]
    for name in ("keep_rows", "keep_tokens"):
        checks.at_least(f"data.{name}", getattr(data, name), 1, BudgetError)
    Budget.of(2**62, 2**62, data.keep, data.keep_rows, data.keep_tokens)
    if data.selector is None:
        if given and data.selection is None:
            raise BudgetError(f"data.{given[0]} is given without data.selector; name a selector, or leave it out.")
    elif data.selector.sets_own_size and given:
        raise BudgetError(f"The selector fixes its own bounds, so data.{given[0]} must be left out.")
    elif not data.selector.sets_own_size and not given and data.selection is None:
        raise BudgetError("data.selector needs a budget; give data.keep, data.keep_rows or data.keep_tokens.")
    limits = ("max_train_rows", "max_dev_rows", "max_eval_rows", "max_target_rows")
    for name in (*limits, "batch_size", "max_batch_tokens"):
        checks.at_least(f"data.{name}", getattr(data, name), 1, DataError)
    checks.at_least("data.max_length", data.max_length, 2, DataError)  # the least that a token is predicted from
    checks.at_least("data.num_workers", data.num_workers, 0, DataError)
    checks.seed("data.seed", data._seed)
