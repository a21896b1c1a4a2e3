"""Rows of another kind than the task's, with and without trusted rows."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from selectune.diagnose.off_topic import against_trusted, by_labels

WIDTH = 12


def pool(share: float, n: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of a pool, which of its rows are off topic, and features of 150 trusted rows."""
    random = np.random.default_rng(seed)
    off = random.random(n) < share
    features = random.normal(size=(n, WIDTH)) + 5 * off[:, None] * np.eye(WIDTH)[0]
    return features, off, random.normal(size=(150, WIDTH))


def folds(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(5, size=n)


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_rows_unlike_the_trusted_ones_are_named(share: float) -> None:
    covered, right, named, ranked = 0, 0, 0, []
    for seed in range(10):
        features, off, trusted = pool(share, seed=seed)
        found, flops = against_trusted(features, trusted, folds(600, seed), folds(150, seed + 10))
        covered += found.low <= off.mean() <= found.high
        right, named = right + int(off[found.rows].sum()), named + len(found.rows)
        ranked.append(roc_auc_score(off, found.scores))
        assert len(found.rows) <= found.low * 600
        assert found.details["trusted_rows"] == 150
        assert flops > 0
    assert covered >= 9
    assert np.mean(ranked) > 0.9
    assert right > 0.85 * named > 0


def test_a_pool_like_the_trusted_rows_has_next_to_nothing_off_topic() -> None:
    named = 0
    for seed in range(10):
        features, _, trusted = pool(0.0, seed=seed)
        found, _ = against_trusted(features, trusted, folds(600, seed), folds(150, seed + 10))
        named += len(found.rows)
    assert named < 0.005 * 6000


def labelled(share: float, n: int = 600, noise: float = 0.0) -> tuple[np.ndarray, ...]:
    """Embeddings, labels and cross-fitted probabilities; off-topic rows lie elsewhere and have random labels."""
    random = np.random.default_rng(0)
    off, true = random.random(n) < share, random.integers(3, size=n)
    embeddings = random.normal(size=(n, WIDTH)) * 0.3 + 3 * np.eye(WIDTH)[np.where(off, 5, true)]
    labels = np.where(off | (random.random(n) < noise), random.integers(3, size=n), true)
    known = np.eye(3)[true] * 0.9 + 0.1 / 3
    # overconfident where it knows nothing, as a probe far from its other rows is
    guessed = random.dirichlet([0.3, 0.3, 0.3], size=n)
    return embeddings, labels, np.where(off[:, None], guessed, known), off


def test_without_trusted_rows_those_are_named_around_which_labels_mean_nothing() -> None:
    embeddings, labels, probabilities, off = labelled(0.2)
    found = by_labels(embeddings, labels, probabilities, np.arange(600, dtype=np.uint64), seed=0)
    assert found.details["able"]
    assert off[found.rows].mean() > 0.95
    assert off[found.rows].sum() > 0.8 * off.sum()
    assert found.scores[off].min() > np.median(found.scores[~off])
    clean = by_labels(*labelled(0.0)[:3], np.arange(600, dtype=np.uint64), seed=0)
    assert len(clean.rows) == 0


def test_where_all_labels_are_noise_no_row_is_named() -> None:
    embeddings, labels, probabilities, _ = labelled(0.0, noise=1.0)
    found = by_labels(embeddings, labels, probabilities, np.arange(600, dtype=np.uint64), seed=0)
    assert not found.details["able"]
    assert len(found.rows) == 0
