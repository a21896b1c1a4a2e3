"""A learner's error at the full size, from that of a cheap model, which is known there.

The cheap model is a linear head on the embeddings of a diagnosis. A learner that is such a head itself ends near it: a
part of the gap between the two at small sizes is left. A learner that is fine-tuned changes its embeddings, and
outgrows the head: its error in units of the head's falls with the rows, as a power of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

GAP_KEPT, GAP_SD = 0.3, 0.35  # part of the gap at small sizes that is left at the full one
APART = 0.08  # sd of the gap at the full size, in units of the share of rows on which just one of the two models errs
SLOPE, SLOPE_SD = -0.12, 0.08  # of the log of a fine-tuned learner's error over the head's, by the log of the rows
START_SD = 0.25  # of that log at the largest subset, before it is measured


@dataclass(frozen=True)
class Reference:
    """A cheap model on the same held-out rows.

    Args:
        losses: of each row after training on each subset, nats, shape (n_sizes, n_rows).
        at_sizes: whether a row was classified wrongly then, of the same shape.
        at_full: the same after training on all rows, shape (n_rows,).
        outgrown: whether the learner is fine-tuned, and so outgrows it.
    """

    losses: np.ndarray
    at_sizes: np.ndarray
    at_full: np.ndarray
    outgrown: bool = False


def error_beside(
    reference: Reference, wrong: np.ndarray, sizes: np.ndarray, size: int, noise: np.ndarray, at_chance: np.ndarray
) -> tuple[float, float]:
    """The error rate of a learner at the full size, and its standard deviation.

    Args:
        reference: the cheap model.
        wrong: whether the learner erred after training on each subset, mean over seeds, shape (n_sizes, n_rows).
        sizes: rows of each subset.
        size: the full one.
        noise: sd of the error rate between trainings, shape (n_sizes,).
        at_chance: whether the learner had not left chance after a subset, shape (n_sizes,): a fine-tuning then tells
            nothing of what it will be.
    """
    rates, theirs = wrong.mean(axis=1), reference.at_sizes.mean(axis=-1)
    apart, end = _apart(reference, wrong), float(reference.at_full.mean())
    if not reference.outgrown:
        weights = 1 / noise**2
        gap = float(((rates - theirs) * weights).sum() / weights.sum())
        return end + GAP_KEPT * gap, math.sqrt(apart**2 + (GAP_SD * gap) ** 2 + GAP_KEPT**2 / float(weights.sum()))
    half = 0.5 / wrong.shape[1]  # of a row: an error rate may be 0
    logs = np.log((rates + half) / (theirs + half))
    x = np.stack([np.ones(len(sizes)), np.log(sizes / sizes[-1])], axis=1)
    weights = np.where(at_chance, 0.0, ((rates + half) / noise) ** 2)
    precision = x.T @ (x * weights[:, None]) + np.diag([START_SD**-2, SLOPE_SD**-2])
    weighted = x.T @ (logs * weights) + np.array([0.0, SLOPE / SLOPE_SD**2])
    covariance = np.linalg.inv(precision)
    ahead = np.array([1.0, math.log(size / sizes[-1])])
    mean = float(ahead @ covariance @ weighted)
    error = end * math.exp(mean)
    return error, math.hypot(apart, error * math.sqrt(float(ahead @ covariance @ ahead)))


def _apart(reference: Reference, wrong: np.ndarray) -> float:
    """Standard deviation of the learner's error rate around the reference's at the full size, where there is no gap.

    Rows on which just one of the two errs would fall to either with the same chance, were they drawn independently;
    what a learner has that the reference lacks moves many of them together. They get fewer as the reference errs less.
    """
    split = float(((wrong[-1] - reference.at_sizes[-1]) ** 2).mean())
    split *= min(1.0, float(reference.at_full.sum() + 1) / float(reference.at_sizes[-1].sum() + 1))
    return math.hypot(math.sqrt(split / wrong.shape[1]), APART * split)
