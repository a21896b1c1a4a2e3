"""Power laws with offset, y(n) = a + b n^-c, of an error rate and a mean loss at once.

Three to five sizes do not determine three numbers, so the fit is Bayesian on a grid: over exponents c, which loss and
error share, and over the share f of y that is lost between the largest subset and the full size; the level y follows in
closed form. The prior of f is that of a few per cent a doubling (`DROP`). It lets a curve rise, as it does where more
rows teach a fault of the pool.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

EXPONENTS = np.array([0.15, 0.25, 0.35, 0.5, 0.7, 1.0])
WEIGHTS = np.array([1.0, 1.5, 2.0, 2.0, 1.5, 1.0]) / 9  # prior of the exponents
LOWEST, HIGHEST, POINTS = -0.9, 0.97, 63  # of the grid of shares, which reaches 4 standard deviations of the prior
DROP, DROP_SD = 0.05, 0.08  # of y per doubling of the rows


@dataclass(frozen=True)
class Posterior:
    """On the grid of exponents and shares, by replicate: weights and levels, shape (n_replicates, n_grid)."""

    shares: np.ndarray
    weights: dict[str, np.ndarray]
    levels: dict[str, np.ndarray]
    variances: dict[str, np.ndarray]  # shape (n_grid,)


def posterior(
    errors: np.ndarray, losses: np.ndarray, sizes: np.ndarray, size: int, noises: tuple[np.ndarray, np.ndarray]
) -> Posterior:
    """The posterior of both curves; the exponent of each is weighed by the evidence of the other, too.

    Args:
        errors: error rates of replicates, shape (n_replicates, n_sizes).
        losses: mean losses of them, likewise.
        sizes: rows of the subsets, ascending, float, shape (n_sizes,).
        size: rows that are extrapolated to, over the largest of these.
        noises: standard deviations of error rates and of losses, each of shape (n_sizes,).
    """
    doublings = math.log2(size / sizes[-1])
    mean = 1 - (1 - DROP) ** doublings
    spread = DROP_SD * doublings * (1 - DROP) ** doublings
    grid = np.linspace(max(LOWEST, mean - 4 * spread), min(HIGHEST, mean + 4 * spread), POINTS)
    prior = -0.5 * ((grid - mean) / spread) ** 2
    prior -= np.log(np.exp(prior).sum())
    curve = _curve(sizes, EXPONENTS[:, None], sizes[-1], size)[:, None, :]
    shares = grid[None, :, None]
    # y(n) over its level at the largest size, shape (n_exponents, n_shares, n_sizes)
    forms = 1 - shares + shares * curve
    fits = {name: _fit(of, forms, noise) for name, of, noise in zip(("error", "loss"), (errors, losses), noises)}
    evidence = {name: _log_sum(fit[0] + prior) for name, fit in fits.items()}
    weights, other = {}, {"error": "loss", "loss": "error"}
    for name, (likelihood, _, _) in fits.items():
        logs = likelihood + prior + (evidence[other[name]] + np.log(WEIGHTS))[:, :, None]
        flat = logs.reshape(len(logs), -1)
        flat = np.exp(flat - flat.max(axis=1, keepdims=True))
        weights[name] = flat / flat.sum(axis=1, keepdims=True)
    levels = {name: level.reshape(len(level), -1) for name, (_, level, _) in fits.items()}
    return Posterior(grid, weights, levels, {name: variance.ravel() for name, (_, _, variance) in fits.items()})


def _curve(sizes: np.ndarray, exponents: np.ndarray, largest: float, size: int) -> np.ndarray:
    """The part of a curve that the full size has not: 1 at the largest subset, 0 at the full size."""
    return np.asarray(
        (sizes**-exponents - float(size) ** -exponents) / (largest**-exponents - float(size) ** -exponents)
    )


def _fit(values: np.ndarray, forms: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log likelihood, level and its variance by weighted least squares, of each replicate and point of the grid."""
    weights = 1 / noise**2
    norms = (forms**2 * weights).sum(-1)
    products = np.einsum("rk,csk->rcs", values * weights, forms)
    rest = (values**2 * weights).sum(-1)[:, None, None] - products**2 / norms
    return -0.5 * rest - 0.5 * np.log(norms), products / norms, 1 / norms


def _log_sum(logs: np.ndarray) -> np.ndarray:
    most = logs.max(axis=2)
    return np.asarray(most + np.log(np.exp(logs - most[:, :, None]).sum(axis=2)))


@dataclass(frozen=True)
class Curves:
    """Drawn curves, replicate by replicate: levels at the largest size, f and c, each of shape (n_curves,)."""

    levels: np.ndarray
    shares: np.ndarray
    exponents: np.ndarray


def drawn(found: Posterior, name: str, n_draws: int, rng: np.random.Generator) -> Curves:
    """Curves of the ``error`` or the ``loss`` from the posterior, so many of each replicate."""
    cumulated = found.weights[name].cumsum(axis=1)
    chosen = np.stack([np.searchsorted(row, rng.random(n_draws) * row[-1]) for row in cumulated])
    levels = np.take_along_axis(found.levels[name], chosen, axis=1)
    levels = levels + rng.normal(size=levels.shape) * np.sqrt(found.variances[name][chosen])
    flat = chosen.ravel()
    return Curves(levels.ravel(), found.shares[flat % POINTS], EXPONENTS[flat // POINTS])


def values_of(curves: Curves, at: np.ndarray, largest: float, size: int) -> np.ndarray:
    """Drawn curves at some sizes, shape (n_draws, n_sizes)."""
    curve = _curve(at[None, :].astype(np.float64), curves.exponents[:, None], largest, size)
    shares = curves.shares[:, None]
    return np.asarray(curves.levels[:, None] * (1 - shares + shares * curve))
