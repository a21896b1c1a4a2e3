"""Laws of confident learning: which labels are probably wrong."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selectune.common.errors import BadRowsError, DataError, UserError
from selectune.selectors import Budget, LabelIssues, Signals
from selectune.selectors.checking import checked_select
from selectune.selectors.label_issues import wrong_label_probability
from tests.mistakes import mistake, warned
from tests.selectors import permuted, pool_of


def noisy(
    n_rows: int = 900, n_classes: int = 4, noise: float = 0.3, only_from: int | None = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, probabilities of the given labels by a probe that reads the text, and which labels are wrong.

    With ``only_from``, rows of that class alone are mislabelled, as the next one.
    """
    random = np.random.default_rng(seed)
    true = random.integers(n_classes, size=n_rows)
    mislabelled = random.random(n_rows) < noise
    if only_from is None:
        labels = np.where(mislabelled, (true + random.integers(1, n_classes, n_rows)) % n_classes, true)
        channel = np.full((n_classes, n_classes), noise / (n_classes - 1))
        np.fill_diagonal(channel, 1 - noise)
    else:
        labels = np.where(mislabelled & (true == only_from), (true + 1) % n_classes, true)
        channel = np.eye(n_classes)
        channel[only_from, [only_from, (only_from + 1) % n_classes]] = 1 - noise, noise
    logits = 4.0 * np.eye(n_classes)[true] + random.normal(size=(n_rows, n_classes))
    clean = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return labels, (clean @ channel).astype(np.float32), labels != true


def auroc(scores: np.ndarray, wrong: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(wrong, scores))


@pytest.mark.parametrize("noise", [0.02, 0.1, 0.3])
def test_the_mean_score_estimates_the_share_of_wrong_labels(noise: float) -> None:
    labels, probabilities, wrong = noisy(noise=noise)
    scores, _ = wrong_label_probability(labels, probabilities)
    assert scores.mean() == pytest.approx(wrong.mean(), abs=0.05)
    assert auroc(scores, wrong) > 0.95


def test_it_knows_which_class_is_taken_for_which() -> None:
    labels, probabilities, wrong = noisy(noise=0.45, only_from=1)
    scores, joint = wrong_label_probability(labels, probabilities)
    own = 1 - probabilities[np.arange(len(labels)), labels]
    assert auroc(scores, wrong) > auroc(own, wrong) + 0.02
    off = joint - np.diag(np.diag(joint))
    assert np.unravel_index(off.argmax(), off.shape) == (2, 1)  # given 2, truly 1


@settings(max_examples=20)
@given(st.integers(2, 25), st.integers(2, 60), st.integers(0, 10))
def test_scores_are_probabilities_and_the_joint_a_distribution(n_classes: int, n_rows: int, seed: int) -> None:
    """Few rows of many classes: some have one row, or none."""
    labels, probabilities, _ = noisy(n_rows, n_classes, seed=seed)
    scores, joint = wrong_label_probability(labels, probabilities)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert joint.shape == (n_classes, n_classes)
    assert joint.sum() == pytest.approx(1)
    np.testing.assert_allclose(joint.sum(axis=1), np.bincount(labels, minlength=n_classes) / n_rows, atol=1e-9)


def test_permuting_rows_permutes_the_scores() -> None:
    labels, probabilities, _ = noisy()
    order = np.random.default_rng(1).permutation(len(labels))
    scores, joint = wrong_label_probability(labels, probabilities)
    moved, same = wrong_label_probability(labels[order], probabilities[order])
    np.testing.assert_allclose(moved, scores[order], atol=1e-9)
    np.testing.assert_array_equal(same, joint)


def test_a_row_whose_class_no_probe_could_learn_is_not_accused() -> None:
    labels, probabilities, _ = noisy(noise=0.02)
    lonely = np.concatenate([probabilities, np.zeros((len(labels), 1), np.float32)], axis=1)
    labels[0] = 4
    scores, joint = wrong_label_probability(labels, lonely)
    assert scores[0] == pytest.approx(1 - np.trace(joint))
    assert scores[0] < 0.1


def test_one_class_has_no_wrong_labels() -> None:
    scores, joint = wrong_label_probability(np.ones(5, int), np.full((5, 3), 1 / 3))
    assert not scores.any()
    assert joint[1, 1] == 1


def test_bad_input_is_refused() -> None:
    labels, probabilities, _ = noisy(20)
    with mistake(BadRowsError, 0, 3, 2, rows=[2]):
        wrong_label_probability(np.where(np.arange(20) == 2, 4, labels), probabilities)
    with mistake(DataError, 20):
        wrong_label_probability(labels, probabilities[:10])
    for bad in (np.nan, -0.5, 7.0):
        spoilt = probabilities.copy()
        spoilt[6, 1] = bad
        with mistake(BadRowsError, 1, 20, 6, rows=[6]):
            wrong_label_probability(labels, spoilt)


