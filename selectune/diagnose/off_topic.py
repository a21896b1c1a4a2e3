"""Rows of another kind than the task's: against trusted rows, or by labels that mean nothing around them."""

from __future__ import annotations

import numpy as np

from selectune.diagnose.contrast import beyond_reference, contrast
from selectune.diagnose.findings import Finding
from selectune.selectors.copies import near_neighbours

PENALTY = 1e-3
NEIGHBOURS = 20
STEEPNESS = 4.0  # of the score by labels around a row, a nat
ROUNDS = 3  # of probes: the second and the third learn from what the one before found
SOFTNESS = 0.3  # of the bound between the two groups after a round, in standard deviations of the log odds
LEAST_TRUSTED = 30


def against_trusted(
    features: np.ndarray, trusted: np.ndarray, folds: np.ndarray, trusted_folds: np.ndarray
) -> tuple[Finding, float]:
    """Rows that are unlike the trusted ones, and the FLOPs that it took.

    A first probe tells the pool from the trusted rows, and how many rows stand apart. Two further ones then learn from
    the pool's own rows: those that the probe before finds alike count as trusted, which are few.

    Args:
        features: of the pool, shape (n_rows, width).
        trusted: of the trusted rows, shape (n_trusted, width).
        folds: of the pool's rows, from 0 to 4.
        trusted_folds: of the trusted rows.
    """
    found = contrast(features, trusted, folds, trusted_folds, PENALTY)
    apart, flops = beyond_reference(found.pool, found.reference), found.flops
    for _ in range(ROUNDS - 1):
        bound = np.quantile(found.pool, 1 - apart.share)
        scale = SOFTNESS * max(float(found.pool.std()), 1e-9)
        alike = 1 / (1 + np.exp(np.clip((found.pool - bound) / scale, -50, 50)))
        found = contrast(features, trusted, folds, trusted_folds, PENALTY, alike)
        flops += found.flops
    scores = 1 / (1 + np.exp(-np.clip(found.pool, -500, 500)))
    rows = np.sort(np.argsort(-found.pool, kind="stable")[: len(apart.rows)])
    finding = Finding("off_topic", scores, rows, apart.share, apart.low, apart.high, {"trusted_rows": len(trusted)})
    return finding, flops


def by_labels(
    embeddings: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, keys: np.ndarray, seed: int
) -> Finding:
    """Rows around which labels mean nothing, where no row is trusted.

    On topic, a cross-fitted probe knows more about the labels of a row's neighbours than their classes' shares do. Rows
    of another kind have labels that cannot be learned. The score is the mean of what it knows less over the 20 nearest
    rows, in nats; named are rows where it knows nothing with confidence.

    Args:
        embeddings: shape (n_rows, width).
        labels: class numbers, shape (n_rows,).
        probabilities: of the classes, cross-fitted, shape (n_rows, n_classes).
        keys: order of the rows, uint64, shape (n_rows,).
        seed: of the search.
    """
    n = len(labels)
    shares = np.bincount(labels, minlength=probabilities.shape[1]) / n
    known = np.log(np.maximum(probabilities[np.arange(n), labels], 1e-6)) - np.log(shares[labels])
    others, _ = near_neighbours(embeddings, seed, min(NEIGHBOURS, max(1, n - 1)), keys)
    around = np.where(others >= 0, known[others], 0.0)
    counts = np.maximum((others >= 0).sum(axis=1), 1)
    means = around.sum(axis=1) / counts
    errors = np.sqrt(np.maximum((around**2).sum(axis=1) / counts - means**2, 0) / counts)
    # where labels are noisy everywhere, what is unknown around a row says nothing about it
    able = float(np.median(means)) > 2 * float(np.median(errors))
    rows = np.flatnonzero(means + errors < 0) if able else np.zeros(0, dtype=np.int64)
    scores = 1 / (1 + np.exp(STEEPNESS * means))
    return Finding.counted("off_topic", scores, rows, trusted_rows=0, able=able)
