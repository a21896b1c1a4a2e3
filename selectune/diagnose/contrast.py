"""Log odds that tell rows of a pool from a reference, and which rows stand apart.

The reference is a sample of one of the two groups that a pool may be made of: trusted rows, or rows damaged on purpose.
A pool is then a mixture of which one part is known by example: learning from positive and unlabelled examples.

1. J. Bekker, J. Davis, "Learning from positive and unlabeled data: a survey", Machine Learning 109 (2020).
2. T. Robertson, J. D. Cryer, "An iterative procedure for estimating the mode", JASA 69 (1974).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from selectune.common.side_by_side import side_by_side

FOLDS = 5
FITTED_ROWS = 10_000  # of the pool, for a fold
ROWS_AT_ONCE = 10_000


@dataclass(frozen=True)
class Contrast:
    """Cross-fitted log odds of being of the pool rather than of the reference.

    Args:
        pool: of the rows of the pool, float64, shape (n_rows,).
        reference: of those of the reference, shape (n_reference,).
        flops: of the fits, a multiply-add being two.
    """

    pool: np.ndarray
    reference: np.ndarray
    flops: float


def contrast(
    pool: np.ndarray,
    reference: np.ndarray,
    folds: np.ndarray,
    reference_folds: np.ndarray,
    penalty: float,
    weights: np.ndarray | None = None,
) -> Contrast:
    """Log odds of each row by logistic regressions that did not see it, nor the rows that it was made of.

    Args:
        pool: features of the rows, shape (n_rows, width).
        reference: features, shape (n_reference, width); with weights it may be empty.
        folds: of the rows, from 0 to 4; a row and what was made of it share one.
        reference_folds: of the reference.
        penalty: inverse strength of the ridge penalty.
        weights: chance of each row of the pool to belong to the reference, by an earlier round, shape (n_rows,). A row
            then counts on both sides, so that the odds are those of the two groups and not of pool and reference.
    """
    from sklearn.exceptions import ConvergenceWarning

    of_pool, of_reference = np.zeros(len(pool)), np.zeros(len(reference))

    def without(fold: int) -> float:
        """Give a fold its odds, by a fit of the others; returns the FLOPs."""
        known = np.flatnonzero(folds != fold)
        if len(known) == 0 or (weights is None and not (reference_folds != fold).any()):
            return 0.0  # as where all texts are the same one: nothing is known, which odds of 0 say
        known = known[:: max(1, len(known) // FITTED_ROWS)]
        odds, spent = _fitted(
            pool[known], reference[reference_folds != fold], penalty, None if weights is None else weights[known]
        )
        for values, features, of in ((of_pool, pool, folds), (of_reference, reference, reference_folds)):
            rows = np.flatnonzero(of == fold)
            for start in range(0, len(rows), ROWS_AT_ONCE):
                part = rows[start : start + ROWS_AT_ONCE]
                values[part] = odds(features[part])
        return spent

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # its last step ranks rows well enough
        spent = side_by_side(without, range(FOLDS))
    return Contrast(of_pool, of_reference, sum(spent, 2.0 * pool.shape[1] * (len(pool) + len(reference))))


def _fitted(
    pool: np.ndarray, reference: np.ndarray, penalty: float, weights: np.ndarray | None
) -> tuple[Callable[[np.ndarray], np.ndarray], float]:
    """A function from features to log odds, and the FLOPs of its fit."""
    from sklearn.linear_model import LogisticRegression

    pool, reference = pool.astype(np.float64), reference.astype(np.float64)
    if weights is None:  # both sides weigh the same, so that 0 means as likely the one as the other
        sides = [
            (pool, 1, np.full(len(pool), 0.5 / len(pool))),
            (reference, 0, np.full(len(reference), 0.5 / len(reference))),
        ]
    else:
        sides = [(pool, 1, 1 - weights), (pool, 0, weights), (reference, 0, np.ones(len(reference)))]
    features = np.concatenate([rows for rows, _, _ in sides])
    classes = np.concatenate([np.full(len(rows), side) for rows, side, _ in sides])
    shares = np.concatenate([share for _, _, share in sides])
    mean, spread = pool.mean(0), pool.std(0)
    spread[spread == 0] = 1.0
    probe = LogisticRegression(C=penalty, max_iter=200)
    probe.fit((features - mean) / spread, classes, sample_weight=shares * len(classes) / shares.sum())
    slope = probe.coef_[0] / spread
    offset = float(probe.intercept_[0] - slope @ mean)
    flops = 4.0 * features.shape[1] * len(features) * int(probe.n_iter_.max())
    return lambda rows: rows.astype(np.float64) @ slope + offset, flops


def half_sample_mode(values: np.ndarray) -> float:
    """The mode of some numbers: the narrowest half of them, halved again and again [2]."""
    ordered = np.sort(values)
    while len(ordered) > 3:
        half = (len(ordered) + 1) // 2
        start = int((ordered[half - 1 :] - ordered[: len(ordered) - half + 1]).argmin())
        ordered = ordered[start : start + half]
    return float(ordered.mean())


@dataclass(frozen=True)
class Apart:
    """Rows that stand apart at the upper end of some scores.

    Args:
        rows: that are named, ascending.
        share: of the pool that belongs to the other group; more than are named where the groups overlap.
        low, high: of a 95 % interval of it.
    """

    rows: np.ndarray
    share: float
    low: float
    high: float


MOST_FALSE = 0.1  # expected part of the named rows that is named wrongly
DRAWS, DRAWN_ROWS = 50, 20_000  # of the bootstrap; rows of a draw at most
MOSTLY = 0.8  # of the draws must show examples apart from the bulk
LEAST_EXAMPLES = 10
LEAST_BULK = 0.25  # of the pool that is taken to be sound, where damaged rows have the mode
LEAST_LEAD = 0.1  # of the examples over the bulk, in the part above the bound
SEVERAL_BOUNDS = 2.8  # standard errors of a 95 % interval, as the best of five bounds is taken, on five probes' scores
NOTHING = np.zeros(0, dtype=np.int64)


def like_examples(scores: np.ndarray, of_examples: np.ndarray, seed: int = 0) -> Apart:
    """Rows that score as high as examples of a damage do.

    The pool's own bulk is taken to lie evenly around its mode, so that its part above a bound is counted at the bound's
    mirror image. With that at the median of the examples, the share of damaged rows follows from the rows above; and so
    how many of the highest rows can be damaged ones. Its interval is by bootstrap of the pool and of the examples.
    Where examples lie inside the bulk, nothing follows: no row is named, and the interval is from 0 to 1.

    Args:
        scores: of the pool, shape (n_rows,).
        of_examples: of damaged rows, by probes that saw neither them nor what they were made of.
        seed: of the bootstrap.
    """
    n, rng = len(scores), np.random.default_rng(seed % 2**63)
    share, drawn = _damaged_share(scores, of_examples), []
    if share is None:
        return Apart(NOTHING, 0.0, 0.0, 1.0)
    for _ in range(DRAWS):
        some, examples = rng.choice(scores, min(n, DRAWN_ROWS)), rng.choice(of_examples, len(of_examples))
        again = _damaged_share(some, examples)
        drawn += [] if again is None else [again]
    if len(drawn) < MOSTLY * DRAWS:
        return Apart(NOTHING, float(np.clip(share, 0, 1)), 0.0, 1.0)
    error = 1.96 * float(np.std(drawn))
    low, high = float(np.clip(share - error, 0, 1)), float(np.clip(share + error, 0, 1))
    share = float(np.clip(share, 0, 1))
    if low <= 0:
        return Apart(NOTHING, share, low, high)
    order = np.argsort(-scores, kind="stable")
    reached = 1 - np.searchsorted(np.sort(of_examples), scores[order], side="left") / len(of_examples)
    right = np.minimum(share * n * reached / np.arange(1, n + 1), 1)
    enough = np.flatnonzero(right >= 1 - MOST_FALSE)
    return Apart(np.sort(order[: enough[-1] + 1]) if len(enough) else NOTHING, share, low, high)


def _damaged_share(scores: np.ndarray, of_examples: np.ndarray) -> float | None:
    """The share of rows that are like the examples, below 0 by chance; None where they do not stand apart."""
    if len(of_examples) < LEAST_EXAMPLES:
        return None
    low, bound = np.quantile(of_examples, [0.1, 0.5])
    mode = half_sample_mode(scores)
    if mode >= low:  # of the damaged rows themselves, where these are the most; the bulk's is then below them
        rest = scores[scores < low]
        if len(rest) < LEAST_BULK * len(scores):
            return None
        mode = half_sample_mode(rest)
        if mode >= low - (bound - low) / 2:  # the edge of what was cut off, and no mode
            return None
    above, bulk = float((scores > bound).mean()), float((scores < 2 * mode - bound).mean())
    found = float((of_examples > bound).mean())
    return None if found - bulk < LEAST_LEAD else (above - bulk) / (found - bulk)


def beyond_reference(scores: np.ndarray, of_reference: np.ndarray) -> Apart:
    """Rows that score higher than a reference explains.

    Where a part q of the reference lies below a bound, at least the pool's part below it over q can be like the
    reference; the rest stands apart. Of several bounds, the one counts that shows most of it with confidence. Only as
    many rows are named as the lower end of the interval counts.

    Args:
        scores: of the pool, shape (n_rows,).
        of_reference: of rows of the reference, by probes that did not see them.
    """
    n, m = len(scores), len(of_reference)
    below = np.array([0.5, 0.6, 0.7, 0.8, 0.9])
    bounds = np.quantile(of_reference, below)
    alike = np.array([(scores <= bound).mean() for bound in bounds]) / below
    error = SEVERAL_BOUNDS * alike * np.sqrt((1 - below) / (below * m) + (1 - alike * below) / (alike * below * n + 1))
    surest = int((alike + error).argmin())
    share, low, high = (float(np.clip(1 - alike[surest] + sign * error[surest], 0, 1)) for sign in (0, -1, 1))
    order = np.argsort(-scores, kind="stable")
    return Apart(np.sort(order[: int(low * n)]), share, low, high)
