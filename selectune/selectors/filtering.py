"""Filters: selectors that keep or drop each row for what it is, whatever the budget."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from typing import Any

import numpy as np

from selectune.common.errors import BudgetError
from selectune.selectors.base import Budget, Picked, Selector, Signals

SHOWN = 5  # groups of mixed labels in a manifest


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


def mixed_labels(groups: np.ndarray, pool: Signals, name: str) -> dict[str, Any]:
    """Groups of duplicates whose rows have several labels, counted, with the row ids of the first five, for a manifest.

    Args:
        groups: number of each row's group, shape (n_rows,).
        pool: with the labels of the rows, if they have any.
        name: of the selector, for the warning.

    Warns:
        UserWarning: there are such groups: of each one label is kept, which may be the wrong one.
    """
    if "label" not in pool:
        return {}
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=groups.min(initial=0) - 1))
    labels = np.asarray(pool["label"])[order]
    several = np.minimum.reduceat(labels, starts) != np.maximum.reduceat(labels, starts)
    stops = np.append(starts[1:], len(order))
    ids = [np.sort(pool.row_ids[order[a:b]]).tolist() for a, b in zip(starts[several], stops[several])]
    if ids:
        first = ", ".join(map(str, min(ids)[:3]))
        warnings.warn(
            f"{name} found {len(ids):,} group(s) of duplicates whose labels differ, such as rows {first}; it keeps one "
            "label of each, so look at them (groups_of_mixed_labels in the manifest).",
            UserWarning,
            stacklevel=3,
        )
    return {"groups_of_mixed_labels": {"groups": len(ids), "row_ids": sorted(ids)[:SHOWN]}}