def pool_with(labels: np.ndarray, probabilities: np.ndarray) -> Signals:
    return pool_of(len(labels), label=labels, class_probabilities=probabilities)


@pytest.mark.parametrize("prune", ["by_class", "by_noise_rate", "both"])
def test_the_filter_drops_mostly_rows_whose_label_is_wrong(prune: Any) -> None:
    labels, probabilities, wrong = noisy()
    picked = checked_select(LabelIssues(prune), pool_with(labels, probabilities), None, Budget(), 0)
    dropped = np.setdiff1d(np.arange(len(labels)), picked.rows)
    assert wrong[dropped].mean() > 0.85
    assert wrong[picked.rows].mean() < 0.12
    np.testing.assert_allclose(picked.scores, wrong_label_probability(labels, probabilities)[0], atol=1e-9)
    assert sum(picked.diagnostics["dropped_of_class"]) == len(dropped)
    assert picked.diagnostics["wrong_labels_estimated"] == pytest.approx(wrong.mean(), abs=0.05)


def test_both_prunings_drop_what_each_of_them_drops() -> None:
    labels, probabilities, _ = noisy(noise=0.4, only_from=1)
    kept = [
        set(LabelIssues(prune).select(pool_with(labels, probabilities), None, Budget(), 0).rows.tolist())
        for prune in ("both", "by_class", "by_noise_rate")
    ]
    assert kept[0] == kept[1] | kept[2]


def test_the_confused_classes_are_named() -> None:
    labels, probabilities, _ = noisy(noise=0.45, only_from=1)
    picked = LabelIssues().select(pool_with(labels, probabilities), None, Budget(), 0)
    assert (picked.diagnostics["taken_for"][0]["given"], picked.diagnostics["taken_for"][0]["true"]) == (2, 1)
    json.dumps(picked.diagnostics)


def test_permuting_the_pool_permutes_what_is_kept() -> None:
    labels, probabilities, _ = noisy()
    coarse = np.round(probabilities, 1) + 0.01  # so that many rows tie
    pool = pool_with(labels, coarse / coarse.sum(axis=1, keepdims=True))
    order = np.random.default_rng(8).permutation(len(labels))
    picked, again = (LabelIssues().select(each, None, Budget(), 0) for each in (pool, permuted(pool, order)))
    assert sorted(order[again.rows].tolist()) == picked.rows.tolist()
    np.testing.assert_array_equal(again.scores, picked.scores[order])


def test_a_probe_that_knows_nothing_drops_nothing_and_says_so() -> None:
    labels, probabilities, _ = noisy()
    nonsense = np.random.default_rng(3).permutation(probabilities)
    with warned(UserWarning, "LabelIssues"):
        picked = checked_select(LabelIssues(), pool_with(labels, nonsense), None, Budget(), 0)
    assert len(picked.rows) == len(labels)
    with warned(UserWarning, "LabelIssues"):
        LabelIssues().select(pool_with(np.zeros(9, int), np.eye(2)[np.zeros(9, int)]), None, Budget(), 0)


@pytest.mark.parametrize("n_classes", [3, 25])
def test_every_class_keeps_a_row(n_classes: int) -> None:
    """Some classes have one row, whose probability no probe could learn, and one has none."""
    labels, probabilities, _ = noisy(400, n_classes)
    wide = np.concatenate([probabilities, np.zeros((400, 2), np.float32)], axis=1)
    labels[0] = n_classes + 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picked = checked_select(LabelIssues(), pool_with(labels, wide), None, Budget(), 0)
    assert set(labels[picked.rows]) == set(labels)
    assert len(picked.rows) < 400


def test_the_filter_refuses_bad_input_by_the_ids_of_the_whole_pool() -> None:
    labels, probabilities, _ = noisy(50)
    with mistake(DataError, "LabelIssues", option="data.selector"):
        LabelIssues().select(pool_of(9, class_probabilities=np.eye(3)[np.zeros(9, int)]), None, Budget(), 0)
    with mistake(UserError, "by_rate"):
        LabelIssues("by_rate")  # type: ignore[arg-type]
    probabilities[30] = np.nan
    part = pool_with(labels, probabilities).take(np.arange(10, 50))
    with mistake(DataError, 1, 40, 30, rows=[30]):
        checked_select(LabelIssues(), part, None, Budget(), 0)
