"""Log odds of two groups, and which rows of a mixture stand apart."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from selectune.diagnose.contrast import beyond_reference, contrast, half_sample_mode, like_examples


def mixture(seed: int, share: float, distance: float = 3.5, n: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """Scores of a pool of two groups of spread 1, and which rows are of the second."""
    random = np.random.default_rng(seed)
    other = random.random(n) < share
    return random.normal(size=n) + distance * other, other


def examples(seed: int, distance: float = 3.5, n: int = 150) -> np.ndarray:
    return np.random.default_rng([seed, 1]).normal(size=n) + distance


def test_intervals_cover_the_true_share_of_damaged_rows() -> None:
    covered = []
    for draw in range(200):
        share = draw / 400  # 0 to 0.5
        apart = like_examples(mixture(draw, share)[0], examples(draw), seed=draw)
        covered.append(apart.low <= share <= apart.high)
    assert np.mean(covered) >= 0.9


def test_intervals_cover_the_true_share_of_rows_beyond_a_reference() -> None:
    covered = []
    for draw in range(200):
        share = draw / 400
        apart = beyond_reference(mixture(draw, share)[0], examples(draw, distance=0.0, n=200))
        covered.append(apart.low <= share <= apart.high)
    assert np.mean(covered) >= 0.9


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6])
def test_nine_in_ten_named_rows_are_damaged_ones(share: float) -> None:
    scores, damaged = mixture(0, share, n=2000)
    apart = like_examples(scores, examples(0))
    assert apart.share == pytest.approx(share, abs=0.1)
    assert damaged[apart.rows].mean() > 0.85
    assert damaged[apart.rows].sum() > 0.7 * damaged.sum()
    assert scores[apart.rows].min() >= np.delete(scores, apart.rows).max()  # the highest ones


def test_no_more_rows_are_named_beyond_a_reference_than_there_surely_are() -> None:
    scores, other = mixture(0, 0.3, n=2000)
    apart = beyond_reference(scores, examples(0, distance=0.0, n=500))
    assert 0.2 < apart.low < apart.share
    assert len(apart.rows) == int(apart.low * 2000)
    assert other[apart.rows].mean() > 0.9


def test_of_a_clean_pool_nothing_is_named() -> None:
    assert all(len(like_examples(mixture(draw, 0.0)[0], examples(draw)).rows) == 0 for draw in range(20))
    named = [len(beyond_reference(mixture(draw, 0.0)[0], examples(draw, 0.0, 200)).rows) for draw in range(200)]
    assert np.mean(np.array(named) > 0) < 0.05
    assert np.mean(named) < 0.005 * 500


@pytest.mark.parametrize("distance", [0.0, 0.5, 1.0])
def test_examples_that_are_like_the_bulk_say_nothing(distance: float) -> None:
    for draw in range(10):
        apart = like_examples(mixture(draw, 0.0)[0], examples(draw, distance))
        assert len(apart.rows) == 0
        assert apart.low == 0.0
    few = like_examples(mixture(0, 0.3)[0], examples(0, n=5))
    assert (len(few.rows), few.low, few.high) == (0, 0.0, 1.0)


def test_the_half_sample_mode_is_that_of_the_larger_group() -> None:
    modes = [half_sample_mode(mixture(draw, 0.3, distance=5.0, n=1000)[0]) for draw in range(20)]
    assert abs(np.mean(modes)) < 0.3
    assert half_sample_mode(np.array([2.0])) == 2.0
    assert half_sample_mode(np.full(9, 7.0)) == 7.0


def groups(n: int, n_reference: int, shift: float, width: int = 8) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(0)
    pool, reference = random.normal(size=(n, width)), random.normal(size=(n_reference, width)) + shift
    return pool, reference, random.integers(5, size=n), random.integers(5, size=n_reference)


def test_odds_are_those_of_rows_that_no_probe_has_seen() -> None:
    told = contrast(*groups(400, 200, shift=2.0), penalty=1e-2)
    sides = np.repeat([1, 0], [400, 200])
    assert roc_auc_score(sides, np.concatenate([told.pool, told.reference])) > 0.99
    assert told.flops > 0
    # with as many features as rows a probe that had seen the rows would tell them apart
    same = contrast(*groups(100, 50, shift=0.0, width=200), penalty=1.0)
    assert roc_auc_score(np.repeat([1, 0], [100, 50]), np.concatenate([same.pool, same.reference])) < 0.65


def test_odds_of_permuted_rows_are_permuted() -> None:
    pool, reference, folds, reference_folds = groups(200, 80, shift=1.0)
    order = np.random.default_rng(1).permutation(len(pool))
    plain = contrast(pool, reference, folds, reference_folds, 1e-2)
    again = contrast(pool[order], reference, folds[order], reference_folds, 1e-2)
    np.testing.assert_allclose(again.pool, plain.pool[order], atol=1e-3)


def test_of_rows_that_share_one_fold_nothing_is_known() -> None:
    pool, reference, _, _ = groups(30, 20, shift=1.0)
    told = contrast(pool, reference, np.full(30, 2), np.full(20, 2), 1e-2)
    assert not told.pool.any()
    assert not told.reference.any()
