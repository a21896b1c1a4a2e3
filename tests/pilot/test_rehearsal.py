"""Rehearsals by a linear head, and the weights of held-out rows that they are judged by."""

from __future__ import annotations

import numpy as np
import pytest

from selectune.pilot.judging import COPIED, JUDGED_ROWS, UnseenRows, nearest_cosines, sound_weights
from selectune.pilot.rehearsal import Scaled, errors_unseen, flops_of, logits_of, losses_and_errors, softmax, train_head


def blobs(n: int, n_classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows around as many centres as there are classes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(n_classes, size=n)
    return (3 * np.eye(8)[labels] + rng.normal(size=(n, 8))).astype(np.float32), labels


def test_a_head_learns_and_learns_more_from_more_passes() -> None:
    rows, labels = blobs(600)
    held_out, true = blobs(300, seed=1)
    losses = []
    for passes in (30, 600, 6000):
        weights = train_head(rows, labels, 3, passes, 0)
        losses.append(losses_and_errors(logits_of(held_out, weights), true)[0].mean())
    assert losses == sorted(losses, reverse=True)
    assert losses_and_errors(logits_of(held_out, weights), true)[1].mean() < 0.15


def test_one_seed_is_one_head_and_unseen_rows_do_not_matter() -> None:
    rows, labels = blobs(100)
    first = train_head(rows, labels, 3, 40, 5)
    assert np.array_equal(first, train_head(rows, labels, 3, 40, 5))
    seen = np.random.default_rng(5).permutation(100)[:40]
    changed = labels.copy()
    changed[np.setdiff1d(np.arange(100), seen)] = 0
    assert np.array_equal(first, train_head(rows, changed, 3, 40, 5))


def test_losses_are_minus_the_log_probability_of_the_label() -> None:
    logits = np.array([[2.0, 0.0, -1.0], [500.0, 0.0, 0.0]], dtype=np.float32)
    losses, wrong = losses_and_errors(logits, np.array([0, 1]))
    assert losses[0] == pytest.approx(-np.log(softmax(logits)[0, 0]), rel=1e-5)
    assert losses[1] == pytest.approx(500)
    assert wrong.tolist() == [False, True]


def test_scaled_rows_have_mean_0_and_spread_1_and_constants_stay_finite() -> None:
    rows = np.random.default_rng(0).normal(3, 5, size=(50, 4))
    rows[:, 2] = 7.0
    scaled = Scaled.of(rows)(rows)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(axis=0), [1, 1, 0, 1], atol=1e-5)


def test_flops_grow_with_passes_and_held_out_rows() -> None:
    assert flops_of(10, 0, 4, 2) == 6 * 10 * 5 * 2
    assert flops_of(0, 10, 4, 2) == 2 * 10 * 5 * 2


def test_contradicted_and_copied_rows_have_no_weight() -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(2, size=400)
    probabilities = np.where(np.eye(2)[true] > 0, 0.95, 0.05)
    labels, flipped, copied = true.copy(), np.arange(0, 400, 4), np.arange(1, 400, 8)
    labels[flipped] = 1 - true[flipped]
    cosines = np.zeros(400)
    cosines[copied] = 0.99
    weights = sound_weights(labels, probabilities, cosines, even_classes=False)
    assert weights.mean() == pytest.approx(1)
    assert not weights[flipped].any()
    assert not weights[copied].any()
    sound = np.setdiff1d(np.arange(400), np.concatenate([flipped, copied]))
    assert np.unique(weights[sound]).size == 1


def test_even_classes_weigh_the_same() -> None:
    labels = np.array([0] * 90 + [1] * 10)
    probabilities = np.where(np.eye(2)[labels] > 0, 0.9, 0.1)
    weights = sound_weights(labels, probabilities, np.zeros(100), even_classes=True)
    assert weights[labels == 0].sum() == pytest.approx(weights[labels == 1].sum())


def test_where_all_rows_look_faulty_all_count_alike() -> None:
    labels = np.array([0, 1] * 20)
    probabilities = np.full((40, 2), 0.5)
    assert (sound_weights(labels, probabilities, np.ones(40), even_classes=False) == 1).all()


