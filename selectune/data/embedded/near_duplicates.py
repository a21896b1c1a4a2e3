"""Groups of texts that share most of their words, so that a split can keep them on one side."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

SHINGLE = 5  # words
BANDS, ROWS = 8, 3  # texts of Jaccard similarity J meet in a band with probability 1 - (1 - J^3)^8: 0.7 gives 0.97
PREFIX = 200  # characters


def components(texts: Sequence[str]) -> list[int]:
    """Return the component of each text, named by its first member's position.

    Two texts are joined when they begin with the same 200 characters, or when their MinHash sketches of shingles of
    five words agree in a band (Broder 1997; Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, chapter 3).
    Letters' case is not looked at.
    """
    first_with: dict[str | bytes, int] = {}
    edges = [(i, first_with.setdefault(mark, i)) for i, text in enumerate(texts) for mark in _marks(text.casefold())]
    if not edges:
        return []
    one, other = np.array(edges).T
    graph = coo_array((np.ones(len(edges), dtype=bool), (one, other)), shape=(len(texts), len(texts)))
    _, first, component = np.unique(
        connected_components(graph, directed=False)[1], return_index=True, return_inverse=True
    )
    return first[component].tolist()


# An odd multiplier and an offset for each hash function, uint64, shape (BANDS * ROWS,).
_STREAM = hashlib.shake_128(b"near duplicates").digest(2 * BANDS * ROWS * 8)
_MULTIPLIERS, _OFFSETS = np.frombuffer(_STREAM, dtype="<u8").reshape(2, -1)
_MULTIPLIERS = _MULTIPLIERS | 1


def _marks(text: str) -> Iterator[str | bytes]:
    yield text[:PREFIX]
    words = text.split()
    shingles = [" ".join(words[i : i + SHINGLE]) for i in range(max(1, len(words) - SHINGLE + 1))]
    codes = np.array([zlib.crc32(shingle.encode()) for shingle in shingles], dtype=np.uint64)
    hashes = (codes[:, None] * _MULTIPLIERS + _OFFSETS) >> np.uint64(32)  # (n_shingles, BANDS * ROWS)
    for band, smallest in enumerate(hashes.min(axis=0).reshape(BANDS, ROWS)):
        yield bytes([band]) + smallest.tobytes()
