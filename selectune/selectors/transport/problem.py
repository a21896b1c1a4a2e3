"""A transport problem, checked: rows, weights and eps. An error on one rank is raised on all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selectune.common.errors import DataError, TransportError
from selectune.common.memory import free_bytes
from selectune.selectors.transport.ranks import Ranks
from selectune.selectors.transport.rows import SCALES, Cost, Moments, Rows, cost_moments, embedding_fault, read_moments

CELLS_AT_ONCE = {"cpu": 2**21, "cuda": 2**26}  # of a block of embeddings, on the CPU and on any accelerator
KEPT = 0.25  # of the free memory of an accelerator, for the pool's rows, which else are copied there in each pass
WEIGHTS_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Eps:
    """The regulariser's strength, stated in one of three ways.

    Args:
        absolute: in units of the cost.
        std: of the standard deviation of the cost over all pairs.
        mean: of its mean.

    Raises:
        TransportError: not exactly one of them, or one that is not above 0.
    """

    absolute: float | None = None
    std: float | None = None
    mean: float | None = None

    def __post_init__(self) -> None:
        given = {name: value for name, value in vars(self).items() if value is not None}
        if len(given) != 1:
            names = " and ".join(given) or "none"
            raise TransportError(f"eps wants exactly one of absolute, std and mean, and has {names}.")
        (name, value), *_ = given.items()
        if isinstance(value, bool) or not (isinstance(value, (int, float)) and np.isfinite(value) and value > 0):
            raise TransportError(f"eps.{name} must be a number above 0, not {value!r}.")

    @classmethod
    def of(cls, given: Eps | Mapping[str, float]) -> Eps:
        """An Eps as it is, or from a mapping such as ``{"std": 0.05}``."""
        if isinstance(given, Eps):
            return given
        if not isinstance(given, Mapping) or set(given) - {"absolute", "std", "mean"}:
            raise TransportError(f"eps is {given!r}; give one of absolute, std and mean, e.g. {{'std': 0.05}}.")
        return cls(**given)

    def describe(self) -> str:
        """E.g. ``0.05 std``."""
        return next(f"{value:g} {name}" for name, value in vars(self).items() if value is not None)

    def value(self, mean: float, std: float) -> float:
        """Eps in units of the cost, given the cost's moments.

        Raises:
            TransportError: it is relative to a deviation or mean that is 0.
        """
        eps = self.absolute or (self.std or 0) * std + (self.mean or 0) * mean
        if not eps > 0:
            raise TransportError(f"eps is {self.describe()} of a cost that is the same for all pairs; state absolute.")
        return float(eps)


DEFAULT_EPS = Eps(std=0.05)


@dataclass
class Problem:
    """A transport problem, one rank's share of it.

    Args:
        pool: this rank's rows.
        target: all of the target's.
        pool_squares: s(x), float64, shape (n,).
        target_squares: s(y), float64, shape (m,).
        a: weights of this rank's rows, float64, shape (n,); over all ranks they sum to 1.
        b: weights of the target, float64, shape (m,).
        eps: of the regulariser, in units of the cost.
        ranks: that hold the other rows.
    """

    pool: Rows
    target: Rows
    pool_squares: np.ndarray
    target_squares: np.ndarray
    a: np.ndarray
    b: np.ndarray
    eps: float
    ranks: Ranks

    def only_pool(self, which: np.ndarray) -> Problem:
        """The problem of some rows of the pool; weights stay as they are."""
        return replace(self, pool=self.pool.take(which), pool_squares=self.pool_squares[which], a=self.a[which])

    def only_target(self, which: np.ndarray) -> Problem:
        """The problem of some rows of the target; weights stay as they are."""
        return replace(self, target=self.target.take(which), target_squares=self.target_squares[which], b=self.b[which])


def make_problem(
    pool: np.ndarray | Tensor,
    target: np.ndarray | Tensor,
    pool_weights: np.ndarray | None,
    target_weights: np.ndarray | None,
    cost: Cost,
    eps: Eps,
    dtype: torch.dtype,
    device: torch.device,
    ranks: Ranks,
) -> tuple[Problem, dict[str, Any]]:
    """The checked problem, and sizes and moments of its cost for the diagnostics.

    Raises:
        TransportError: weights or eps out of range, or ranks with different targets.
        DataError: embeddings that are missing, of different widths, not finite, or zero under the cosine.
    """
    if cost not in SCALES:
        raise TransportError(f"The cost is {cost!r}; choose {' or '.join(SCALES)}.")
    ranks.raise_any(_array_fault(pool, target, pool_weights, target_weights))
    sizes = ranks.gather(len(pool))
    offset, n = sum(sizes[: ranks.rank]), sum(sizes)
    if n == 0:
        raise DataError("The pool is empty; there is nothing to transport.")
    a, b = _weights(pool_weights, len(pool), n, target_weights, len(target), ranks)

    # One pass over the pool computes its moments, and squares that are not finite where a row is bad.
    kind, spread = "cpu" if device.type == "cpu" else "cuda", eps.std is not None
    rows_at_once = max(1, CELLS_AT_ONCE[kind] // pool.shape[1])
    raw_squares, raw = read_moments(Rows(target, cost, torch.float64, device), rows_at_once, products=False)
    centre = torch.from_numpy(raw.rows / len(target))
    keep = _is_kept(pool, dtype, device)
    ys, xs = Rows(target, cost, dtype, device, centre), Rows(pool, cost, dtype, device, centre, keep)
    fault = embedding_fault(target, "target", raw_squares, cost)
    if fault is None:
        target_squares, of_target = read_moments(ys, rows_at_once, spread)
        pool_squares, own = read_moments(xs, rows_at_once, spread)
        fault = embedding_fault(pool, "pool", pool_squares, cost, offset)
    ranks.raise_any(fault)

    mean, std = cost_moments(Moments(*map(ranks.sum, own)), of_target, xs.scale)
    value = eps.value(mean, std)
    # Ranks add up column sums by position, which would mean nothing if their targets differed.
    fingerprint = [*of_target.squares, *of_target.rows, *b[:1], value]
    if not np.array_equal(ranks.max(fingerprint), ranks.min(fingerprint)):
        raise TransportError("The ranks have different targets, weights or eps; give all of them the same.")
    known = {"cost": cost, "cost_mean": mean, "cost_std": std if spread else None, "eps_stated": eps.describe(),
             "n": n, "m": len(target), "d": pool.shape[1], "ranks": ranks.size}  # fmt: skip
    return Problem(xs, ys, pool_squares, target_squares, a, b, value, ranks), known


def _weights(
    of_pool: np.ndarray | None, n_here: int, n: int, of_target: np.ndarray | None, m: int, ranks: Ranks
) -> tuple[np.ndarray, np.ndarray]:
    """Weights of this rank's rows and of the target, each summing to 1 over all."""
    a = np.full(n_here, 1 / n) if of_pool is None else np.asarray(of_pool, dtype=np.float64)
    b = np.full(m, 1 / m) if of_target is None else np.asarray(of_target, np.float64)
    totals = {"pool": float(ranks.sum(a.sum())), "target": float(b.sum())}
    for name, total in totals.items():
        if abs(total - 1) > WEIGHTS_TOLERANCE:
            raise TransportError(f"The weights of the {name} sum to {total:.9g}; divide them by that, to sum to 1.")
    return a / totals["pool"], b / totals["target"]  # what is left of rounding would bound the marginal error


