"""The rows of the pool that are nearest to a target, each row of the target in its turn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from selectune.common import checks
from selectune.selectors.base import Budget, Picked, Signals, check_budget, cumulative_sizes, lowest
from selectune.selectors.blocks import blocks
from selectune.selectors.clustering import ROWS_AT_ONCE, unit_rows
from selectune.selectors.ordering import key_order
from selectune.selectors.target import Comparing, even_weights

GRID = 10**9  # cosines are compared to 9 decimals
PLACE_BITS = 32
PLACE = 2**PLACE_BITS - 1
NONE = np.iinfo(np.int64).max
CANDIDATES_AT_ONCE = 2**24


class Nearest(Comparing):
    """Keep the rows nearest to the target by embedding: the target's rows take turns, each its nearest untaken row.

    So each part of the target gets its share, however dense the pool is there. Near is a high cosine, rounded to 9
    decimals; among equally near rows the smallest tie key goes first, and the target's rows take turns in the order of
    their own tie keys, hash(seed, text).

    Time is O(M N d) for M rows of target, as long as few rows want the same; memory is some blocks of 2,048 by 2,048
    cosines, and a few candidates for each row that is kept.
    """

    def select(self, pool: Signals, target: Signals | None, budget: Budget, seed: int) -> Picked:
        """Keep the rows taken until the budget is met; ``scores`` are the cosine with the nearest row of the target."""
        check_budget(budget, pool["n_tokens"], "Nearest")
        target = self.target_of(pool, target)
        order = key_order(pool.tie_keys(seed))
        turns = key_order(target.tie_keys(seed))
        filled, needed = cumulative_sizes(pool["n_tokens"], budget)
        search = _Search(pool["embedding"], order, unit_rows(target["embedding"][turns]))
        expected = int(needed / filled[-1] * pool.n_rows) + 1
        rows: list[int] = []
        for row in search.take_turns(2 * (expected // len(turns)) + 8):
            rows.append(row)
            needed -= int(pool["n_tokens"][row]) if budget.tokens is not None else 1
            if needed <= 0:
                break
        method = "nearest: 2 d a cosine (analytic)"
        return Picked(np.sort(np.array(rows)), search.best, {"target_rows": len(turns)}, search.flops, method)


class Closest(Comparing):
    """Keep the rows at the smallest plain distance from the target: the obvious rival of transport.

    The distance is squared Euclidean, of the embeddings as they are stored: to the nearest row of the target, or the
    mean over all of them, which is |x - mean|^2 and a constant (of several targets each counts alike). Nothing keeps
    the rows from crowding around one part of the target; `Nearest` lets its rows take turns.

    Args:
        to: ``nearest`` or ``mean``.

    Raises:
        UserError: a ``to`` that is neither.
    """

    def __init__(self, to: Literal["nearest", "mean"] = "nearest") -> None:
        checks.one_of("Closest's to", to, ("nearest", "mean"))
        self.to = to

    def select(self, pool: Signals, target: Signals | None, budget: Budget, seed: int) -> Picked:
        """Keep the closest rows; ``scores`` are the distance (for ``mean`` without the constant)."""
        check_budget(budget, pool["n_tokens"], "Closest")
        target = self.target_of(pool, target)
        centres = np.asarray(target["embedding"], dtype=np.float64)
        if self.to == "mean":
            centres = even_weights(target)[None] @ centres
        scores = np.empty(pool.n_rows)
        for block in blocks(pool.n_rows, ROWS_AT_ONCE):
            rows = np.asarray(pool["embedding"][block], dtype=np.float64)
            d2 = (rows**2).sum(axis=1, keepdims=True) + (centres**2).sum(axis=1) - 2 * rows @ centres.T
            scores[block] = np.maximum(d2.min(axis=1), 0)  # below 0 is rounding
        rows, flops = lowest(scores, pool, budget, seed), 2.0 * centres.size * pool.n_rows
        return Picked(rows, scores, {}, flops, "2 d a distance (analytic)")


class _Search:
    """The nearest untaken rows of a pool, for many targets in turn.

    A candidate is one integer, the cosine's place from the highest and then the row's in the order of the keys, so that
    the smallest is the nearest and no two are equal.

    Args:
        embeddings: of the pool, shape (n_rows, d).
        order: row ids of the pool in the order among ties, shape (n_rows,).
        targets: unit vectors, shape (n_targets, d).
    """

    def __init__(self, embeddings: np.ndarray, order: np.ndarray, targets: np.ndarray) -> None:
        self.embeddings, self.order, self.targets = embeddings, order, targets
        self.untaken = np.ones(len(order), dtype=bool)  # by place in the order
        self.best = np.full(len(order), -np.inf)  # cosine with the nearest target, by row id
        self.flops = 0

    def take_turns(self, n_candidates: int) -> Iterator[int]:
        """Row ids as they are taken, until none is left; begins with so many candidates for each target."""
        candidates = [np.zeros(0, dtype=np.int64)] * len(self.targets)  # places, nearest first
        most = max(4, CANDIDATES_AT_ONCE // len(self.targets))
        n_candidates = min(n_candidates, most)
        for taken in range(len(self.order)):
            turn = taken % len(self.targets)
            candidates[turn] = candidates[turn][self.untaken[candidates[turn]]]
            if len(candidates[turn]) == 0:
                few = n_candidates // 4  # targets that are about to run out are filled in the same pass over the pool
                lacking = [t for t, places in enumerate(candidates) if np.count_nonzero(self.untaken[places]) <= few]
                for t, places in zip(lacking, self._nearest(lacking, n_candidates), strict=True):
                    candidates[t] = places
                n_candidates = min(2 * n_candidates, most)  # many targets want the same rows
            place = candidates[turn][0]
            self.untaken[place] = False
            yield int(self.order[place])

    def _nearest(self, turns: list[int], n_candidates: int) -> Iterator[np.ndarray]:
        """The places of the nearest untaken rows of each of some targets, nearest first."""
        for some in blocks(len(turns), ROWS_AT_ONCE):
            targets = self.targets[turns[some]]
            nearest = np.zeros((len(targets), 0), dtype=np.int64)
            for block in blocks(len(self.order), ROWS_AT_ONCE):
                nearest = np.concatenate([nearest, self._candidates(targets, block)], axis=1)
                if nearest.shape[1] > n_candidates:
                    nearest = np.partition(nearest, n_candidates - 1, axis=1)[:, :n_candidates]
            for codes in np.sort(nearest, axis=1):
                yield codes[codes != NONE] & PLACE

    def _candidates(self, targets: np.ndarray, block: slice) -> np.ndarray:
        """The candidates of each target among a block of the pool, int64, shape (n_targets, block)."""
        places, rows = np.arange(block.start, block.stop), self.order[block]
        self.flops += 2 * targets.shape[1] * len(targets) * len(rows)
        cosines = np.rint(targets @ unit_rows(self.embeddings[rows]).T * GRID)
        self.best[rows] = np.maximum(self.best[rows], cosines.max(axis=0) / GRID)
        codes = (GRID - np.minimum(cosines, GRID)).astype(np.int64) << PLACE_BITS | places  # rounding may exceed 1
        codes[:, ~self.untaken[block]] = NONE
        return codes
