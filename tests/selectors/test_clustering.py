"""Laws of k-means and of the entropy among prototypes: equality with a slow loop, bounds, and what must not matter."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selectune.common.errors import BadRowsError, DataError
from selectune.selectors import clustering
from selectune.selectors.clustering import kmeans, prototype_entropy
from tests.mistakes import mistake


def embeddings(n_rows: int = 90, width: int = 5, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(size=(8, width))[random.integers(8, size=n_rows)] + 0.3 * random.normal(size=(n_rows, width))


def keys_of(n_rows: int) -> np.ndarray:
    return np.random.default_rng(9).permutation(n_rows).astype(np.uint64)


def slow_prototype_entropy(rows: np.ndarray, seed: int, keys: np.ndarray, iterations: int) -> list[float]:
    """The definition, one distance at a time."""
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    ordered = rows[sorted(range(len(rows)), key=lambda i: (keys[i], i))]
    random = np.random.default_rng(seed)
    centres = [ordered[int(random.random() * len(rows))]]
    while len(centres) < min(256, round(math.sqrt(len(rows)))):
        mass = np.cumsum([min(np.sum((x - c) ** 2) for c in centres) for x in ordered])
        draw = random.random() * mass[-1]
        centres.append(ordered[next(i for i, m in enumerate(mass) if m > draw)])
    for _ in range(iterations):
        members: list[list[np.ndarray]] = [[] for _ in centres]
        for x in ordered:
            members[int(np.argmin([np.sum((x - c) ** 2) for c in centres]))].append(x)
        centres = [np.mean(m, axis=0) if m else c for m, c in zip(members, centres, strict=True)]
    distances = [[float(np.sum((x - c) ** 2)) for c in centres] for x in rows]
    tau = np.median([min(d) for d in distances])
    entropies = []
    for d in distances:
        p = np.exp(-np.array(d) / tau)
        p = p / p.sum()
        entropies.append(float(-np.sum(p * np.log(p))))
    return entropies


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_prototype_equals_a_slow_loop(seed: int) -> None:
    rows, keys = embeddings(seed=seed), keys_of(90)
    found = prototype_entropy(rows, seed, keys, iterations=6)
    assert found.k == 9
    np.testing.assert_allclose(found.entropies, slow_prototype_entropy(rows, seed, keys, 6), atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 4), st.integers(0, 2**32), st.sampled_from([0.0, 0.01, 3.0]))
def test_prototype_lies_between_0_and_the_log_of_the_prototypes(n: int, width: int, seed: int, noise: float) -> None:
    random = np.random.default_rng(seed)
    rows = np.ones((n, width)) * random.choice([-1.0, 1.0, 2.0], size=(n, 1)) + noise * random.normal(size=(n, width))
    found = prototype_entropy(rows, seed, iterations=3)
    assert found.k <= round(math.sqrt(n))
    assert (found.entropies >= 0).all()
    assert (found.entropies <= math.log(found.k)).all()


def test_permuting_the_pool_permutes_the_entropies() -> None:
    rows, keys = embeddings(), keys_of(90)
    order = np.random.default_rng(3).permutation(90)
    one, other = prototype_entropy(rows, 5, keys), prototype_entropy(rows[order], 5, keys[order])
    np.testing.assert_allclose(other.entropies, one.entropies[order], atol=1e-9, rtol=0)
    assert other.tau == pytest.approx(one.tau, abs=1e-12)


def test_prototype_does_not_depend_on_length_blocks_or_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = embeddings().astype(np.float16)
    expected = prototype_entropy(rows, 0).entropies
    np.testing.assert_array_equal(prototype_entropy(rows, 0).entropies, expected)
    np.testing.assert_allclose(prototype_entropy(rows.astype(np.float64) * 8, 0).entropies, expected, atol=1e-9)
    np.save(tmp_path / "rows.npy", rows)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    np.testing.assert_array_equal(prototype_entropy(mapped, 0).entropies, expected)
    monkeypatch.setattr(clustering, "ROWS_AT_ONCE", 7)
    np.testing.assert_allclose(prototype_entropy(mapped, 0).entropies, expected, atol=1e-9)


def test_prototypes_of_a_large_pool_are_fitted_on_the_first_rows_by_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clustering, "FIT_ROWS", 40)
    monkeypatch.setattr(clustering, "SEEDING_ROWS", 20)
    rows, keys = embeddings(), keys_of(90)
    found = prototype_entropy(rows, 0, keys)
    # Rows beyond the first 40 cannot move a prototype: their values say nothing about the other rows' distances.
    late = np.flatnonzero(keys >= 40)
    moved = rows.copy()
    moved[late] = -rows[late]
    monkeypatch.setattr(clustering, "_assignment_entropy", lambda d2, tau: d2[:, 0])
    distances = [prototype_entropy(embedded, 0, keys).entropies for embedded in (rows, moved)]
    np.testing.assert_array_equal(distances[0][keys < 40], distances[1][keys < 40])
    assert (distances[0][late] != distances[1][late]).all()
    assert found.k == 9
    assert found.flops == 2 * 5 * 9 * (20 + 20 * 40 + 2 * 90) + 5 * 20 * 40 + 5 * 9 * 90


def test_where_rows_coincide_the_assignment_is_hard() -> None:
    copies = np.repeat(np.random.default_rng(0).normal(size=(3, 7)), 30, axis=0)
    found = prototype_entropy(copies, 0)
    assert (found.k, found.tau) == (3, 0.0)
    np.testing.assert_array_equal(found.entropies, 0.0)
    same = prototype_entropy(np.full((50, 4), 0.1, dtype=np.float32), 0)
    assert (same.k, same.tau, same.entropies.max()) == (1, 0.0, 0.0)
    tied = clustering._assignment_entropy(np.array([[0.5, 0.5, 0.7], [0.0, 1e-3, 2.0]]), tau=0.0)
    np.testing.assert_allclose(tied, [math.log(2), 0.0])
    np.testing.assert_allclose(
        tied, clustering._assignment_entropy(np.array([[0.5, 0.5, 0.7], [0.0, 1e-3, 2.0]]), 1e-9)
    )


def test_a_cluster_without_rows_keeps_its_centre() -> None:
    centres = np.array([[1.0, 0.0], [-1.0, 0.0]])
    np.testing.assert_allclose(
        clustering._lloyd(np.array([[2.0, 0.0], [0.0, 3.0]]), centres), [[0.5, 0.5], [-1.0, 0.0]]
    )


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_embeddings_without_a_direction_are_refused_by_row(bad: float) -> None:
    rows = embeddings()
    rows[[4, 70]] = bad
    with mistake(BadRowsError, 2, 90, rows=[4, 70]):
        prototype_entropy(rows, 0)
    with mistake(DataError, "pool"):
        prototype_entropy(rows[:0], 0)


def test_centres_are_means_of_the_unit_vectors_nearest_to_them() -> None:
    rows, keys = embeddings(), keys_of(90)
    before, after = kmeans(rows, 7, 1, keys, iterations=30), kmeans(rows, 7, 1, keys, iterations=31)
    np.testing.assert_allclose(after, before, atol=1e-12, rtol=0)  # settled, so each is the mean of its own rows
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    own = np.argmin([[np.sum((x - c) ** 2) for c in after] for x in unit], axis=1)
    np.testing.assert_allclose(after, [unit[own == k].mean(axis=0) for k in range(7)], atol=1e-12)


def test_there_are_no_more_centres_than_distinct_rows() -> None:
    assert len(kmeans(np.repeat(np.eye(3), 20, axis=0), 10, 0)) == 3
    assert len(kmeans(embeddings(), 90, 0, iterations=0)) == 90
