"""Weights of held-out rows that plans are judged by, where these rows carry the faults of the pool."""

from __future__ import annotations

import numpy as np

from selectune.selectors.label_issues import wrong_label_probability

COPIED = 0.95  # cosine to a row of the pool from which on a held-out row is a copy of it
BLOCK_ROWS = 2000


def sound_weights(labels: np.ndarray, probabilities: np.ndarray, cosines: np.ndarray, even_classes: bool) -> np.ndarray:
    """Weights of held-out rows, float64, mean 1, shape (n_rows,): 0 of those that look faulty.

    A row whose label a probe of the pool contradicts would reward a plan for learning the fault, and a copy of a row of
    the pool one for keeping copies. Where all rows look faulty, or too few rows of a kind are left, all count alike.

    Args:
        labels: numbers of classes.
        probabilities: of the classes by a probe that was trained on the pool, shape (n_rows, n_classes).
        cosines: to the nearest row of the pool.
        even_classes: let each class weigh the same, as where a class of the pool is rare.
    """
    wrong, _ = wrong_label_probability(labels, probabilities)
    sound = (wrong <= 0.5) & (cosines < COPIED)
    weights = sound.astype(np.float64)
    if even_classes and sound.any():
        counts = np.bincount(labels[sound], minlength=probabilities.shape[1])
        weights[sound] = 1 / counts[labels[sound]]
    return weights / weights.mean() if weights.sum() > 0 else np.ones(len(labels))


def nearest_cosines(held_out: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """Cosine of each held-out row to the nearest row of the pool, shape (n_held_out,)."""
    ours, best = _unit(held_out), np.full(len(held_out), -1.0)
    for start in range(0, len(pool), BLOCK_ROWS):
        best = np.maximum(best, (ours @ _unit(pool[start : start + BLOCK_ROWS]).T).max(axis=1))
    return best


def _unit(rows: np.ndarray) -> np.ndarray:
    values = np.asarray(rows, dtype=np.float32)
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12))
