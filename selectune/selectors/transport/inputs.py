"""From what a caller gives to a checked problem: shapes, weights, eps. An error on one rank is raised on all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from selectune.common.errors import DataError, TransportError
from selectune.selectors.transport.passes import Problem
from selectune.selectors.transport.ranks import Ranks
from selectune.selectors.transport.rows import SCALES, Cost, Rows, check_shape, cost_moments, problem_of, read_moments

CELLS_AT_ONCE = 2**21  # of a block of embeddings
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
            found = " and ".join(given) or "none"
            raise TransportError(f"eps wants exactly one of absolute, std and mean, and has {found}.")
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
        """In units of the cost.

        Raises:
            TransportError: it is relative to a deviation or mean that is 0.
        """
        eps = self.absolute or (self.std or 0) * std + (self.mean or 0) * mean
        if not eps > 0:
            raise TransportError(f"eps is {self.describe()} of a cost that is the same for all pairs; state absolute.")
        return float(eps)


DEFAULT_EPS = Eps(std=0.05)


def make_problem(
    pool: np.ndarray,
    target: np.ndarray,
    pool_weights: np.ndarray | None,
    target_weights: np.ndarray | None,
    cost: Cost,
    eps: Eps,
    dtype: torch.dtype,
    device: torch.device,
    ranks: Ranks,
) -> tuple[Problem, dict[str, Any]]:
    """The checked problem, and what is known of its cost.

    Raises:
        TransportError: weights or eps that are none, or ranks with different targets.
        DataError: embeddings that are missing, of different widths, not finite, or zero under the cosine.
    """
    if cost not in SCALES:
        raise TransportError(f"The cost is {cost!r}; choose {' or '.join(SCALES)}.")
    failure = _refusal(pool, target, pool_weights, target_weights)
    for told in ranks.gather(failure):
        if told is not None:
            raise told
    sizes = ranks.gather(len(pool))
    offset, n = sum(sizes[: ranks.rank]), sum(sizes)
    if n == 0:
        raise DataError("The pool is empty; there is nothing to transport.")
    a = np.full(len(pool), 1 / n) if pool_weights is None else np.asarray(pool_weights, dtype=np.float64)
    b = np.full(len(target), 1 / len(target)) if target_weights is None else np.asarray(target_weights, np.float64)
    totals = {"pool": float(ranks.sum(a.sum())), "target": float(b.sum())}
    for name, total in totals.items():
        if abs(total - 1) > WEIGHTS_TOLERANCE:
            raise TransportError(f"The weights of the {name} sum to {total:.9g}; divide them by that, to sum to 1.")
    a, b = a / totals["pool"], b / totals["target"]  # what is left of rounding would bound the marginal error

    # One pass over the pool finds its moments, and squares that are not finite where a row is bad.
    rows_at_once, spread = max(1, CELLS_AT_ONCE // pool.shape[1]), eps.std is not None
    raw_squares, raw = read_moments(Rows(target, cost, torch.float64, device), rows_at_once, products=False)
    centre = torch.from_numpy(raw.rows / len(target))
    ys, xs = Rows(target, cost, dtype, device, centre), Rows(pool, cost, dtype, device, centre)
    wrong = problem_of(target, "target", raw_squares, cost, rows_at_once)
    if wrong is None:
        target_squares, of_target = read_moments(ys, rows_at_once, spread)
        pool_squares, own = read_moments(xs, rows_at_once, spread)
        wrong = problem_of(pool, "pool", pool_squares, cost, rows_at_once, offset)
    for sentence in ranks.gather(wrong):
        if sentence is not None:
            raise DataError(sentence)

    mean, std = cost_moments(own.total(ranks), of_target, xs.scale)
    value = eps.value(mean, std)
    fingerprint = [*of_target.squares, *of_target.rows, *b[:1], value]
    if not np.array_equal(ranks.max(fingerprint), ranks.min(fingerprint)):
        raise TransportError("The ranks have different targets, weights or eps; give all of them the same.")
    known = {"cost": cost, "cost_mean": mean, "cost_std": std if spread else None, "eps_stated": eps.describe()}
    known |= {"n": n, "m": len(target), "d": pool.shape[1], "ranks": ranks.size}
    return Problem(xs, ys, pool_squares, target_squares, a, b, value, ranks), known


def _refusal(
    pool: np.ndarray, target: np.ndarray, pool_weights: np.ndarray | None, target_weights: np.ndarray | None
) -> Exception | None:
    """What is wrong with shapes and single weights on this rank."""
    try:
        for array, weights, name in ((pool, pool_weights, "pool"), (target, target_weights, "target")):
            check_shape(array, name)
            if weights is not None:
                _check_weights(np.asarray(weights), len(array), name)
        if len(target) == 0:
            raise DataError("The target is empty; there is nothing to transport the pool to.")
        if pool.shape[1] != target.shape[1]:
            widths = pool.shape[1], target.shape[1]
            raise DataError(f"The pool's embeddings are {widths[0]} wide, the target's {widths[1]}; use one model.")
    except (DataError, TransportError) as error:
        return error
    return None


def _check_weights(weights: np.ndarray, n: int, name: str) -> None:
    if weights.shape != (n,):
        raise TransportError(f"The weights of the {name} have shape {weights.shape}; {n} rows need shape ({n},).")
    bad = np.flatnonzero(~np.isfinite(weights) | (weights < 0))
    if len(bad):
        row = int(bad[0])
        raise TransportError(f"Row {row} of the {name} has the weight {weights[row]}; weights are at least 0.")
