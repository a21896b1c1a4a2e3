"""How sure a difference is: a bootstrap over seeds and held-out rows, paired by both.

Runs of two methods with the same seeds are evaluated on the same rows. A replicate draws seeds and rows anew, with
replacement and independently, and takes the mean over its seeds of the difference of the two figures on its rows
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
Figures = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Difference:
    """A difference of means over seeds, with its interval.

    Args:
        value: the first method's mean less the second's.
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
    metric: str, firsts: Sequence[float], seconds: Sequence[float], figures: Sequence[tuple[Figures, Figures]]
) -> Difference | None:
    """How much better one method is than another.

    Args:
        metric: its name, such as ``accuracy``.
        firsts: of each seed's run of the one, shape (n_seeds,).
        seconds: of each seed's run of the other, in the same order.
        figures: of each seed, the rows' figures of both, as ``test_scores.parquet`` holds them. Where they are missing,
            of other rows, or the metric does not follow from them, seeds alone are drawn.

    Returns:
        None where there is neither a second seed nor rows to draw from.
    """
    gaps = np.asarray(firsts, dtype=np.float64) - np.asarray(seconds, dtype=np.float64)
    n_seeds = len(gaps)
    per_seed = _replicates_of_rows(metric, figures)
    if n_seeds == 0 or (per_seed is None and n_seeds == 1):
        return None
    if per_seed is None:
        per_seed = np.repeat(gaps[:, None], REPLICATES, axis=1)
        over_rows = False
    else:
        over_rows = True
    means = (seed_counts(n_seeds).T * per_seed).sum(0) / n_seeds
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Difference(float(gaps.mean()), float(low), float(high), n_seeds, over_rows)


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


def replicated(metric: str, figures: Figures, counts: np.ndarray) -> np.ndarray | None:
    """A metric on rows that are counted several times or not at all.

    Args:
        metric: its name.
        figures: of the rows, each of shape (n_rows,).
        counts: shape (replicates, n_rows).

    Returns:
        Shape (replicates,), or None where the metric does not follow from the figures.
    """
    if metric in ("em", "f1") and metric in figures:
        return _weighted_mean(figures[metric], counts)
    if "label" not in figures:
        return None
    label, prediction = figures["label"], figures["prediction"]
    if metric in ("accuracy", "micro_f1"):  # the same where each row has one class
        return _weighted_mean((label == prediction).astype(np.float64), counts)
    if metric == "macro_f1":
        return _macro_f1(label, prediction, counts)
    return None


def _replicates_of_rows(metric: str, figures: Sequence[tuple[Figures, Figures]]) -> np.ndarray | None:
    """Each seed's difference in each replicate, shape (n_seeds, REPLICATES); None where rows cannot be drawn."""
    if not figures or any("row_id" not in one for pair in figures for one in pair):
        return None
    rows = figures[0][0]["row_id"]
    if any(not np.array_equal(rows, one["row_id"]) for pair in figures for one in pair):
        return None
    counts = row_counts(len(rows))
    found = []
    for first, second in figures:
        ours, theirs = replicated(metric, first, counts), replicated(metric, second, counts)
        if ours is None or theirs is None:
            return None
        found.append(ours - theirs)
    return np.stack(found)


def _weighted_mean(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    means: np.ndarray = counts.astype(np.float32) @ values.astype(np.float32) / counts.shape[1]
    return means.astype(np.float64)


def _macro_f1(label: np.ndarray, prediction: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The mean of the classes' F1, those left out that neither a label nor a prediction has, as torchmetrics does."""
    n_classes = int(max(label.max(), prediction.max())) + 1
    order = np.argsort(label * n_classes + prediction, kind="stable")
    codes, starts = np.unique((label * n_classes + prediction)[order], return_index=True)
    cells = np.add.reduceat(counts[:, order], starts, axis=1, dtype=np.int64).astype(np.float64)
    labelled, predicted = codes // n_classes, codes % n_classes
    hits, support = np.zeros((2, len(counts), n_classes))
    for cell, (of, as_) in enumerate(zip(labelled, predicted)):
        support[:, of] += cells[:, cell]
        support[:, as_] += cells[:, cell]
        if of == as_:
            hits[:, of] += cells[:, cell]
    with np.errstate(invalid="ignore"):
        scores = np.where(support > 0, 2 * hits / support, 0.0)
    return scores.sum(1) / (support > 0).sum(1)
