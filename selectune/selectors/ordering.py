"""The order of rows by a score, and among equal ones by a key; and their places in it as shares of all, in [0, 1]."""

from __future__ import annotations

import numpy as np

DECIMALS = 9


def rounded(scores: np.ndarray) -> np.ndarray:
    """Scores as float64 rounded to 9 decimals, so that noise in the last bits can neither break nor make a tie."""
    return np.round(np.asarray(scores, dtype=np.float64), DECIMALS)


def ranked(scores: np.ndarray, tie_keys: np.ndarray) -> np.ndarray:
    """Row ids ordered by (score, tie key, row id), ascending; scores are rounded first. Shape (n_rows,)."""
    by_key = key_order(tie_keys)
    return np.asarray(by_key[ascending(rounded(scores)[by_key])[1]])


def key_order(tie_keys: np.ndarray) -> np.ndarray:
    """``np.argsort(tie_keys, kind="stable")`` of keys of type uint64, shape (n_rows,)."""
    return _sorted((tie_keys ^ np.uint64(1 << 63)).view(np.int64))[1]


def ascending(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rounded scores in their order, NaN last, and ``np.argsort(values, kind="stable")``, both of shape (n_rows,)."""
    lowest, highest = values.min(initial=np.inf), values.max(initial=-np.inf)
    # Below 1e5 the spacing of floats is far under a step of the grid, so that whole numbers stand for them.
    if not (-(10.0**5) < lowest <= highest < 10.0**5):
        order = np.argsort(values, kind="stable")
        return values[order], order
    steps = values * 10.0**DECIMALS
    steps = np.rint(steps, out=steps).astype(np.int64)
    steps -= (first := steps.min())  # few digits are sorted sooner than many
    steps, order = _sorted(steps)
    steps += first
    ordered = steps.astype(np.float64)
    del steps
    return np.divide(ordered, 10.0**DECIMALS, out=ordered), order


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


def midpoint_quantile(scores: np.ndarray, low: float, high: float) -> float:
    """`rank_quantiles` of the midpoint of two scores, in one pass."""
    doubled, asked = 2 * rounded(scores), rounded(np.array(low + high))
    return (np.count_nonzero(doubled < asked) + np.count_nonzero(doubled <= asked)) / (2 * len(doubled))


def own_quantiles(scores: np.ndarray, in_order: tuple[np.ndarray, np.ndarray] | None = None) -> np.ndarray:
    """`rank_quantiles` of the scores themselves, which are (mid-rank - 1/2) / N, shape (n_rows,).

    ``in_order`` is ``ascending(scores)`` of rounded scores, where it is known.
    """
    ordered, order = ascending(rounded(scores)) if in_order is None else in_order
    first = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))  # of each value
    equal = np.diff(first, append=len(order))
    first *= 2
    first += equal
    shares = np.empty(len(order))
    shares[order] = np.repeat(first / (2 * len(order)), equal)
    return shares


def _sorted(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of type int64 in their order, and the stable order.

    PyTorch sorts many of them by their digits, in linear time and on all threads, where it is built for x86; elsewhere
    it gives the same by comparing them.
    """
    import torch

    found = torch.from_numpy(numbers).sort(stable=True)
    return found.values.numpy(), found.indices.numpy()
