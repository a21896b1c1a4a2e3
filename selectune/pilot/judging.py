"""Rows that plans are judged by where there are no trusted ones, and so the rows carry the faults of the pool.

Held-out rows that were split off a pool are few. Rehearsals cost next to nothing, so each is repeated without one fold
of the pool after the other, and judged by the rows that it did not see (`UnseenRows`): ten times as many.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from selectune.selectors.base import tie_keys
from selectune.selectors.label_issues import wrong_label_probability

COPIED = 0.95  # cosine of scaled embeddings to a row of the pool from which on a held-out row is a copy of it
LEAST_SOUND = 0.25  # of the rows: where a probe contradicts more labels than the rest, it is the probe that is weak
BLOCK_ROWS = 2000
FOLDS, JUDGED_ROWS = 4, 5000


def sound_weights(labels: np.ndarray, probabilities: np.ndarray, cosines: np.ndarray, even_classes: bool) -> np.ndarray:
    """Weights of held-out rows, float64, mean 1, shape (n_rows,): 0 of those that look faulty.

    A row whose label a probe of the pool contradicts would reward a plan for learning the fault, and a copy of a row of
    the pool one for keeping copies. Where the probe leaves less than a quarter of the rows, labels are not judged, and
    where all rows are copies, all count alike.

    Args:
        labels: numbers of classes.
        probabilities: of the classes by a probe that was trained on the pool, shape (n_rows, n_classes).
        cosines: to the nearest row of the pool.
        even_classes: let each class weigh the same, as where a class of the pool is rare.
    """
    wrong, _ = wrong_label_probability(labels, probabilities)
    own, right = cosines < COPIED, wrong <= 0.5
    sound = own & right if right.mean() >= LEAST_SOUND else own
    weights = sound.astype(np.float64)
    if even_classes and sound.any():
        counts = np.bincount(labels[sound], minlength=probabilities.shape[1])
        weights[sound] = 1 / counts[labels[sound]]
    return weights / weights.mean() if weights.sum() > 0 else np.ones(len(labels))


@dataclass(frozen=True)
class UnseenRows:
    """Rows of a pool that are judged by heads which saw neither them nor another row of their text.

    Args:
        rows: ids of those that are judged, one of each text, ascending, shape (n_judged,).
        folds: of all rows of the pool, numbers under `FOLDS`; rows of the same text share one.
        weights: of the judged rows, see `sound_weights`.
    """

    rows: np.ndarray
    folds: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(
        cls, embeddings: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, text_hash: np.ndarray,
        even_classes: bool, seed: int,
    ) -> UnseenRows:  # fmt: skip
        """Draw up to 5,000 texts of a pool by hash.

        Args:
            embeddings: of all rows, each dimension scaled, as all raw ones may be near to each other; (n_rows, width).
            labels: numbers of classes.
            probabilities: of the classes, each row's by a probe that was fitted without it.
            text_hash: uint64.
            even_classes: as in `sound_weights`.
            seed: of the draw and the folds.
        """
        keys = tie_keys(tie_keys(text_hash, seed), seed)  # not the order by which selectors draw rows
        _, first = np.unique(keys, return_index=True)  # in the order of the keys
        rows, folds = np.sort(first[:JUDGED_ROWS]), (keys >> np.uint64(32)) % np.uint64(FOLDS)
        cosines = np.empty(len(rows))
        for fold in range(FOLDS):
            mine = folds[rows] == fold
            cosines[mine] = nearest_cosines(embeddings[rows[mine]], embeddings[folds != fold])
        weights = sound_weights(labels[rows], probabilities[rows], cosines, even_classes)
        return cls(rows, folds.astype(np.int64), weights)


def nearest_cosines(held_out: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """Cosine of each held-out row to the nearest row of the pool, shape (n_held_out,)."""
    ours, best = _unit(held_out), np.full(len(held_out), -1.0)
    for start in range(0, len(pool), BLOCK_ROWS):
        best = np.maximum(best, (ours @ _unit(pool[start : start + BLOCK_ROWS]).T).max(axis=1))
    return best


def _unit(rows: np.ndarray) -> np.ndarray:
    values = np.asarray(rows, dtype=np.float32)
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12))
