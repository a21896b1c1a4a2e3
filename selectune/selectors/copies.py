"""Near neighbours among embeddings, and the groups that pairs of rows make.

1. J. Sivic, A. Zisserman, "Video Google: a text retrieval approach to object matching in videos", ICCV 2003: search in
   the cells of a k-means whose centres are nearest.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from selectune.selectors.blocks import blocks
from selectune.selectors.clustering import ROWS_AT_ONCE, check_embeddings, distances, kmeans, unit_rows

EXACT_ROWS = 20_000  # of a pool in which every row is compared with every other
CELL_ROWS, MOST_CELLS = 1_000, 4_096
PROBED = 6  # cells that a row is looked for in
DECIMALS = 6  # what float32 products of unit vectors hold
CODES_AT_ONCE = 2**22
PLACE_BITS = 32
SCALE = 10**DECIMALS
NONE = np.iinfo(np.int64).max


def near_neighbours(
    embeddings: np.ndarray, seed: int, k: int = 10, order_keys: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest other rows of each row by cosine, nearest first; of equally near ones the first in the order.

    Exact for at most 20,000 rows. In a larger pool each row is compared with the rows of the six k-means cells whose
    centres are nearest to it [1]. A cell holds about 1,000 rows; of one of over 20,000, such as the copies of one text,
    all are compared with the first 20,000 and with those of their own stretch of as many.

    Arithmetic is float32, cosines are rounded to 6 decimals. Beside the result, memory is 4 N d bytes and some blocks.

    Args:
        embeddings: of any length but 0, floats of any precision, shape (n_rows, d).
        seed: of the k-means.
        k: neighbours of each row, at least 1.
        order_keys: uint64, shape (n_rows,), such as ``Signals.tie_keys(seed)``: the order is that of (key, row id), so
            that permuting a pool of distinct texts permutes the result; default the order of the row ids.

    Returns:
        Row ids, int64, and cosines, float32, both of shape (n_rows, k); -1 and -1 where a row has fewer neighbours.

    Raises:
        DataError: no rows, or rows that are zero or not finite.
        ValueError: k below 1.
    """
    if k < 1:
        raise ValueError(f"k is {k}, but must be at least 1")
    check_embeddings(embeddings)
    n_rows, width = embeddings.shape
    order = np.arange(n_rows) if order_keys is None else np.argsort(order_keys, kind="stable")
    unit = np.empty((n_rows, width), dtype=np.float32)  # in the order
    for block in blocks(n_rows, ROWS_AT_ONCE):
        unit[block] = unit_rows(embeddings[order[block]])

    nearest = np.full((n_rows, k), NONE, dtype=np.int64)
    for places, others in _compared(unit, seed):
        for block in blocks(len(places), max(1, CODES_AT_ONCE // len(others))):
            _keep_nearest(nearest, unit, places[block], others)
    nearest.sort(axis=1)

    missing = nearest == NONE
    neighbours = np.where(missing, -1, order[np.where(missing, 0, nearest & (2**PLACE_BITS - 1))])
    cosines = np.where(missing, -1.0, 1 - (nearest >> PLACE_BITS) / SCALE).astype(np.float32)
    indices, values = np.empty_like(neighbours), np.empty_like(cosines)
    indices[order], values[order] = neighbours, cosines
    return indices, values


def groups_of(pairs: np.ndarray, n_rows: int) -> np.ndarray:
    """The group of each row, where the rows of a pair are of one group, and of every pair that shares a row with it.

    Args:
        pairs: row ids, integers, shape (n_pairs, 2).
        n_rows: of the pool.

    Returns:
        int64, shape (n_rows,): numbers from 0 in the order of the groups' first rows, -1 for a row of no pair.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    groups = np.full(n_rows, -1, dtype=np.int64)
    pairs = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    if len(pairs) == 0:
        return groups
    edges = coo_array((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(n_rows, n_rows))
    _, component = connected_components(edges, directed=False)
    members = np.unique(pairs)
    _, first, number = np.unique(component[members], return_index=True, return_inverse=True)
    groups[members] = first.argsort().argsort()[number]
    return groups


def _compared(unit: np.ndarray, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows and the rows that they are compared with, both ascending; no row meets another twice."""
    n_rows = len(unit)
    if n_rows <= EXACT_ROWS:
        yield np.arange(n_rows), np.arange(n_rows)
        return
    centres = kmeans(unit, min(MOST_CELLS, n_rows // CELL_ROWS), seed, np.arange(n_rows))
    probed = min(PROBED, len(centres))
    cells = np.concatenate([_nearest_cells(d2, probed) for _, d2 in distances(unit, centres)])
    # Sorted by cell, each entry of the flat array is a row that looks into it; those of the first column lie in it.
    by_cell = np.argsort(cells.ravel(), kind="stable")
    stops = np.cumsum(np.bincount(cells.ravel(), minlength=len(centres)))
    for entries in np.split(by_cell, stops[:-1]):
        members = entries[entries % probed == 0] // probed
        if len(members) == 0:
            continue
        yield entries // probed, members[:EXACT_ROWS]
        for stretch in blocks(len(members), EXACT_ROWS):
            if stretch.start > 0:
                yield members[stretch], members[stretch]


def _nearest_cells(d2: np.ndarray, probed: int) -> np.ndarray:
    """The cells of the nearest centres of each row, nearest first, shape (n_rows, probed)."""
    return np.argsort(d2, axis=1, kind="stable")[:, :probed]


def _keep_nearest(nearest: np.ndarray, unit: np.ndarray, places: np.ndarray, others: np.ndarray) -> None:
    """Bring the neighbours of some rows among others into ``nearest``.

    A neighbour is one integer, its cosine's distance from 1 on the grid and then its place, so that the smallest is the
    nearest, the first of equals, and no two are equal.
    """
    cosines = np.clip(unit[places] @ unit[others].T, -1, 1)  # rounding may exceed 1
    codes = np.rint((1 - cosines) * np.float32(SCALE)).astype(np.int64)
    codes <<= PLACE_BITS
    codes |= others
    codes[places[:, None] == others] = NONE  # a row is no neighbour of itself
    k = nearest.shape[1]
    if codes.shape[1] > k:
        codes = np.partition(codes, k - 1, axis=1)[:, :k]
    both = np.concatenate([nearest[places], codes], axis=1)
    nearest[places] = np.partition(both, k - 1, axis=1)[:, :k]
