"""Laws of near neighbours and of the groups that pairs make."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selectune.common.errors import BadRowsError, DataError
from selectune.selectors import copies
from selectune.selectors.copies import groups_of, near_neighbours
from tests.mistakes import mistake


def embeddings(n_rows: int = 120, width: int = 6, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(size=(8, width))[random.integers(8, size=n_rows)] + 0.3 * random.normal(size=(n_rows, width))


def slow_neighbours(rows: np.ndarray, k: int) -> tuple[list[list[int]], list[list[float]]]:
    """The definition, one row at a time."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    ids, cosines = [], []
    for i, row in enumerate(unit):
        found = sorted((-round(float(row @ other), 6), j) for j, other in enumerate(unit) if j != i)[:k]
        found += [(1.0, -1)] * (k - len(found))
        ids.append([j for _, j in found])
        cosines.append([-c for c, _ in found])
    return ids, cosines


@settings(max_examples=25)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 5))
def test_a_small_pool_is_searched_exactly(n_rows: int, k: int, seed: int) -> None:
    rows = embeddings(n_rows, seed=seed)
    indices, cosines = near_neighbours(rows, seed, k)
    ids, values = slow_neighbours(rows, k)
    assert (indices.dtype, cosines.dtype) == (np.int64, np.float32)
    np.testing.assert_allclose(cosines, values, atol=2e-6)
    same = indices == ids
    assert np.isclose(cosines, values, atol=2e-6)[~same].all()
    assert same.mean() > 0.95  # float32 may swap two that are equal to six decimals


def test_neither_length_nor_precision_nor_blocks_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = embeddings().astype(np.float16).astype(np.float64)
    expected = near_neighbours(rows, 0)
    for other in (3.0 * rows, rows.astype(np.float16)):
        np.testing.assert_allclose(near_neighbours(other, 0)[1], expected[1], atol=2e-6)
    monkeypatch.setattr(copies, "CODES_AT_ONCE", 500)
    np.testing.assert_allclose(near_neighbours(rows, 0)[1], expected[1], atol=2e-6)


@pytest.mark.parametrize("exact", [20_000, 40])
def test_permuting_the_pool_permutes_the_neighbours(exact: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "EXACT_ROWS", exact)
    monkeypatch.setattr(copies, "CELL_ROWS", 10)
    rows, keys = embeddings(), np.random.default_rng(1).permutation(120).astype(np.uint64)
    order = np.random.default_rng(2).permutation(120)
    indices, cosines = near_neighbours(rows, 0, 5, keys)
    moved, same = near_neighbours(rows[order], 0, 5, keys[order])
    np.testing.assert_array_equal(np.where(moved < 0, -1, order[moved]), indices[order])
    np.testing.assert_array_equal(same, cosines[order])


def test_cells_find_nearly_all_near_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    originals = random.normal(size=(200, 16))
    rows = np.concatenate([originals, originals + 0.05 * random.normal(size=originals.shape)])
    exact, _ = near_neighbours(rows, 0, 1)
    monkeypatch.setattr(copies, "EXACT_ROWS", 100)
    monkeypatch.setattr(copies, "CELL_ROWS", 20)
    indices, cosines = near_neighbours(rows, 0, 3)
    assert (exact[:, 0] == (np.arange(400) + 200) % 400).all()
    assert (indices[:, 0] == exact[:, 0]).mean() > 0.97
    for row, near in enumerate(indices):
        assert row not in near
        assert len(set(near[near >= 0])) == np.count_nonzero(near >= 0)
    assert (np.diff(cosines, axis=1) <= 0).all()


def test_many_copies_of_one_text_make_one_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "EXACT_ROWS", 30)
    monkeypatch.setattr(copies, "CELL_ROWS", 10)
    rows = np.concatenate([np.tile(embeddings(1, seed=3), (90, 1)), embeddings(30)])
    indices, cosines = near_neighbours(rows, 0, 4)
    pairs = np.argwhere(cosines >= 0.999999)
    groups = groups_of(np.stack([pairs[:, 0], indices[tuple(pairs.T)]], axis=1), len(rows))
    assert set(groups[:90]) == {0}
    assert (groups[90:] != 0).all()


def test_groups_are_the_connected_rows_in_the_order_of_their_first() -> None:
    pairs = np.array([[7, 2], [2, 5], [3, 1], [3, 1], [8, 8]])
    assert groups_of(pairs, 10).tolist() == [-1, 0, 1, 0, -1, 1, -1, 1, 2, -1]
    assert groups_of(np.zeros((0, 2), dtype=np.int64), 3).tolist() == [-1, -1, -1]


def test_bad_input_is_refused() -> None:
    rows = embeddings(5)
    rows[3] = 0
    with mistake(BadRowsError, 1, 5, rows=[3]):
        near_neighbours(rows, 0)
    with mistake(DataError):
        near_neighbours(np.zeros((0, 4)), 0)
    with pytest.raises(ValueError, match="k is 0"):
        near_neighbours(embeddings(5), 0, 0)
