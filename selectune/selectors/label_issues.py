"""Rows whose label is probably wrong, by confident learning on the class probabilities of a probe.

1. C. G. Northcutt, L. Jiang, I. L. Chuang, "Confident learning: estimating uncertainty in dataset labels", JAIR 70
   (2021); their package is cleanlab.
2. L. B. Lucy, "An iterative technique for the rectification of observed distributions", The Astronomical Journal 79
   (1974): the multiplicative update, which is that of expectation maximisation.
"""

from __future__ import annotations

import numpy as np

from selectune.common.errors import BadRowsError, DataError
from selectune.selectors.base import blocks

UNMIXING_STEPS = 50
ROWS_AT_ONCE = 8192
TINY = 1e-12


def wrong_label_probability(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probability of each row that its label is wrong, and the joint distribution of given and true labels.

    Confident learning [1] counts rows of label g that a probe takes for class t with more confidence than usual; that
    is the joint Q(g, t), and T = p(given | true) its columns over their sums. The probe learned from the given labels,
    so its p(given | x) is a mixture sum_t T(given, t) q(t | x); q is recovered by 50 multiplicative updates [2] from
    the uniform distribution. Then p(true = t | given, x) is proportional to T(given, t) q(t | x), and a row's score is
    1 less that of t = given. Unlike the probe's own doubt, this knows which classes are taken for which. The mean of
    the scores estimates the share of wrong labels.

    Where the probe leaves a label no probability at all, as that of a class of one row, nothing is known of the row:
    its score is the share of wrong labels by the joint.

    Args:
        labels: class numbers, shape (n_rows,).
        probabilities: of the classes, each row's by a probe that was fitted without it, shape (n_rows, n_classes).

    Returns:
        Scores in [0, 1], float64, shape (n_rows,); the joint, float64, shape (n_classes, n_classes), given labels by
        row and true ones by column, sum 1.

    Raises:
        DataError: no rows; labels that are no classes of the probabilities; probabilities that are none.
    """
    labels = _checked(labels, probabilities)
    n_classes = probabilities.shape[1]
    if len(np.unique(labels)) < 2:  # there is no other class that a row could be of
        joint = np.diag(np.bincount(labels, minlength=n_classes) / len(labels))
        return np.zeros(len(labels)), joint
    from cleanlab.count import estimate_joint

    joint = np.asarray(estimate_joint(labels, np.asarray(probabilities)), dtype=np.float64)
    totals = joint.sum(axis=0)
    noise = np.where(totals > 0, joint / np.where(totals > 0, totals, 1), np.eye(n_classes))

    scores = np.empty(len(labels))
    for block in blocks(len(labels), ROWS_AT_ONCE):
        given = np.asarray(probabilities[block], dtype=np.float64)
        true = np.full(given.shape, 1 / n_classes)
        for _ in range(UNMIXING_STEPS):
            true *= (given / np.maximum(true @ noise.T, TINY)) @ noise
            true /= np.maximum(true.sum(axis=1, keepdims=True), TINY)
        mass = noise[labels[block]] * true
        total = mass.sum(axis=1)
        right = mass[np.arange(len(mass)), labels[block]]
        scores[block] = np.where(total > TINY, 1 - right / np.maximum(total, TINY), 1 - np.trace(joint))
    return np.clip(scores, 0.0, 1.0), joint


def _checked(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Labels as int64, if they are classes of the probabilities, and these are finite, at least 0 and sum to 1."""
    if probabilities.ndim != 2 or len(labels) == 0 or len(labels) != len(probabilities):
        raise DataError(
            f"The class probabilities have shape {probabilities.shape}, but must be one number for each class and each "
            f"of {len(labels)} rows, and there must be a row."
        )
    labels = np.asarray(labels)
    outside = np.flatnonzero((labels < 0) | (labels >= probabilities.shape[1]))
    if labels.dtype.kind not in "iu" or len(outside):
        raise DataError(
            f"The labels must be class numbers from 0 to {probabilities.shape[1] - 1}, as the class probabilities have "
            f"them; {len(outside)} of {len(labels)} are not (type {labels.dtype}).",
            rows=outside.tolist(),
        )
    usable = np.empty(len(labels), dtype=bool)
    for block in blocks(len(labels), ROWS_AT_ONCE):
        values = np.asarray(probabilities[block], dtype=np.float64)
        usable[block] = (values >= 0).all(axis=1) & (np.abs(values.sum(axis=1) - 1) <= 1e-3)  # NaN compares as false
    bad = np.flatnonzero(~usable)
    if len(bad):
        raise BadRowsError(
            f"The class probabilities of {len(bad)} of {len(labels)} rows are below 0, not finite, or do not sum to 1 "
            "(rows {rows}); compute them again.",
            bad.tolist(),
        )
    return labels.astype(np.int64)
