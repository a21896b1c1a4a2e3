"""The lowest or the highest of a signal: a top-k, against which a band is compared."""

from __future__ import annotations

from selectune.selectors.base import ALWAYS, Budget, Picked, Selector, Signals, first_of, ranked
from selectune.selectors.interval_rules import check_budget, finite


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
        """The signal, unless it is always there."""
        return frozenset({self.signal} - ALWAYS)

    def select(self, pool: Signals, target: Signals | None, budget: Budget, seed: int) -> Picked:
        """Keep the first rows in the order of the signal; ``scores`` are the signal.

        Raises:
            BudgetError: a budget that is missing or over the pool.
            DataError: values that are not one finite number a row.
        """
        scores = finite(pool[self.signal], self.signal)
        check_budget(budget, pool["n_tokens"], "TopK")
        order = ranked(-scores if self.largest else scores, pool.tie_keys(seed))
        return Picked(first_of(order, budget, pool["n_tokens"]), scores)
