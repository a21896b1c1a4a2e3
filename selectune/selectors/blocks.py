"""Slices that go through rows in blocks."""

from __future__ import annotations

from collections.abc import Iterator

IN_CACHE = 2**15  # rows of a number each: more would leave the cache


def blocks(n_rows: int, at_once: int | None = None) -> Iterator[slice]:
    """Slices that go through the rows in blocks, of `IN_CACHE` rows each, or of so many as are given.

    So a memory map is never read whole, and no second array of all rows is made.
    """
    at_once = IN_CACHE if at_once is None else at_once
    for start in range(0, n_rows, at_once):
        yield slice(start, min(start + at_once, n_rows))
