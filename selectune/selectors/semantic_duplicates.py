"""Copies by meaning: rows whose embeddings nearly coincide."""

from __future__ import annotations

from typing import Any

import numpy as np

from selectune.common import checks
from selectune.selectors.base import Picked, Signals
from selectune.selectors.clustering import check_embeddings, unit_rows
from selectune.selectors.copies import DECIMALS, groups_of, near_neighbours
from selectune.selectors.filtering import Filter, mixed_labels

NEIGHBOURS = 10


class SemanticDuplicates(Filter):
    """Keep one row of each group of rows that mean nearly the same (SemDeDup, Abbas et al. 2023).

    Two rows are copies where the cosine of their embeddings reaches ``similarity``, and groups are the connected
    components. The row of a group that is kept is the most typical one: of the highest cosine with the mean of the
    group's unit vectors; ties go by key.

    Rows of one text are one group from the start, and of each text one row is compared with its ten nearest others, see
    `selectune.selectors.copies.near_neighbours`: all of them in a pool of at most 20,000 texts, those in near k-means
    cells in a larger one. So two rows that are kept may still be alike where each has ten that are nearer.

    Differs from the paper, which keeps the row farthest from its cell's centre.

    Args:
        similarity: a cosine, over 0 and at most 1. How alike copies are depends on the encoder: look at some pairs.

    Raises:
        UserError: a similarity outside (0, 1].

    Warns:
        UserWarning: a group mixes labels.
    """

    requires = frozenset({"embedding"})

    def __init__(self, similarity: float = 0.95) -> None:
        checks.share("SemanticDuplicates' similarity", similarity)
        self.similarity = similarity

    def kept(self, pool: Signals, target: Signals | None, seed: int) -> Picked:
        """Keep one row of each group; ``scores`` are the cosine with the nearest other row, -1 where there is none.

        Groups whose rows have several labels are counted in the diagnostics, with the row ids of the first five.
        """
        check_embeddings(pool["embedding"])
        keys = pool.tie_keys(seed)
        texts, first, text_of = np.unique(keys, return_index=True, return_inverse=True)
        indices, cosines = near_neighbours(pool["embedding"][first], seed, NEIGHBOURS, texts)
        close = np.argwhere(cosines >= np.float32(self.similarity))
        pairs = np.stack([close[:, 0], indices[close[:, 0], close[:, 1]]], axis=1)
        joined = groups_of(pairs, len(texts))
        alone = joined < 0
        joined[alone] = joined.max(initial=-1) + 1 + np.arange(np.count_nonzero(alone))
        group_of = joined[text_of]

        order = np.argsort(group_of, kind="stable")
        starts = np.flatnonzero(np.diff(group_of[order], prepend=-1))
        sizes = np.diff(starts, append=pool.n_rows)
        typical = self._typicality(pool["embedding"], order, starts, sizes)
        best = np.lexsort((keys[order], -typical, group_of[order]))
        rows = np.sort(order[best[starts]]).astype(np.int64)

        scores = cosines[:, 0].astype(np.float64)[text_of]
        scores[np.bincount(text_of)[text_of] > 1] = 1.0
        diagnostics: dict[str, Any] = {
            "duplicates": pool.n_rows - len(rows),
            "groups": int(np.count_nonzero(sizes > 1)),
            "largest_group": int(sizes.max()),
        }
        diagnostics |= mixed_labels(group_of, pool, "SemanticDuplicates")
        flops = 2.0 * pool["embedding"].shape[1] * len(texts) ** 2
        return Picked(rows, scores, diagnostics, flops, "near neighbours: 2 d a pair of texts, at most (analytic)")

    @staticmethod
    def _typicality(embeddings: np.ndarray, order: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Cosine of each row, in the order, with the mean of its group; 1 for a row alone, which is not read."""
        typical = np.ones(len(order))
        for start, size in zip(starts, sizes):
            if size > 1:
                unit = unit_rows(embeddings[order[start : start + size]])
                mean = unit.mean(axis=0)
                typical[start : start + size] = np.round(unit @ mean / max(np.linalg.norm(mean), 1e-12), DECIMALS)
        return typical
