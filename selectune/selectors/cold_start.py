"""Selectors for budgets of a few rows, under 1 % of a pool: typical rows that stand for many others.

With so few rows, hard or rare ones teach little; these two spread typical ones over the pool instead. Embeddings are
compared as unit vectors.

1. G. Hacohen, A. Dekel, D. Weinshall, "Active learning on a budget: opposite strategies suit high and low budgets",
   ICML 2022: TypiClust.
2. O. Yehuda, A. Dekel, G. Hacohen, D. Weinshall, "Active learning through a covering lens", NeurIPS 2022: ProbCover.
"""

from __future__ import annotations

import warnings

import numpy as np

from selectune.common import checks
from selectune.selectors.base import Budget, Picked, Selector, Signals, check_budget, cumulative_sizes, first_of
from selectune.selectors.baselines import turns
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
from selectune.selectors.copies import DECIMALS, near_neighbours
from selectune.selectors.ordering import key_order

NEIGHBOURS = 20  # by which a row is typical [1]
MOST_CLUSTERS = 500  # [1]
PURE = 0.95  # share of balls of one cluster alone [2]
TRIED_ROWS = 2_000  # by which the radius is chosen


class Typical(Selector):
    """Keep the most typical row of each of as many clusters as rows are asked for (TypiClust, Hacohen et al. 2022 [1]).

    Clusters are those of k-means, at most 500, and a row is the more typical the smaller its mean distance to its 20
    nearest rows. Clusters take turns, the largest first; one gives its most typical row, then the next. Copies of a
    text are near to each other, so they look typical: chain this to `Deduplicate` or `SemanticDuplicates`.

    Differs from [1]: the nearest rows are those of the whole pool, see `selectune.selectors.copies.near_neighbours`.
    """

    requires = frozenset({"embedding"})

    def select(self, pool: Signals, target: Signals | None, budget: Budget, seed: int) -> Picked:
        """Keep rows in turns; ``scores`` are the mean distance to the nearest rows, between unit vectors."""
        check_budget(budget, pool["n_tokens"], "Typical")
        embeddings, keys = pool["embedding"], pool.tie_keys(seed)
        check_embeddings(embeddings)
        filled, asked = cumulative_sizes(pool["n_tokens"], budget)
        expected = max(1, round(asked / filled[-1] * pool.n_rows))
        centres = kmeans(embeddings, min(expected, MOST_CLUSTERS), seed, keys)
        cluster = np.concatenate([d2.argmin(axis=1) for _, d2 in distances(embeddings, centres)])
        _, cosines = near_neighbours(embeddings, seed, min(NEIGHBOURS, max(1, pool.n_rows - 1)), keys)
        apart = np.sqrt(2 - 2 * cosines.astype(np.float64))  # -1 of a row without neighbours is as far as can be
        scores = np.round(apart.mean(axis=1), DECIMALS)

        by_typicality = np.empty(pool.n_rows, dtype=np.uint64)
        by_typicality[np.lexsort((keys, scores))] = np.arange(pool.n_rows, dtype=np.uint64)
        before, sizes = turns(cluster, by_typicality), np.bincount(cluster)
        order = np.lexsort((by_typicality, -sizes[cluster], before))
        n_rows, width = embeddings.shape
        flops = kmeans_flops(n_rows, width, len(centres)) + 2.0 * width * n_rows * (len(centres) + n_rows)
        method = "k-means and near neighbours: 2 d a distance, at most (analytic)"
        rows = first_of(order, budget, pool["n_tokens"])
        return Picked(rows, scores, {"clusters": len(centres)}, flops, method)


