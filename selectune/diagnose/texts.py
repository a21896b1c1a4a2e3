"""Rows that are no text: nothing in them, cut off, or no language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from selectune.diagnose.contrast import FOLDS, Apart, contrast, like_examples
from selectune.diagnose.findings import Finding

PENALTY = 1e-3


def empty(texts: Sequence[str]) -> Finding:
    """Rows without a letter or a digit."""
    bare = np.array([not any(letter.isalnum() for letter in text) for text in texts])
    return Finding.counted("empty", bare.astype(np.float64), np.flatnonzero(bare))


def truncated(lengths: np.ndarray, whole_lengths: np.ndarray) -> Finding:
    """Rows that the model does not see whole.

    Args:
        lengths: tokens that are read of each row, shape (n_rows,).
        whole_lengths: tokens of the whole text, in the same count.
    """
    lost = 1 - lengths / np.maximum(whole_lengths, 1)
    tokens = int((whole_lengths - lengths).sum())
    return Finding.counted("truncated", lost.clip(0, 1), np.flatnonzero(whole_lengths > lengths), tokens_lost=tokens)


def not_language(
    features: np.ndarray, folds: np.ndarray, examples: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> tuple[Finding, float]:
    """Rows that read like damaged ones: shuffled words, random or foreign letters, the same words over and over.

    Each kind of damage is told from the pool by a cross-fitted probe on the states halfway up the encoder, where the
    order of words still shows. A row's score is its highest chance of having one of them, the kind's share considered.

    Args:
        features: of the pool, shape (n_rows, width).
        folds: of its rows, from 0 to 4.
        examples: of each kind: features of damaged rows, and the rows that they were made of.

    Returns:
        The finding, and the FLOPs that it took.
    """
    n, flops = len(features), 0.0
    best, named = np.full(n, -np.inf), np.zeros(n, dtype=bool)
    found: dict[str, Apart] = {}
    for kind, (damaged, rows) in examples.items():
        told = contrast(features, damaged, folds, folds[rows], PENALTY)
        odds = -told.pool
        found[kind] = like_examples(odds, -told.reference)
        # A share of 0 would drown the order among rows, which is wanted all the same.
        best = np.maximum(best, odds + np.log(max(found[kind].share, 1 / n)))
        named[found[kind].rows] = True
        flops += told.flops
    scores = 1 / (1 + np.exp(-np.clip(best, -500, 500)))
    shares = [min(1.0, sum(getattr(one, end) for one in found.values())) for end in ("share", "low", "high")]
    share, low, high = max(shares[0], named.mean()), shares[1], max(shares[2], named.mean())
    kinds = {kind: {"share": one.share, "low": one.low, "high": one.high} for kind, one in found.items()}
    return Finding("not_language", scores, np.flatnonzero(named), share, low, high, {"kinds": kinds}), flops


def folds_of(keys: np.ndarray) -> np.ndarray:
    """A fold for each row by its key, so that rows of the same text share one."""
    return (keys % np.uint64(FOLDS)).astype(np.int64)
