"""Class probabilities of rows by a probe that never saw them: logistic regression on embeddings, cross-fitted."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from selectune.common.side_by_side import side_by_side
from selectune.selectors.base import tie_keys

FOLDS = 5
PENALTIES = (3e-4, 1e-3, 3e-3, 1e-2)  # inverse strengths that are tried; weaker ones never won on noisy labels
FITTED_ROWS = 20_000  # of a fold; more change little and cost a pass each
TRIED_ROWS = 5_000  # by which the penalty is chosen


@dataclass(frozen=True)
class CrossFit:
    """Probabilities of classes, each row's by a probe that was fitted without it.

    Args:
        probabilities: float32, shape (n_rows, n_classes).
        penalty: inverse strength of the ridge penalty that was chosen, by the likelihood of rows left out.
        flops: of fitting and predicting, a multiply-add being two.
    """

    probabilities: np.ndarray
    penalty: float
    flops: float


def cross_fit(embeddings: np.ndarray, labels: np.ndarray, text_hash: np.ndarray, seed: int = 0) -> CrossFit:
    """Cross-fitted class probabilities of rows.

    Rows of the same text share a fold, since a probe that saw a copy of a row knows its label. Folds and samples go by
    hash(seed, text), so that permuting the rows permutes the result.

    Args:
        embeddings: of the rows, shape (n_rows, width).
        labels: class numbers, shape (n_rows,).
        text_hash: uint64, shape (n_rows,).
        seed: of folds and samples.
    """
    n_classes = int(labels.max()) + 1
    keys = tie_keys(text_hash, seed)
    order = np.lexsort((labels, keys))
    folds = keys % np.uint64(FOLDS)
    tried = order[:TRIED_ROWS]
    left_out = folds[tried] == 0

    def try_out(penalty: float) -> tuple[float, float]:
        """Log likelihood of the rows left out, and FLOPs."""
        given, flops = _fitted(embeddings, labels, tried[~left_out], tried[left_out], n_classes, penalty)
        # a class that the fit did not see has probability 0, which says nothing about the penalty
        likelihood = given[np.arange(len(given)), labels[tried[left_out]]]
        return float(np.log(np.maximum(likelihood, 1e-6)).mean()) if len(given) else 0.0, flops

    probabilities = np.zeros((len(labels), n_classes), dtype=np.float32)

    def without(fold: int) -> float:
        """Give a fold its probabilities, by a fit of the others; returns the FLOPs."""
        rows = order[folds[order] != fold][:FITTED_ROWS]
        others = order[folds[order] == fold]
        probabilities[others], flops = _fitted(embeddings, labels, rows, others, n_classes, penalty)
        return flops

    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # its last step is good enough to be compared
        likelihoods, tried_flops = zip(*side_by_side(try_out, PENALTIES))
        penalty = PENALTIES[int(np.argmax(likelihoods))]
        flops = side_by_side(without, range(FOLDS))
    return CrossFit(probabilities, penalty, sum(tried_flops) + sum(flops))


def _fitted(
    embeddings: np.ndarray, labels: np.ndarray, rows: np.ndarray, others: np.ndarray, n_classes: int, penalty: float
) -> tuple[np.ndarray, float]:
    """Probabilities of some rows by a probe of others, and its FLOPs; the classes' shares where there is but one class.

    Where there is no other row, as where all rows are one text, all classes are alike.
    """
    given = np.zeros((len(others), n_classes), dtype=np.float32)
    present = np.unique(labels[rows])
    if len(others) == 0:
        return given, 0.0
    if len(rows) == 0:
        given[:] = 1 / n_classes
        return given, 0.0
    if len(present) < 2:
        given[:, present] = 1.0
        return given, 0.0
    from sklearn.linear_model import LogisticRegression

    known = np.asarray(embeddings[rows], dtype=np.float64)
    mean, spread = known.mean(0), known.std(0)
    spread[spread == 0] = 1.0
    probe = LogisticRegression(C=penalty, max_iter=200)
    probe.fit((known - mean) / spread, labels[rows])
    width = known.shape[1]
    products = 1 if len(present) == 2 else len(present)
    steps = int(probe.n_iter_.max())
    flops = 2.0 * width * products * (2 * len(rows) * steps + len(others))
    for start in range(0, len(others), 10_000):  # embeddings may be a memory map
        part = others[start : start + 10_000]
        values = (np.asarray(embeddings[part], dtype=np.float64) - mean) / spread
        given[start : start + 10_000, probe.classes_] = probe.predict_proba(values)
    return given, flops
