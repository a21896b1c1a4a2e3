"""Signals and costs of a pool, extrapolated from a sample of its rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from selectune.selectors.base import Budget, Picked, Signals

NEIGHBOURS = 5
SMALLEST = 8  # rows of a sample that a selector is tried on


def extrapolated(
    features: np.ndarray, sample: np.ndarray, values: Mapping[str, np.ndarray], seed: int
) -> dict[str, np.ndarray]:
    """Signals of a whole pool from those of some of its rows.

    A row that was not measured takes all its signals from one that was, drawn from the five nearest by features. So the
    relation to length, which entropies have, is preserved, and so is the spread among rows of one length.

    Args:
        features: of every row, such as its length, shape (n_rows, k).
        sample: row ids that were measured, shape (n,).
        values: their signals, each of shape (n,) or (n, width).
        seed: of the draws.

    Returns:
        Each of shape (n_rows,) or (n_rows, width); measured rows have their own.
    """
    from scipy.spatial import cKDTree

    spread = features.std(axis=0)
    scaled = features / np.where(spread > 0, spread, 1.0)
    k = min(NEIGHBOURS, len(sample))
    _, nearest = cKDTree(scaled[sample]).query(scaled, k=k)
    draws = np.random.default_rng(seed).integers(k, size=len(features))
    donor = nearest.reshape(len(features), k)[np.arange(len(features)), draws]
    donor[sample] = np.arange(len(sample))
    return {name: np.asarray(signal)[donor] for name, signal in values.items()}


def on_sample(
    select: Callable[[Signals, Budget], tuple[Picked, float]], signals: Signals, budget: Budget, n_rows: int
) -> tuple[Picked, float]:
    """Run a selector on a sample and on half of it, and extrapolate its cost as a power of the number of rows.

    Args:
        select: gives the selection, and the seconds that it took.
        signals: of the sample.
        budget: of the whole pool.
        n_rows: of the whole pool.

    Returns:
        The selection from the sample, with the FLOPs of one from the whole pool; and the seconds of that.
    """
    whole = np.arange(signals.n_rows)

    def run(rows: np.ndarray) -> tuple[Picked, float]:
        return select(signals.take(rows), share_of(budget, len(rows) / n_rows))

    picked, seconds = run(whole)
    power = 1.0
    if len(whole) >= 2 * SMALLEST:
        half = whole[::2]
        of_half, seconds_of_half = run(half)
        ratio = len(whole) / len(half)
        if picked.flops and of_half.flops:
            power = float(np.log(picked.flops / of_half.flops) / np.log(ratio))
        elif seconds_of_half > 0:
            power = float(np.clip(np.log(seconds / seconds_of_half) / np.log(ratio), 1.0, 2.0))
    growth = (n_rows / len(whole)) ** power
    return replace(picked, flops=None if picked.flops is None else picked.flops * growth), seconds * growth


def share_of(budget: Budget, share: float) -> Budget:
    """The same budget for a share of the rows."""
    rows, tokens = (None if n is None else max(1, round(n * share)) for n in (budget.rows, budget.tokens))
    return Budget(rows, tokens)
