"""Filters: selectors that keep or drop each row for what it is, whatever the budget."""

from __future__ import annotations

from abc import abstractmethod

from selectune.common.errors import BudgetError
from selectune.selectors.base import Budget, Picked, Selector, Signals


class Filter(Selector):
    """Drops rows, and so sets its own size; a `Chain` lets a selector fill a budget with the rows that it leaves."""

    sets_own_size = True

    @abstractmethod
    def kept(self, pool: Signals, target: Signals | None, seed: int) -> Picked:
        """The rows that are not dropped. Arguments and errors are those of `Selector.select`."""

    def select(self, pool: Signals, target: Signals | None, budget: Budget, seed: int) -> Picked:
        """The rows of `kept`; a budget is refused."""
        if budget.is_set:
            name = type(self).__name__
            raise BudgetError(
                f"{name} decides by itself which rows it keeps and takes no budget; leave out data.keep, "
                "data.keep_rows and data.keep_tokens, or chain another selector to it (Chain).",
                option="data.keep",
            )
        return self.kept(pool, target, seed)
