"""Selectors that a method must beat."""

from __future__ import annotations

import numpy as np

from selectune.selectors.base import Budget, Picked, Selector, Signals, first_of, ranked


class Random(Selector):
    """Keep rows in a random order, hash(seed, text), until the budget is met.

    The order is that of the tie keys, so permuting the pool permutes the selection, and a smaller budget keeps a
    subset. Rows with the same text have the same key: they stand together, by row id.
    """

    def select(self, pool: Signals, target: Signals | None, budget: Budget, seed: int) -> Picked:
        """Keep the rows of the smallest keys; ``scores`` are the keys over 2^64, in [0, 1)."""
        keys = pool.tie_keys(seed)
        scores = (keys >> np.uint64(11)).astype(np.float64) * 2.0**-53  # the 53 bits that a float64 holds
        rows = first_of(ranked(np.zeros(pool.n_rows), keys), budget, pool["n_tokens"])
        return Picked(rows, scores)
