"""Selectors by the place of a text's embedding in its pool. Embeddings are compared as unit vectors.

Rows are read in the order of (tie key, row id), so that permuting a pool of distinct texts permutes the selection.

1. T. F. Gonzalez, "Clustering to minimize the maximum intercluster distance", Theoretical Computer Science 38 (1985).
2. O. Sener, S. Savarese, "Active learning for convolutional neural networks: a core-set approach", ICLR 2018.
3. B. Sorscher et al., "Beyond neural scaling laws: beating power law scaling via data pruning", NeurIPS 2022.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from selectune.common import checks
from selectune.selectors.base import Budget, Picked, Selector, Signals, check_budget, lowest
from selectune.selectors.blocks import blocks
from selectune.selectors.clustering import (
    ROWS_AT_ONCE,
    check_embeddings,
    default_prototypes,
    distances,
    kmeans,
    kmeans_flops,
    unit_rows,
)
from selectune.selectors.ordering import key_order, rounded

FARTHEST = 2.0  # the largest cosine distance
FLOAT32_DECIMALS = 6


class KCenter(Selector):
    """Greedy k-centre: time and again the row farthest from those selected before, so that they cover the pool [1, 2].

    The distance is 1 - cosine, which grows with that of the unit vectors, so Euclidean distance would select the same
    rows. It begins at the row nearest to the mean of the unit vectors. Arithmetic is float32, and distances are rounded
    to 6 decimals before they are compared; ties go by key.

    Time is that of k products of the N rows with one, O(k N d); memory is 4 N d bytes.
    """

    requires = frozenset({"embedding"})

    def select(self, pool: Signals, target: Signals | None, budget: Budget, seed: int) -> Picked:
        """Select rows until the budget is met.

        ``scores`` are each selected row's distance to the nearest of those before it (2, the largest possible, for the
        first), so they fall in the order of selection; and other rows' distance to the nearest selected row.
        """
        check_budget(budget, pool["n_tokens"], "KCenter")
        check_embeddings(pool["embedding"])
        order = key_order(pool.tie_keys(seed))
        n_rows, width = pool["embedding"].shape
        unit = np.empty((n_rows, width), dtype=np.float32)  # in the order of the keys; read in blocks
        for block in blocks(n_rows, ROWS_AT_ONCE):
            unit[block] = unit_rows(pool["embedding"][order[block]])
        sizes = np.ones(n_rows, dtype=np.int64) if budget.tokens is None else pool["n_tokens"][order]
        missing = budget.tokens or budget.rows or 0

        nearest = np.full(n_rows, FARTHEST, dtype=np.float32)  # distance to the nearest selected row
        heights, left = np.zeros(n_rows), np.ones(n_rows, dtype=bool)
        place = int(np.round(unit @ unit.mean(axis=0, dtype=np.float64).astype(np.float32), FLOAT32_DECIMALS).argmax())
        while True:
            heights[place], left[place] = nearest[place], False
            missing -= int(sizes[place])
            distance = np.round(1 - unit @ unit[place], FLOAT32_DECIMALS)
            np.minimum(nearest, np.maximum(distance, 0), out=nearest)
            if missing <= 0:
                break
            place = int(np.where(left, nearest, -1).argmax())  # the first of equals, which has the smallest key
        heights[left] = nearest[left]
        scores = np.empty(n_rows)
        scores[order] = heights
        rows, radius = np.sort(order[~left]).astype(np.int64), float(nearest[left].max(initial=0.0))
        flops = 2 * width * n_rows * (len(rows) + 1) + width * n_rows  # the mean, and where to begin
        diagnostics = {"radius": round(radius, FLOAT32_DECIMALS)}
        return Picked(rows, scores, diagnostics, flops, "k-centre: 2 d a distance (analytic)")


class Prototypes(Selector):
    """Keep the rows nearest to their prototype, the typical ones, or farthest from it, the hard ones [3].

    Prototypes are the centres of `selectune.selectors.clustering.kmeans`; a row's own is the nearest. The distance is
    1 - cosine. With plenty of data the hard rows teach more, with little the typical ones [3].

    Args:
        keep: ``nearest`` or ``farthest``.
        n_prototypes: K; default min(256, round(sqrt n_rows)).

    Raises:
        UserError: a ``keep`` that is neither, or no prototypes.
    """

    requires = frozenset({"embedding"})

    def __init__(self, keep: Literal["nearest", "farthest"] = "nearest", n_prototypes: int | None = None) -> None:
        checks.one_of("Prototypes' keep", keep, ("nearest", "farthest"))
        checks.at_least("Prototypes' n_prototypes", n_prototypes, 1)
        self.keep, self.n_prototypes = keep, n_prototypes

    def select(self, pool: Signals, target: Signals | None, budget: Budget, seed: int) -> Picked:
        """Keep the first rows by distance; ``scores`` are the distance to a row's own prototype, in [0, 2].

        The seed is that of the k-means, too.
        """
        check_budget(budget, pool["n_tokens"], "Prototypes")
        embeddings = pool["embedding"]
        k = self.n_prototypes or default_prototypes(pool.n_rows)
        centres = kmeans(embeddings, k, seed, pool.tie_keys(seed))
        lengths = np.linalg.norm(centres, axis=1, keepdims=True)
        # The mean of opposite unit vectors is 0 and has no direction: its distance is 1 to every row.
        directions = np.divide(centres, lengths, out=np.zeros_like(centres), where=lengths > 0)
        cosines = [
            np.einsum("ij,ij->i", unit, directions[d2.argmin(axis=1)]) for unit, d2 in distances(embeddings, centres)
        ]
        scores = rounded(1 - np.concatenate(cosines))
        rows = lowest(scores if self.keep == "nearest" else -scores, pool, budget, seed)
        n_rows, width = embeddings.shape
        flops = kmeans_flops(n_rows, width, len(centres)) + 2 * width * n_rows * (len(centres) + 1)
        return Picked(rows, scores, {"prototypes": len(centres)}, flops, "k-means: 2 d a distance (analytic)")
