"""Rows of another kind than the task's: against trusted rows, or by labels that mean nothing around them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from selectune.diagnose.contrast import beyond_reference, contrast
from selectune.diagnose.findings import Finding

PENALTY = 1e-3
NEIGHBOURS = 20
STEEPNESS = 4.0  # of the first guess by labels around a row, a nat
ROUNDS, ROUNDS_BY_LABELS = 4, 10  # of probes that learn from what the one before found; labels alone tell less of a row
SOFTNESS = 1.0  # of the bound between the two groups after the first probe, in standard deviations of the log odds
LEAST_TRUSTED = 30


def against_trusted(
    features: np.ndarray,
    trusted: np.ndarray,
    folds: np.ndarray,
    trusted_folds: np.ndarray,
    others: np.ndarray,
    known: np.ndarray | None = None,
) -> tuple[Finding, float]:
    """Rows that are unlike the trusted ones, and the FLOPs that it took.

    A first probe tells the pool from the trusted rows, and how many rows stand apart. Further ones then learn from the
    pool's own rows too, since trusted ones are few; see `_odds_off_topic`. A label that does not fit speaks against a
    row; one that fits says nothing, as rows of another kind may have labels that can be learned too.

    Args:
        features: of the pool, shape (n_rows, width).
        trusted: of the trusted rows, shape (n_trusted, width).
        folds: of the pool's rows, from 0 to 4.
        trusted_folds: of the trusted rows.
        others: row ids of each row's nearest neighbours, -1 for none, shape (n_rows, k).
        known: see `known_of_labels`; None where there are no labels.
    """
    found = contrast(features, trusted, folds, trusted_folds, PENALTY)
    apart = beyond_reference(found.pool, found.reference)
    misfit = np.zeros(len(features)) if known is None else np.minimum(known, 0)

    def chances(odds: np.ndarray) -> np.ndarray:
        bound = np.quantile(odds, 1 - apart.share)
        return _sigmoid((odds - bound) / (SOFTNESS * max(float(odds.std()), 1e-9)) - misfit)

    odds, flops = _odds_off_topic(features, trusted, folds, trusted_folds, others, chances(found.pool), chances, ROUNDS)
    rows = np.sort(np.argsort(-odds, kind="stable")[: len(apart.rows)])
    finding = Finding(
        "off_topic", _sigmoid(odds), rows, apart.share, apart.low, apart.high, {"trusted_rows": len(trusted)}
    )
    return finding, found.flops + flops


def by_labels(features: np.ndarray, folds: np.ndarray, others: np.ndarray, known: np.ndarray) -> tuple[Finding, float]:
    """Rows around which labels mean nothing, where no row is trusted, and the FLOPs that it took.

    On topic, a cross-fitted probe knows more about the labels of a row's neighbours than their classes' shares do. Rows
    of another kind have labels that cannot be learned. What is known around a row is the first guess, from which
    further probes learn; see `_odds_off_topic`. Named are the rows that are more likely off topic than not. Where
    labels are noisy everywhere, what is unknown around a row says nothing about it, and no row is named.

    Args:
        features: of the pool, shape (n_rows, width).
        folds: of the pool's rows, from 0 to 4.
        others: row ids of each row's 20 nearest neighbours, -1 for none, shape (n_rows, k).
        known: see `known_of_labels`.
    """
    around = np.where(others >= 0, known[others], 0.0)
    counts = np.maximum((others >= 0).sum(axis=1), 1)
    means = around.sum(axis=1) / counts
    errors = np.sqrt(np.maximum((around**2).sum(axis=1) / counts - means**2, 0) / counts)
    able = float(np.median(means)) > 2 * float(np.median(errors))
    guess = _sigmoid(-STEEPNESS * means)

    def chances(odds: np.ndarray) -> np.ndarray:
        return _sigmoid(odds - known)

    odds, flops = _odds_off_topic(features, features[:0], folds, folds[:0], others, guess, chances, ROUNDS_BY_LABELS)
    rows = np.flatnonzero(odds > 0) if able else np.zeros(0, dtype=np.int64)
    return Finding.counted("off_topic", _sigmoid(odds), rows, trusted_rows=0, able=able), flops


def known_of_labels(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Nats that a cross-fitted probe knows more about each row's label than the share of its class does.

    It is the log odds of the label if the row is on topic, and not one whose label is drawn by the classes' shares.

    Args:
        labels: class numbers, shape (n_rows,).
        probabilities: of the classes, shape (n_rows, n_classes).
    """
    shares = np.bincount(labels, minlength=probabilities.shape[1]) / len(labels)
    return np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-6)) - np.log(shares[labels])


def _odds_off_topic(
    features: np.ndarray,
    trusted: np.ndarray,
    folds: np.ndarray,
    trusted_folds: np.ndarray,
    others: np.ndarray,
    off: np.ndarray,
    chances: Callable[[np.ndarray], np.ndarray],
    rounds: int,
) -> tuple[np.ndarray, float]:
    """Log odds of each row to be off topic, and the FLOPs that it took.

    The pool is a mixture of two groups, each row's group a matter of its features by a logistic gate. Expectation
    maximisation: a cross-fitted probe learns the gate from the rows' chances ``off``, trusted rows being on topic; the
    next ``chances`` follow from its log odds, less the log odds that the row's label gives for being on topic. At last
    each row's odds are averaged with those of its neighbours.
    """
    flops = 0.0
    for _ in range(rounds):
        found = contrast(features, trusted, folds, trusted_folds, PENALTY, 1 - off)
        odds = _calibrated(found.pool, off)
        off = chances(odds)
        flops += found.flops
    around = np.where(others >= 0, odds[others], odds[:, None]).mean(axis=1)
    return (odds + around) / 2, flops


def _calibrated(odds: np.ndarray, chances: np.ndarray) -> np.ndarray:
    """Odds on the scale that fits chances best (Platt 1999), as a strong penalty leaves them too near to 0."""
    from sklearn.linear_model import LogisticRegression

    sides, twice = np.repeat([1, 0], len(odds)), np.concatenate([odds, odds])[:, None]
    scaled = LogisticRegression().fit(twice, sides, sample_weight=np.concatenate([chances, 1 - chances]))
    return scaled.decision_function(odds[:, None]) if scaled.coef_[0, 0] > 0 else odds  # else the probe knows nothing


def _sigmoid(odds: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(odds, -500, 500)))
