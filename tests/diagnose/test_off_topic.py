"""Rows of another kind than the task's, with and without trusted rows."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from selectune.diagnose.findings import Finding
from selectune.diagnose.off_topic import against_trusted, by_labels, known_of_labels
from selectune.selectors.copies import near_neighbours

WIDTH = 12


def pool(share: float, n: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of a pool, which of its rows are off topic, and features of 150 trusted rows."""
    random = np.random.default_rng(seed)
    off = random.random(n) < share
    features = random.normal(size=(n, WIDTH)) + 5 * off[:, None] * np.eye(WIDTH)[0]
    return features, off, random.normal(size=(150, WIDTH))


def folds(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(5, size=n)


def judged(features: np.ndarray, trusted: np.ndarray, seed: int, known: np.ndarray | None = None) -> Finding:
    """The finding against trusted rows."""
    others, _ = near_neighbours(features, 0, 20)
    found, flops = against_trusted(features, trusted, folds(600, seed), folds(150, seed + 10), others, known)
    assert flops > 0
    return found


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_rows_unlike_the_trusted_ones_are_named(share: float) -> None:
    covered, right, named, ranked = 0, 0, 0, []
    for seed in range(10):
        features, off, trusted = pool(share, seed=seed)
        found = judged(features, trusted, seed)
        covered += found.low <= off.mean() <= found.high
        right, named = right + int(off[found.rows].sum()), named + len(found.rows)
        ranked.append(roc_auc_score(off, found.scores))
        assert len(found.rows) <= found.low * 600
        assert found.details["trusted_rows"] == 150
    assert covered >= 9
    assert np.mean(ranked) > 0.9
    assert right > 0.85 * named > 0


def test_labels_that_do_not_fit_tell_more_and_those_that_fit_excuse_no_row() -> None:
    ranked = np.zeros((4, 3))
    for seed in range(4):
        features, off, trusted = pool(0.3, seed=seed)
        features = features - 3 * off[:, None] * np.eye(WIDTH)[0]  # less plain than elsewhere
        right = np.random.default_rng(seed).random(600) < np.where(off, 0.1, 0.99)
        known = np.where(right, np.log(0.99 / 0.1), np.log(0.01 / 0.9))
        for place, told in enumerate((None, known, np.full(600, 3.0))):
            ranked[seed, place] = roc_auc_score(off, judged(features, trusted, seed, told).scores)
    without, with_labels, all_fit = ranked.mean(axis=0)
    assert with_labels > without + 0.01
    assert all_fit == without


def test_a_pool_like_the_trusted_rows_has_next_to_nothing_off_topic() -> None:
    named = 0
    for seed in range(10):
        features, _, trusted = pool(0.0, seed=seed)
        named += len(judged(features, trusted, seed).rows)
    assert named < 0.005 * 6000


def labelled(share: float, n: int = 600, noise: float = 0.0) -> tuple[Finding, np.ndarray]:
    """The finding by labels, and the true off-topic rows, which lie elsewhere and have random labels."""
    random = np.random.default_rng(0)
    off, true = random.random(n) < share, random.integers(3, size=n)
    embeddings = random.normal(size=(n, WIDTH)) * 0.3 + 3 * np.eye(WIDTH)[np.where(off, 5, true)]
    labels = np.where(off | (random.random(n) < noise), random.integers(3, size=n), true)
    known = np.eye(3)[true] * 0.9 + 0.1 / 3
    # overconfident where it knows nothing, as a probe far from its other rows is
    guessed = random.dirichlet([0.3, 0.3, 0.3], size=n)
    others, _ = near_neighbours(embeddings, 0, 20)
    told = known_of_labels(labels, np.where(off[:, None], guessed, known))
    return by_labels(embeddings, folds(n, 0), others, told)[0], off


def test_without_trusted_rows_those_are_named_around_which_labels_mean_nothing() -> None:
    found, off = labelled(0.2)
    assert found.details["able"]
    assert off[found.rows].mean() > 0.95
    assert off[found.rows].sum() > 0.8 * off.sum()
    assert found.scores[off].min() > np.median(found.scores[~off])
    assert (found.scores[found.rows] > 0.5).all()
    assert len(labelled(0.0)[0].rows) == 0


def test_where_all_labels_are_noise_no_row_is_named() -> None:
    found, _ = labelled(0.0, noise=1.0)
    assert not found.details["able"]
    assert len(found.rows) == 0


def test_what_is_known_of_a_label_is_that_beyond_the_share_of_its_class() -> None:
    labels = np.array([0, 0, 0, 1])
    shares = np.tile([0.75, 0.25], (4, 1))
    np.testing.assert_allclose(known_of_labels(labels, shares), 0, atol=1e-12)
    sure = known_of_labels(labels, np.tile([0.0, 1.0], (4, 1)))
    assert sure[3] == pytest.approx(np.log(4))
    assert np.isfinite(sure).all()
    assert (sure[:3] < -10).all()
