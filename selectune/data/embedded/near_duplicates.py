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
AT_ONCE = 256  # texts whose sketches are made together


def components(texts: Sequence[str]) -> list[int]:
    """Return the component of each text, named by its first member's position.

    Two texts are joined when they begin with the same 200 characters, or when their MinHash sketches of shingles of
    five words agree in a band (Broder 1997; Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, chapter 3).
    Letters' case is not looked at.
    """
    first_with: dict[str | bytes, int] = {}
    edges = []
    for start in range(0, len(texts), AT_ONCE):
        part = [text.casefold() for text in texts[start : start + AT_ONCE]]
        for i, marks in enumerate(_marks(part), start):
            edges += [(i, first_with.setdefault(mark, i)) for mark in marks]
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


def _marks(texts: Sequence[str]) -> Iterator[list[str | bytes]]:
    """Give the marks of each text, by which texts are joined: its beginning, and its sketch in each band."""
    codes, starts = list[int](), list[int]()
    for text in texts:
        words = text.split()
        starts.append(len(codes))
        codes += [
            zlib.crc32(" ".join(words[i : i + SHINGLE]).encode()) for i in range(max(1, len(words) - SHINGLE + 1))
        ]
    hashes = (np.array(codes, dtype=np.uint64)[:, None] * _MULTIPLIERS + _OFFSETS) >> np.uint64(32)
    sketches = np.minimum.reduceat(hashes, starts).reshape(len(texts), BANDS, ROWS)
    for text, sketch in zip(texts, sketches):
        yield [text[:PREFIX], *(bytes([band]) + smallest.tobytes() for band, smallest in enumerate(sketch))]
