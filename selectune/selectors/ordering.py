"""The order of rows by a score, and among equal ones by a key."""

from __future__ import annotations

import numpy as np

DECIMALS = 9
CACHED_ROWS = 2048  # or somewhat more, that are sorted at once


def rounded(scores: np.ndarray) -> np.ndarray:
    """Scores as float64 rounded to 9 decimals, so that noise in the last bits can neither break nor make a tie."""
    return np.round(np.asarray(scores, dtype=np.float64), DECIMALS)


def ranked(scores: np.ndarray, tie_keys: np.ndarray, by_key: np.ndarray | None = None) -> np.ndarray:
    """Row ids ordered by (score, tie key, row id), ascending; scores are rounded first. Shape (n_rows,).

    ``by_key`` is ``key_order(tie_keys)``, for those who order by several scores.
    """
    by_key = key_order(tie_keys) if by_key is None else by_key
    return np.asarray(by_key[stable_order(rounded(scores)[by_key])])


def key_order(tie_keys: np.ndarray) -> np.ndarray:
    """``np.argsort(tie_keys, kind="stable")`` of keys that are spread over all numbers of 64 bits."""
    order, parts = _in_parts((tie_keys >> np.uint64(48)).astype(np.uint16))
    for part in parts:
        part[:] = part[np.argsort(tie_keys[part], kind="stable")]
    return order


def stable_order(values: np.ndarray) -> np.ndarray:
    """``np.argsort(values, kind="stable")`` of scores that are rounded, NaN last."""
    place_bits = len(values).bit_length()
    low, high = values.min(initial=np.inf), values.max(initial=-np.inf)
    # Steps of the grid and the place are one number, as these are sorted several times as fast as an order is found.
    # Below 1e5 the spacing of floats is far under a step; and the numbers have to stay below 2^63.
    if not (-(10.0**5) < low <= high < 10.0**5 and (high - low) * 10.0**DECIMALS < 2.0 ** (62 - place_bits)):
        return np.argsort(values, kind="stable")
    values = values - low  # of which nothing is kept for longer than it is needed, as pools are large
    values *= 10.0**DECIMALS
    steps = np.rint(values, out=values).astype(np.int64)
    del values
    order, parts = _in_parts((steps >> max(0, int(steps.max(initial=0)).bit_length() - 16)).astype(np.uint16))
    steps = steps[order]
    steps <<= place_bits
    order |= steps
    for part in parts:
        part.sort()
    order &= (1 << place_bits) - 1
    return order


def _in_parts(upper: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """A stable order by the upper 16 bits of numbers, which takes linear time, and the parts of it, as views, that are
    left to be sorted; the cache holds most of them.
    """
    order = np.argsort(upper, kind="stable")
    ends = np.cumsum(np.bincount(upper))
    return order, np.split(order, ends[np.searchsorted(ends, np.arange(CACHED_ROWS, len(upper), CACHED_ROWS))])