class ProbCover(Selector):
    """Greedily keep the row whose ball holds most rows that no ball holds yet (ProbCover, Yehuda et al. 2022 [2]).

    The ball of a row are the rows whose cosine with it is at least ``similarity``. Unless given, it is the smallest
    (the balls the largest) for which 95 % of the balls of 2,000 rows hold rows of one k-means cluster alone, of as many
    clusters as there are classes, or min(256, round(sqrt N)) where rows have none.

    Time is O(N^2 d), as each row is covered once; no N x N array is held.

    Args:
        similarity: a cosine, over 0 and at most 1; default by the rule above.

    Raises:
        UserError: a similarity outside (0, 1].

    Warns:
        UserWarning: all rows are covered before the budget is met, so that the rest is random.
    """

    requires = frozenset({"embedding"})

    def __init__(self, similarity: float | None = None) -> None:
        checks.share("ProbCover's similarity", similarity)
        self.similarity = similarity

    def select(self, pool: Signals, target: Signals | None, budget: Budget, seed: int) -> Picked:
        """Keep rows until the budget is met.

        ``scores`` are the number of rows that a selected row was the first to cover; other rows', those that they
        would still cover in the end.
        """
        check_budget(budget, pool["n_tokens"], "ProbCover")
        check_embeddings(pool["embedding"])
        order = key_order(pool.tie_keys(seed))
        n_rows, width = pool["embedding"].shape
        unit = np.empty((n_rows, width), dtype=np.float32)  # in the order of the keys
        for block in blocks(n_rows, ROWS_AT_ONCE):
            unit[block] = unit_rows(pool["embedding"][order[block]])
        similarity = self.similarity
        if similarity is None:
            n_clusters = len(np.unique(pool["label"])) if "label" in pool else default_prototypes(n_rows)
            similarity = _similarity_of_pure_balls(unit, n_clusters, seed)
        sizes = np.ones(n_rows, dtype=np.int64) if budget.tokens is None else pool["n_tokens"][order]
        missing = budget.tokens or budget.rows or 0

        uncovered, left = np.ones(n_rows, dtype=bool), np.ones(n_rows, dtype=bool)
        would_cover = _in_balls(unit, unit, similarity)
        covers = np.zeros(n_rows, dtype=np.int64)
        random_rows = 0
        while missing > 0:
            place = int(np.where(left, would_cover, -1).argmax())  # the first of equals, which has the smallest key
            covers[place], left[place] = would_cover[place], False
            missing -= int(sizes[place])
            random_rows += int(would_cover[place] == 0)
            if would_cover[place]:
                newly = np.flatnonzero(uncovered & _ball(unit, place, similarity))
                uncovered[newly] = False
                # a product of other shape may differ in the last bit, so that a row is counted out twice
                would_cover = np.maximum(would_cover - _in_balls(unit, unit[newly], similarity), 0)
        if random_rows:
            warnings.warn(
                f"ProbCover covers all rows before the budget is met, so {random_rows} of the rows kept are random; "
                "give a larger similarity, or a smaller budget.",
                UserWarning,
                stacklevel=2,
            )
        covers[left] = would_cover[left]
        scores = np.empty(n_rows)
        scores[order] = covers
        diagnostics = {
            "similarity": float(similarity),
            "covered": float(1 - uncovered.mean()),
            "random_rows": random_rows,
        }
        rows = np.sort(order[~left]).astype(np.int64)
        return Picked(rows, scores, diagnostics, 4.0 * width * n_rows**2, "cover: 2 d a cosine, at most (analytic)")


def _ball(unit: np.ndarray, place: int, similarity: float) -> np.ndarray:
    """Whether each row lies in the ball of one, which holds that one itself, shape (n_rows,)."""
    inside = np.round(unit @ unit[place], DECIMALS) >= np.float32(similarity)
    inside[place] = True
    return inside


def _in_balls(unit: np.ndarray, others: np.ndarray, similarity: float) -> np.ndarray:
    """Number of some other rows that the ball of each row holds, int64, shape (n_rows,)."""
    counts = np.zeros(len(unit), dtype=np.int64)
    for block in blocks(len(unit), ROWS_AT_ONCE):
        for part in blocks(len(others), ROWS_AT_ONCE):
            cosines = np.round(unit[block] @ others[part].T, DECIMALS)
            counts[block] += np.count_nonzero(cosines >= np.float32(similarity), axis=1)
    return counts


def _similarity_of_pure_balls(unit: np.ndarray, n_clusters: int, seed: int) -> float:
    """The smallest cosine for which a share of `PURE` of the balls hold rows of one cluster alone, in (0, 1]."""
    centres = kmeans(unit, max(2, n_clusters), seed, np.arange(len(unit)))
    cluster = np.concatenate([d2.argmin(axis=1) for _, d2 in distances(unit, centres)])
    tried = unit[:TRIED_ROWS]
    nearest = np.full(len(tried), -1.0, dtype=np.float32)  # of the rows of other clusters
    for block in blocks(len(unit), ROWS_AT_ONCE):
        cosines = tried @ unit[block].T
        cosines[cluster[: len(tried), None] == cluster[block]] = -1.0
        np.maximum(nearest, cosines.max(axis=1), out=nearest)
    highest = float(np.quantile(nearest, PURE, method="higher"))
    return float(np.clip(highest + 10.0**-DECIMALS, 10.0**-DECIMALS, 1.0))
