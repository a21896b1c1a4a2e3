"""Laws of confident learning: which labels are probably wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selectune.common.errors import BadRowsError, DataError
from selectune.selectors.label_issues import wrong_label_probability
from tests.mistakes import mistake


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
    with mistake(DataError, 0, 3, rows=[2]):
        wrong_label_probability(np.where(np.arange(20) == 2, 4, labels), probabilities)
    with mistake(DataError, 20):
        wrong_label_probability(labels, probabilities[:10])
    for bad in (np.nan, -0.5, 7.0):
        spoilt = probabilities.copy()
        spoilt[6, 1] = bad
        with mistake(BadRowsError, 1, 20, 6, rows=[6]):
            wrong_label_probability(labels, spoilt)
