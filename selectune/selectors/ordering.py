"""The order of rows by a score, and among equal ones by a key; and their places in it as shares of all, in [0, 1]."""

from __future__ import annotations

import numpy as np

DECIMALS = 9
ROWS_AT_ONCE = 2**15  # more would leave the cache


def places_of(ordered: np.ndarray, score: float) -> tuple[int, int]:
    """The first place of a score's rows, and one after the last, among scores that are rounded and ascending."""
    return int(np.searchsorted(ordered, score, side="left")), int(np.searchsorted(ordered, score, side="right"))


def rounded(scores: np.ndarray) -> np.ndarray:
    """Scores as float64 rounded to 9 decimals, so that noise in the last bits can neither break nor make a tie."""
    return np.round(np.asarray(scores, dtype=np.float64), DECIMALS)


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
    lowest, highest = values.min(initial=np.inf), values.max(initial=-np.inf)
    place_bits = len(values).bit_length()
    # Steps of the grid and the place are one number below 2^63, as these are sorted several times as fast as an order
    # is found. Below 1e5 the spacing of floats is far under a step.
    most = 2.0 ** (63 - place_bits) - 1
    if not (-(10.0**5) < lowest <= highest < 10.0**5 and (highest - lowest) * 10.0**DECIMALS < most):
        order = np.argsort(values, kind="stable")
        return values[order], order
    # No other array of that size is made, as to touch fresh memory takes longer than all the arithmetic.
    ordered = values * 10.0**DECIMALS
    first = np.rint(ordered, out=ordered).min()
    ordered -= first
    order = np.arange(len(values), dtype=np.int32 if place_bits < 32 else np.int64)
    numbers = ordered.view(np.int64)
    blocks = [slice(start, start + ROWS_AT_ONCE) for start in range(0, len(values), ROWS_AT_ONCE)]
    for block in blocks:
        numbers[block] = ordered[block]
        numbers[block] <<= place_bits
        numbers[block] |= order[block]
    numbers.sort()
    for block in blocks:
        order[block] = numbers[block] & ((1 << place_bits) - 1)
        numbers[block] >>= place_bits
        ordered[block] = (numbers[block] + first) / 10.0**DECIMALS
    return ordered, order


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


def midpoint_quantile(ordered: np.ndarray, low: float, high: float) -> float:
    """`rank_quantiles` of the midpoint of two scores, among scores that are rounded and ascending."""
    return sum(places_of(ordered, float(rounded(np.array(low + high))) / 2)) / (2 * len(ordered))


def own_quantiles(ordered: np.ndarray, order: np.ndarray | None = None) -> np.ndarray:
    """`rank_quantiles` of rounded scores themselves, which are (mid-rank - 1/2) / N, shape (n_rows,).

    They are given by their `ascending`; without the ``order`` the answer is ascending too.
    """
    shares, start = np.empty(len(ordered)), 0
    while start < len(ordered):
        stop = places_of(ordered, ordered[min(start + ROWS_AT_ONCE, len(ordered)) - 1])[1]
        new = 1 + np.flatnonzero(ordered[start + 1 : stop] != ordered[start : stop - 1])
        bounds = start + np.concatenate([[0], new, [stop - start]])  # where each value begins, and the last one ends
        rows = slice(start, stop) if order is None else order[start:stop]
        shares[rows] = np.repeat((bounds[:-1] + bounds[1:]) / (2 * len(ordered)), np.diff(bounds))
        start = stop
    return shares
