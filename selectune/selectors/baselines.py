"""Random rows, which every selector must beat at the same rows, tokens or total cost; and the top of one signal."""

from __future__ import annotations

from typing import Literal

import numpy as np

from selectune.common import checks
from selectune.common.errors import BadRowsError, DataError, UserError
from selectune.selectors.base import (
    ALWAYS,
    Budget,
    Picked,
    Selector,
    Signals,
    check_budget,
    first_of,
    lowest,
    unit_interval,
)
from selectune.selectors.interval_rules import finite
from selectune.selectors.ordering import ranked

NO_CLASSES = "{name} needs rows with classes, which this task has none of; choose another selector."
ONE_DOMAIN = "{name} tells data sets apart, but the pool is made of one; give data.dataset as a list of several."


class Random(Selector):
    """Keep rows in a random order, hash(seed, text), until the budget is met.

    The order is that of the tie keys, so permuting the pool permutes the selection, and a smaller budget keeps a
    subset. Rows with the same text have the same key: they stand together, by row id.

    With ``match``, the budget is that of another run, and none is given:

    - ``rows``: as many rows as it kept;
    - ``tokens``: as many tokens as a model reads of its rows, special ones included, since they are trained on too;
    - ``cost``: as many of them as can be trained on for what its selection and its training cost together, in FLOPs:
      its tokens times 1 + selection / training, where the same number of epochs is trained; at most the pool. The
      padding of batches is not foreseen, so the costs are the same to a few per cent.

    Args:
        match: folder of a run over the same pool, which must be finished for ``cost``; or of its selection, for
            ``rows`` and ``tokens``.
        by: quantity that is matched.
        even: as many rows of each of the pool's data sets, as far as they reach, whatever their sizes.

    Raises:
        UserError: a ``by`` that is not one of these, or one without a run to match.
    """

    def __init__(
        self, match: str | None = None, by: Literal["rows", "tokens", "cost"] = "rows", even: bool = False
    ) -> None:
        checks.one_of("Random's by", by, ("rows", "tokens", "cost"))
        if match is None and by != "rows":
            raise UserError(
                f"Random has no run to match by {by}; name its folder in match, or leave out by.",
                option="Random's match",
            )
        self.match, self.by, self.even = match, by, even

    @property
    def sets_own_size(self) -> bool:
        """Whether it takes its size from another run."""
        return self.match is not None

    def select(self, pool: Signals, target: Signals | None, budget: Budget, seed: int) -> Picked:
        """Keep the rows of the smallest keys; ``scores`` are the keys over 2^64, in [0, 1).

        With ``match``, the stage around selectors sets the budget. ``even`` needs a pool of several data sets.
        """
        check_budget(budget, pool[budget.counted], "Random")
        keys = pool.tie_keys(seed)
        order = ranked(turns(domains_of(pool, "Random"), keys) if self.even else np.zeros(pool.n_rows), keys)
        return Picked(first_of(order, budget, pool[budget.counted]), unit_interval(keys))


class TopK(Selector):
    """Keep the rows of the largest or of the smallest values of a signal, ties by key.

    The usual baselines: the highest or lowest entropy; the shortest or longest texts (``n_tokens``); the highest
    ``loss``, or ``label_loss``; the smallest ``margin`` (Scheffer et al. 2001) and the largest ``least_confidence``
    (Lewis & Gale 1994).

    Args:
        signal: one number a row, shape (n_rows,).
        largest: whether the largest or the smallest values are kept.
    """

    def __init__(self, signal: str, largest: bool = True) -> None:
        self.signal, self.largest = signal, largest

    @property
    def requires(self) -> frozenset[str]:
        """The signal, unless every pool has it."""
        return frozenset({self.signal} - ALWAYS)

    def select(self, pool: Signals, target: Signals | None, budget: Budget, seed: int) -> Picked:
        """Keep the first rows in the order of the signal; ``scores`` are the signal."""
        scores = finite(pool[self.signal], self.signal)
        check_budget(budget, pool["n_tokens"], "TopK")
        return Picked(lowest(-scores if self.largest else scores, pool, budget, seed), scores)


def domains_of(pool: Signals, name: str) -> np.ndarray:
    """Number of each row's data set, shape (n_rows,); a DataError where the pool is made of one."""
    if "domain" not in pool:
        raise DataError(ONE_DOMAIN.format(name=name), option="data.dataset")
    return pool["domain"]


def classes_of(pool: Signals, name: str) -> np.ndarray:
    """Number of each row's class, shape (n_rows,); a DataError where rows have none, or numbers below 0."""
    if "label" not in pool:
        raise DataError(NO_CLASSES.format(name=name), option="data.selector")
    labels = np.asarray(pool["label"])
    below = np.flatnonzero(labels < 0)
    if len(below):
        message = (
            f"{len(below)} of {len(labels)} rows have no class (rows {{rows}}), but {name} needs it; leave them out."
        )
        raise BadRowsError(message, below.tolist())
    return labels


def turns(domains: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Number of rows of its own domain before each row in the order of keys, int64, shape (n_rows,)."""
    before = np.empty(len(domains), dtype=np.int64)
    for domain in np.unique(domains):
        members = np.flatnonzero(domains == domain)
        before[members[np.lexsort((members, keys[members]))]] = np.arange(len(members))
    return before