def test_the_nearest_row_of_the_pool_is_found() -> None:
    rng = np.random.default_rng(0)
    pool, held_out = rng.normal(size=(3000, 6)), rng.normal(size=(20, 6))
    held_out[3] = 5 * pool[2500]
    cosines = nearest_cosines(held_out, pool)
    assert cosines[3] == pytest.approx(1, abs=1e-5)
    slow = [max(row @ other / np.linalg.norm(row) / np.linalg.norm(other) for other in pool) for row in held_out[:2]]
    np.testing.assert_allclose(cosines[:2], slow, atol=1e-5)


def test_labels_are_not_judged_by_a_probe_that_contradicts_most_of_them() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(10, size=500)
    probabilities = rng.dirichlet(np.full(10, 0.3), size=500)
    cosines = np.where(np.arange(500) < 50, COPIED, 0.0)
    weights = sound_weights(labels, probabilities, cosines, even_classes=False)
    assert not weights[:50].any()
    assert (weights[50:] > 0).all()


def unseen_of(rows: np.ndarray, labels: np.ndarray, hashes: np.ndarray, seed: int = 0) -> UnseenRows:
    n_classes = int(labels.max()) + 1
    probabilities = np.where(np.eye(n_classes)[labels] > 0, 0.9, 0.1 / (n_classes - 1))
    return UnseenRows.of(rows, labels, probabilities, hashes, even_classes=False, seed=seed)


def test_rows_of_one_text_share_a_fold_and_one_of_them_is_judged() -> None:
    rng = np.random.default_rng(0)
    rows, labels = blobs(900)
    hashes = rng.integers(300, size=900).astype(np.uint64)
    unseen = unseen_of(rows, labels, hashes)
    for text in np.unique(hashes):
        assert len(set(unseen.folds[hashes == text])) == 1
    assert sorted(hashes[unseen.rows]) == sorted(np.unique(hashes))
    assert (np.bincount(unseen.folds) > 100).all()
    order = rng.permutation(900)
    other = unseen_of(rows[order], labels[order], hashes[order])
    assert np.array_equal(other.folds, unseen.folds[order]), "the order of the rows says nothing"


def test_at_most_so_many_rows_are_judged() -> None:
    rows, labels = blobs(JUDGED_ROWS + 500)
    assert len(unseen_of(rows, labels, np.arange(len(rows), dtype=np.uint64)).rows) == JUDGED_ROWS


def test_a_copy_in_another_fold_takes_the_weight_of_a_row() -> None:
    labels = np.tile(np.arange(300) % 3, 2)
    rows = np.random.default_rng(0).normal(size=(600, 32))
    rows[300:] = rows[:300]  # other texts whose embeddings are the same
    unseen = unseen_of(rows, labels, np.arange(600, dtype=np.uint64))
    apart = unseen.folds[:300] != unseen.folds[300:]
    weights = np.zeros(600)
    weights[unseen.rows] = unseen.weights
    assert not weights[:300][apart].any()
    assert (weights[:300][~apart] > 0).all()


def test_errors_are_those_of_heads_that_did_not_see_the_fold() -> None:
    rng = np.random.default_rng(0)
    rows, n = np.eye(400, dtype=np.float32), 400  # each row its own direction: only one that was seen is known
    labels = rng.integers(2, size=n)
    unseen = unseen_of(rows, labels, np.arange(n, dtype=np.uint64))
    wrong = errors_unseen(rows, labels, 2, np.arange(n), 40 * n, unseen, 0)
    assert 0.4 < wrong.mean() < 0.6
    seen = train_head(rows, labels, 2, 40 * n, 0)
    assert losses_and_errors(logits_of(rows, seen), labels)[1].mean() < 0.05


def test_a_fold_of_whose_others_nothing_was_chosen_gets_a_head_that_knows_nothing() -> None:
    rows, labels = blobs(400)
    unseen = unseen_of(rows, labels, np.arange(400, dtype=np.uint64))
    chosen = np.flatnonzero(unseen.folds == 2)
    wrong = errors_unseen(rows, labels, 3, chosen, 3 * len(chosen), unseen, 0)
    own = unseen.folds[unseen.rows] == 2
    assert wrong[~own].mean() < 0.2
    assert np.array_equal(wrong[own], labels[unseen.rows[own]] != 0)
