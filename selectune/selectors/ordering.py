"""The order of rows by a score, and among equal ones by a key; and their places in it as shares of all, in [0, 1]."""

from __future__ import annotations

import numpy as np

from selectune.selectors.blocks import blocks

DECIMALS = 9


def places_of(ordered: np.ndarray, score: float) -> tuple[int, int]:
    """The first place of a score's rows, and one after the last, among scores that are rounded and ascending."""
    return int(np.searchsorted(ordered, score, side="left")), int(np.searchsorted(ordered, score, side="right"))


def rounded(scores: np.ndarray) -> np.ndarray:
    """Scores as float64 rounded to 9 decimals, so that noise in the last bits can neither break nor make a tie."""
    given = np.atleast_1d(scores)
    values = np.empty(given.shape)
    for block in blocks(len(given)):
        np.round(given[block].astype(np.float64), DECIMALS, out=values[block])
    return values.reshape(np.shape(scores))


def ranked(scores: np.ndarray, tie_keys: np.ndarray) -> np.ndarray:
    """Row ids ordered by (score, tie key, row id), ascending; scores are rounded first. Shape (n_rows,)."""
    by_key = key_order(tie_keys)
    return np.asarray(by_key[ascending(rounded(scores)[by_key])[1]])


def key_order(tie_keys: np.ndarray) -> np.ndarray:
    """``np.argsort(tie_keys, kind="stable")`` of keys of type uint64, shape (n_rows,).

    PyTorch sorts many of them by their digits, in linear time and on all threads, where it is built for x86; elsewhere
    it gives the same by comparing them.
    """
    import torch

    numbers = (tie_keys ^ np.uint64(1 << 63)).view(np.int64)
    order: np.ndarray = torch.from_numpy(numbers).sort(stable=True).indices.numpy()
    return order


def ascending(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rounded scores in their order, NaN last, and ``np.argsort(values, kind="stable")``, both of shape (n_rows,)."""
    lowest = np.min([values[block].min() for block in blocks(len(values))], initial=np.inf)
    highest = np.max([values[block].max() for block in blocks(len(values))], initial=-np.inf)
    place_bits = len(values).bit_length()
    # Steps of the grid and the place are one number below 2^63, as these are sorted several times as fast as an order
    # is found. Below 1e5 the spacing of floats is far under a step.
    most = 2.0 ** (63 - place_bits) - 1
    if not (-(10.0**5) < lowest <= highest < 10.0**5 and (highest - lowest) * 10.0**DECIMALS < most):
        order = np.argsort(values, kind="stable")
        return values[order], order
    # No other array of that size is made, as to touch fresh memory takes longer than all the arithmetic.
    ordered = np.empty(len(values))
    order = np.empty(len(values), dtype=np.int32 if place_bits < 31 else np.int64)  # twice a place has room, too
    numbers, first = ordered.view(np.int64), np.rint(lowest * 10.0**DECIMALS)
    for block in blocks(len(values)):
        steps = values[block] * 10.0**DECIMALS
        numbers[block] = np.rint(steps, out=steps) - first
        numbers[block] <<= place_bits
        numbers[block] |= np.arange(block.start, block.stop)
    numbers.sort()
    for block in blocks(len(values)):
        order[block] = numbers[block] & ((1 << place_bits) - 1)
        numbers[block] >>= place_bits
        ordered[block] = (numbers[block] + first) / 10.0**DECIMALS
    return ordered, order


def smallest(values: np.ndarray, n: int) -> np.ndarray:
    """The places of the n smallest values, of equal ones the first, ascending, shape (n,); 1 <= n, and none is NaN."""
    bound = np.partition(values, n - 1)[n - 1]
    below = values < bound
    below[np.flatnonzero(values == bound)[: n - np.count_nonzero(below)]] = True
    return np.flatnonzero(below)


def rank_quantiles(scores: np.ndarray, doubled: np.ndarray) -> np.ndarray:
    """Share of the scores below x plus half of the share equal to x, for x = doubled / 2; the shape of ``doubled``.

    Twice x is taken so that the midpoint of two scores, low + high, stands on the grid of 1e-9 that the scores stand
    on, and "equal" is exact.
    """
    ordered, doubled = np.sort(2 * rounded(scores)), rounded(doubled)
    order = np.argsort(doubled, axis=None)  # one after the other, what is searched stays in the cache
    asked, shares = doubled.ravel()[order], np.empty(doubled.size)
    shares[order] = np.searchsorted(ordered, asked, side="left") + np.searchsorted(ordered, asked, side="right")
    return (shares / (2 * len(ordered))).reshape(doubled.shape)


def midpoint_rank(ordered: np.ndarray, low: float, high: float) -> int:
    """As `mid_ranks`, of the midpoint of two scores, among scores that are rounded and ascending."""
    return sum(places_of(ordered, float(rounded(np.array(low + high))) / 2))


def mid_ranks(ordered: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Twice (mid-rank - 1/2) of scores that are given by their `ascending`, whole numbers, shape (n_rows,).

    Divided by 2 N they are the `rank_quantiles` of the scores themselves.
    """
    doubled, start = np.empty(len(ordered), dtype=order.dtype), 0
    for block in blocks(len(ordered)):
        if block.stop <= start:
            continue  # one value reaches over the whole block
        stop = places_of(ordered, ordered[block.stop - 1])[1]
        new = 1 + np.flatnonzero(ordered[start + 1 : stop] != ordered[start : stop - 1])
        bounds = start + np.concatenate([[0], new, [stop - start]])  # where each value begins, and the last one ends
        rows = order[start:stop].astype(np.intp)  # NumPy takes longer by other numbers
        doubled[rows] = np.repeat(bounds[:-1] + bounds[1:], np.diff(bounds))
        start = stop
    return doubled