def _is_kept(pool: np.ndarray | Tensor, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether the device holds the pool's rows from the first pass on: they lie elsewhere, and it has the room."""
    if device.type == "cpu" or isinstance(pool, Tensor):
        return False
    return len(pool) * pool.shape[1] * dtype.itemsize <= KEPT * free_bytes(device)


def _array_fault(
    pool: np.ndarray | Tensor,
    target: np.ndarray | Tensor,
    pool_weights: np.ndarray | None,
    target_weights: np.ndarray | None,
) -> DataError | TransportError | None:
    """The error that shapes and single weights of this rank deserve, or None."""
    for array, given, name in ((pool, pool_weights, "pool"), (target, target_weights, "target")):
        if array.ndim != 2 or "float" not in str(array.dtype) or array.shape[1] == 0:
            kind = f"{array.dtype} of shape {array.shape}"
            return DataError(f"The embeddings of the {name} are {kind}; give floats of shape (rows, width).")
        if given is None:
            continue
        weights, n = np.asarray(given), len(array)
        if weights.shape != (n,):
            return TransportError(f"The weights of the {name} have shape {weights.shape}; {n} rows need shape ({n},).")
        bad = np.flatnonzero(~np.isfinite(weights) | (weights < 0))
        if len(bad):
            weight = weights[bad[0]]
            message = f"Row {bad[0]} of the {name} has the weight {weight}; weights are at least 0."
            return TransportError(message, rows=bad.tolist())
    if len(target) == 0:
        return DataError("The target is empty; there is nothing to transport the pool to.")
    if pool.shape[1] != target.shape[1]:
        widths = pool.shape[1], target.shape[1]
        return DataError(f"The pool's embeddings are {widths[0]} wide, the target's {widths[1]}; use one model.")
    return None
