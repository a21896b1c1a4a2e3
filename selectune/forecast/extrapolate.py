"""From the signals of a sample to those of a pool: each other row is lent those of a row that is much like it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from selectune.selectors.base import Budget, Picked, Selector, Signals

NEIGHBOURS = 5
SMALLEST = 8  # rows of a sample that a selector is tried on


def lent(
    features: np.ndarray, sample: np.ndarray, values: Mapping[str, np.ndarray], seed: int
) -> dict[str, np.ndarray]:
    """Signals of a whole pool from those of some of its rows.

    A row that was not measured takes all its signals from one that was, drawn from the five nearest by features. So
    what follows length, as entropies do, is kept, and so is the spread among rows of one length.

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


@dataclass(frozen=True)
class Extrapolated:
    """What a selector did to a sample, and what it will take for the pool.

    Args:
        picked: of the sample.
        flops: for the pool; None when unknown.
        seconds: for the pool.
        note: how they were found.
    """

    picked: Picked
    flops: float | None
    seconds: float
    note: str


def on_sample(
    select: Callable[[Signals, Budget], tuple[Picked, float]],
    signals: Signals,
    budget: Budget,
    n_rows: int,
) -> Extrapolated:
    """Run a selector on a sample and on half of it, and take its work to grow with the rows as a power of them.

    Args:
        select: gives what is picked, and the seconds that it took.
        signals: of the sample.
        budget: of the whole pool.
        n_rows: of the whole pool.
    """
    whole = np.arange(signals.n_rows)
    sizes = [whole, whole[::2]] if len(whole) >= 2 * SMALLEST else [whole]
    found = []
    for rows in sizes:
        found.append(select(signals.take(rows), scaled(budget, len(rows) / n_rows)))
    picked, seconds = found[0]
    growth = n_rows / len(whole)
    if len(found) == 1:
        return Extrapolated(picked, _times(picked.flops, growth), seconds * growth, "in proportion to its rows")
    ratio = len(sizes[0]) / len(sizes[1])
    power = 1.0
    if picked.flops and found[1][0].flops:
        power = float(np.log(picked.flops / found[1][0].flops) / np.log(ratio))
    elif found[1][1] > 0:
        power = float(np.clip(np.log(seconds / found[1][1]) / np.log(ratio), 1.0, 2.0))
    more = growth**power
    told = f"from {len(sizes[1]):,} and {len(whole):,} rows, as the power {power:.2f} of their number"
    return Extrapolated(picked, _times(picked.flops, more), seconds * more, told)


def scaled(budget: Budget, share: float) -> Budget:
    """The same budget for a share of the rows."""
    rows = None if budget.rows is None else max(1, round(budget.rows * share))
    return Budget(rows, None if budget.tokens is None else max(1, round(budget.tokens * share)))


def looks_at_vectors(selector: Selector, signals: Mapping[str, np.ndarray]) -> bool:
    """Whether a selector compares rows by vectors, so that copies of one row would stand in each other's way."""
    return any(signals[name].ndim > 1 for name in selector.requires if name in signals)


def _times(flops: float | None, factor: float) -> float | None:
    return None if flops is None else flops * factor
