"""Intervals of differences between methods: a bootstrap over seeds and held-out rows, paired by both.

Runs of two methods with the same seeds are evaluated on the same rows. A replicate draws seeds and rows anew, with
replacement and independently, and takes the mean over its seeds of the difference of the two metrics on its rows
(Efron & Tibshirani 1993, ch. 8 and 13). With few seeds, the interval is too narrow as to what another seed would do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

REPLICATES = 2000
LEVEL = 0.95
SEED = 0
RowMetrics = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Difference:
    """A difference of means over seeds: the first method's less the second's, with its interval.

    Args:
        value: of the means.
        low: of the interval.
        high: of the interval.
        n_seeds: that both methods have.
        over_rows: whether rows were drawn as well as seeds.
    """

    value: float
    low: float
    high: float
    n_seeds: int
    over_rows: bool


def difference(
    metric: str, firsts: Sequence[float], seconds: Sequence[float], rows: Sequence[tuple[RowMetrics, RowMetrics]]
) -> Difference | None:
    """The difference of two methods, with its bootstrap interval.

    Args:
        metric: its name, such as ``accuracy``.
        firsts: the metric of each seed's run of the first method, shape (n_seeds,).
        seconds: of the second method, in the same order.
        rows: for each seed the row metrics of both, as ``test_scores.parquet`` holds them. Where they are missing, of
            other rows, or the metric does not follow from them, seeds alone are drawn.

    Returns:
        None where there is neither a second seed nor rows to draw from.
    """
    gaps = np.asarray(firsts, dtype=np.float64) - np.asarray(seconds, dtype=np.float64)
    n_seeds = len(gaps)
    per_seed = _replicates_of_rows(metric, rows)
    if n_seeds == 0 or (per_seed is None and n_seeds == 1):
        return None
    means = (seed_counts(n_seeds).T * (gaps[:, None] if per_seed is None else per_seed)).sum(0) / n_seeds
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Difference(float(gaps.mean()), float(low), float(high), n_seeds, per_seed is not None)


def _replicates_of_rows(metric: str, rows: Sequence[tuple[RowMetrics, RowMetrics]]) -> np.ndarray | None:
    """Each seed's difference in each replicate, shape (n_seeds, REPLICATES); None where rows cannot be drawn."""
    sides = [side for pair in rows for side in pair]
    if not sides or any("row_id" not in side for side in sides):
        return None
    row_ids = sides[0]["row_id"]
    if any(not np.array_equal(row_ids, side["row_id"]) for side in sides):
        return None
    counts = row_counts(len(row_ids))
    gaps = []
    for first, second in rows:
        ours, theirs = replicated(metric, first, counts), replicated(metric, second, counts)
        if ours is None or theirs is None:
            return None
        gaps.append(ours - theirs)
    return np.stack(gaps)


@lru_cache(maxsize=8)
def row_counts(n_rows: int) -> np.ndarray:
    """How often each replicate has each row, int16, shape (REPLICATES, n_rows); the same for all methods of a task."""
    random = np.random.default_rng([SEED, n_rows])
    counts = np.empty((REPLICATES, n_rows), dtype=np.int16)
    for replicate in counts:
        replicate[:] = np.bincount(random.integers(n_rows, size=n_rows), minlength=n_rows)
    return counts


@lru_cache(maxsize=32)
def seed_counts(n_seeds: int) -> np.ndarray:
    """How often each replicate has each seed, shape (REPLICATES, n_seeds)."""
    random = np.random.default_rng([SEED, 0, n_seeds])
    return random.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=REPLICATES)


def replicated(metric: str, rows: RowMetrics, counts: np.ndarray) -> np.ndarray | None:
    """A metric over rows that are counted several times or not at all.

    Args:
        metric: its name.
        rows: row metrics, each of shape (n_rows,).
        counts: shape (replicates, n_rows).

    Returns:
        Shape (replicates,), or None where the metric does not follow from those of rows.
    """
    if metric in ("em", "f1") and metric in rows:
        values = rows[metric]
    elif "label" not in rows:
        return None
    elif metric == "macro_f1":
        return _macro_f1(rows["label"], rows["prediction"], counts)
    elif metric in ("accuracy", "micro_f1"):  # the same where each row has one class
        values = rows["label"] == rows["prediction"]
    else:
        return None
    # float32: the product goes over all rows of all replicates, and seven digits are enough for an interval.
    means: np.ndarray = counts.astype(np.float32) @ values.astype(np.float32) / counts.shape[1]
    return means.astype(np.float64)


def _macro_f1(label: np.ndarray, prediction: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean F1 of the classes that a label or a prediction has, as torchmetrics computes it."""
    n_classes = int(max(label.max(), prediction.max())) + 1
    order = np.argsort(label * n_classes + prediction, kind="stable")
    codes, starts = np.unique((label * n_classes + prediction)[order], return_index=True)
    cells = np.add.reduceat(counts[:, order], starts, axis=1, dtype=np.int64).astype(np.float64)
    hits, support = np.zeros((2, len(counts), n_classes))
    for cell, (of, as_) in enumerate(zip(codes // n_classes, codes % n_classes)):
        support[:, of] += cells[:, cell]
        support[:, as_] += cells[:, cell]
        if of == as_:
            hits[:, of] += cells[:, cell]
    with np.errstate(invalid="ignore"):
        scores = np.where(support > 0, 2 * hits / support, 0.0)
    return scores.sum(1) / (support > 0).sum(1)
