"""Rows whose label is probably wrong, by confident learning on the class probabilities of a probe.

1. C. G. Northcutt, L. Jiang, I. L. Chuang, "Confident learning: estimating uncertainty in dataset labels", JAIR 70
   (2021); their package is cleanlab.
2. L. B. Lucy, "An iterative technique for the rectification of observed distributions", The Astronomical Journal 79
   (1974): the multiplicative update, which is that of expectation maximisation.
"""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np

from selectune.common import checks
from selectune.common.errors import BadRowsError, DataError
from selectune.selectors.base import Picked, Signals
from selectune.selectors.baselines import classes_of
from selectune.selectors.blocks import blocks
from selectune.selectors.filtering import Filter
from selectune.selectors.ordering import key_order

UNMIXING_STEPS = 50
ROWS_AT_ONCE = 8192
TINY = 1e-12
SHOWN = 10  # pairs of classes in the diagnostics


class LabelIssues(Filter):
    """Drop rows whose label is probably wrong (confident learning, Northcutt, Jiang & Chuang 2021).

    The joint of given and true labels says how many rows to drop, see `wrong_label_probability`; which ones, ``prune``:

    - ``by_class``: of each class, as many as are estimated to be wrong, by the lowest probability of their own label;
    - ``by_noise_rate``: of each pair of classes, as many as are estimated to be taken for the other, by the largest
      margin of the other's probability over their own label's;
    - ``both``: the rows that both would drop.

    Nothing is dropped where the probe is not better than always answering the largest class, by two standard errors:
    it cannot tell then. One row of each class is always kept.

    Args:
        prune: one of these.

    Raises:
        UserError: another ``prune``.

    Warns:
        UserWarning: the probe is no better than one answer for all, so that nothing is dropped.
    """

    requires = frozenset({"class_probabilities"})

    def __init__(self, prune: Literal["by_class", "by_noise_rate", "both"] = "by_noise_rate") -> None:
        checks.one_of("LabelIssues' prune", prune, ("by_class", "by_noise_rate", "both"))
        self.prune = prune

    def kept(self, pool: Signals, target: Signals | None, seed: int) -> Picked:
        """Keep the other rows; ``scores`` are the probability that a row's label is wrong.

        Raises:
            DataError: rows without classes, or whose probabilities are none.
        """
        labels, probabilities = classes_of(pool, "LabelIssues"), pool["class_probabilities"]
        # cleanlab orders equal rows by their place, so they are given to it in the order of the keys
        order = key_order(pool.tie_keys(seed))
        scores, joint = np.empty(len(order)), np.empty(0)
        try:
            scores[order], joint = wrong_label_probability(labels[order], probabilities[order])
        except BadRowsError as error:
            raise BadRowsError(error.problem, np.sort(order[error.rows]).tolist()) from error

        guessed = np.asarray(probabilities).argmax(axis=1) == labels
        largest = labels == np.bincount(labels).argmax()
        lead = guessed.astype(np.float64) - largest
        diagnostics: dict[str, Any] = {
            "probe_accuracy": float(guessed.mean()),
            "largest_class": float(largest.mean()),
            "wrong_labels_estimated": float(scores.mean()),
            "taken_for": _confusions(joint),
        }
        kept = np.ones(pool.n_rows, dtype=bool)
        if lead.mean() > 2 * lead.std() / np.sqrt(pool.n_rows):
            kept[order] = ~_label_issues(labels[order], np.asarray(probabilities[order]), self.prune)
        else:
            warnings.warn(
                f"LabelIssues keeps all rows: the probe is right on {guessed.mean():.1%} of the labels, and always "
                f"answering the largest class would be on {largest.mean():.1%}, so it cannot tell which are wrong.",
                UserWarning,
                stacklevel=2,
            )
        diagnostics["dropped_of_class"] = np.bincount(labels[~kept], minlength=len(joint)).tolist()
        flops = float(4 * UNMIXING_STEPS * pool.n_rows * len(joint) ** 2)
        return Picked(np.flatnonzero(kept), scores, diagnostics, flops, "unmixing: 4 K^2 a row and step (analytic)")


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


def _label_issues(labels: np.ndarray, probabilities: np.ndarray, prune: str) -> np.ndarray:
    """Whether cleanlab drops each row, shape (n_rows,)."""
    from cleanlab.filter import find_label_issues

    filter_by = prune if prune == "both" else f"prune_{prune}"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "May not flag all label issues")  # a class of one row is kept, as documented
        return np.asarray(find_label_issues(labels, probabilities, filter_by=filter_by, n_jobs=1))


def _confusions(joint: np.ndarray) -> list[dict[str, float]]:
    """The pairs of a given and another true class with the largest shares of the rows, largest first."""
    shares = joint - np.diag(np.diag(joint))
    places = np.argsort(-shares, axis=None, kind="stable")[:SHOWN]
    pairs = (np.unravel_index(place, shares.shape) for place in places if shares.flat[place] > 0)
    return [{"given": int(g), "true": int(t), "share": float(shares[g, t])} for g, t in pairs]


def _checked(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Labels as int64, if they are classes of the probabilities, and these are finite, at least 0 and sum to 1."""
    if probabilities.ndim != 2 or len(labels) == 0 or len(labels) != len(probabilities):
        raise DataError(
            f"The class probabilities have shape {probabilities.shape}, but must be one number for each class and each "
            f"of {len(labels)} rows, and there must be a row."
        )
    labels = np.asarray(labels)
    outside = np.flatnonzero((labels < 0) | (labels >= probabilities.shape[1]))
    if labels.dtype.kind not in "iu":
        raise DataError(f"The labels must be class numbers, integers, but have type {labels.dtype}.")
    if len(outside):
        raise BadRowsError(
            f"{len(outside)} of {len(labels)} labels are no class numbers from 0 to {probabilities.shape[1] - 1}, as "
            "the class probabilities have them (rows {rows}); compute these again.",
            outside.tolist(),
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
