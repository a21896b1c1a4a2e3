"""Forecast of a learner's loss and error at the full size, from trainings on small nested subsets.

Mean loss and error rate each follow a power law with offset (Hestness et al. 2017; Rosenfeld et al. 2020); see
`selectune.pilot.power_law`.

Held-out rows are the same at all sizes, so the interval is a bootstrap of paired changes over rows, and over seeds
where there are several. The noise of trainings, which one seed does not show, is added (`NOISE`).

A reference is a cheap model that was trained on the same subsets and on all rows (`selectune.pilot.reference`). Where
there is one, the forecast is also what its error at the full size says; both are weighted by their precision
(`_joined`). How far a power law can be trusted here is seen from the reference, whose error at the full size is known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from selectune.common.errors import UserError
from selectune.pilot.power_law import drawn, posterior, values_of
from selectune.pilot.reference import Reference, error_beside

Shape = Literal["falling", "flat", "rising", "at chance"]

NOISE = 0.8  # sd of an error rate between trainings on n rows, in units of that of n draws
LOSS_NOISE = 0.4  # sd of a mean loss between trainings on n rows, in units of loss / sqrt(n)
REPLICATES, DRAWS = 200, 10  # bootstrap replicates, and draws of the curve for each
AT_LEAST, AT_MOST = 2, 5  # sizes
CLEAR = 1.5  # standard errors by which a curve must fall or rise to be said to


@dataclass(frozen=True)
class Measured:
    """Held-out rows as a learner saw them that was trained on nested random subsets.

    Args:
        sizes: rows of each subset, ascending, 2 to 5 of them.
        losses: of each row, nats, float, shape (n_seeds, n_sizes, n_rows).
        wrong: whether a row was classified wrongly, of the same shape.

    Raises:
        UserError: sizes that do not grow, too few or too many of them, other shapes, or losses that are not finite.
    """

    sizes: tuple[int, ...]
    losses: np.ndarray
    wrong: np.ndarray

    def __post_init__(self) -> None:
        if not AT_LEAST <= len(self.sizes) <= AT_MOST or self.sizes[0] < 1 or (np.diff(self.sizes) <= 0).any():
            raise UserError(
                f"A learning curve needs {AT_LEAST} to {AT_MOST} sizes in ascending order, not {list(self.sizes)}."
            )
        shape = np.shape(self.losses)
        if len(shape) != 3 or shape != np.shape(self.wrong) or shape[1] != len(self.sizes) or 0 in shape:
            raise UserError(
                f"A learning curve of {len(self.sizes)} sizes needs losses and errors of shape (seeds, sizes, rows), "
                f"not {shape} and {np.shape(self.wrong)}."
            )
        if not np.isfinite(self.losses).all():
            raise UserError("A loss of the learning curve is not finite; a small training has failed.")


@dataclass(frozen=True)
class Interval:
    """A forecast with its interval."""

    value: float
    low: float
    high: float

    def holds(self, outcome: float) -> bool:
        """Whether the interval covers an outcome."""
        return self.low <= outcome <= self.high


@dataclass(frozen=True)
class CurveForecast:
    """The forecast at the full size, on the held-out rows that were measured.

    Args:
        size: the full one.
        accuracy: a fraction.
        loss: mean, nats.
        exponent: posterior mean of c.
        shape: of the curve so far; but for ``falling``, the forecast rests on the prior and is wide.
        level: of the intervals.
        curve: accuracy at growing sizes up to the full one, for a picture.
    """

    size: int
    accuracy: Interval
    loss: Interval
    exponent: float
    shape: Shape
    level: float
    curve: tuple[tuple[int, Interval], ...] = ()


def forecast_curve(
    measured: Measured,
    size: int,
    n_classes: int,
    seed: int = 0,
    reference: Reference | None = None,
    level: float = 0.8,
) -> CurveForecast:
    """Forecast loss and accuracy at a size from those at smaller ones.

    Args:
        measured: losses and errors of held-out rows.
        size: rows to forecast for, more than the largest subset has.
        n_classes: at least 2; no forecast is worse than chance, unless a model was seen to be.
        seed: of the bootstrap.
        reference: a cheap model on the same rows.
        level: of the intervals.

    Raises:
        UserError: a size that is not over the largest subset, fewer than two classes, or a level that is no share.
    """
    if size <= measured.sizes[-1]:
        raise UserError(f"The size to forecast for is {size:,}, but {measured.sizes[-1]:,} rows were trained on.")
    if n_classes < 2 or not 0 < level < 1:
        raise UserError(f"A forecast needs two classes and a level between 0 and 1, not {n_classes} and {level}.")
    rng = np.random.default_rng(seed)
    own = _extrapolated(measured, size, n_classes, rng)
    at, error_at, loss_at, noise = own.at, own.error_at, own.loss_at, own.noise
    wrong, loss = measured.wrong.mean(axis=(0, 2)), measured.losses.mean(axis=(0, 2))
    chance, most = 1 - 1 / n_classes, math.log(n_classes)
    # Where held-out rows have other shares of the classes than the pool, a learner may do worse than chance.
    cheap = 0.0 if reference is None else float(reference.at_full.mean())
    bound = chance if cheap <= chance and wrong.max() <= chance + _two_errors(chance, measured.wrong.shape[2]) else 1.0
    error_at = np.clip(error_at, 0, bound)
    shape = _shape(wrong, measured, n_classes, noise)
    if reference is not None:
        theirs = Measured(measured.sizes, reference.losses[None], reference.at_sizes[None])
        missed = float(_extrapolated(theirs, size, n_classes, rng).error_at[:, -1].mean() - reference.at_full.mean())
        error_at = _joined(error_at, at, measured, reference, noise, bound, missed, chance)
    bands = [_interval(1 - error_at[:, i], level) for i in range(len(at))]
    return CurveForecast(
        size, bands[-1], _interval(np.clip(loss_at, 0, max(most, loss[-1])), level), own.exponent,
        shape, level, tuple(zip(at.tolist(), bands)),
    )  # fmt: skip


@dataclass(frozen=True)
class _Curve:
    """A power law beyond the sizes that were measured.

    Args:
        at: sizes up to the full one, shape (n_points,).
        error_at: draws of the error rate there, shape (n_draws, n_points).
        loss_at: draws of the mean loss at the full size, shape (n_draws,).
        noise: sd of the error rate between trainings, at the sizes that were measured.
        exponent: posterior mean.
    """

    at: np.ndarray
    error_at: np.ndarray
    loss_at: np.ndarray
    noise: np.ndarray
    exponent: float


def _extrapolated(measured: Measured, size: int, n_classes: int, rng: np.random.Generator) -> _Curve:
    """The power law of what was measured."""
    sizes, n_seeds = np.array(measured.sizes, dtype=np.float64), len(measured.losses)
    errors, losses = _replicated(measured, rng)
    wrong, loss = measured.wrong.mean(axis=(0, 2)), measured.losses.mean(axis=(0, 2))
    noises = (
        _error_noise(np.clip(wrong, 0.02, 1 - 1 / n_classes), sizes, n_seeds),
        LOSS_NOISE * np.maximum(loss, 0.02) / np.sqrt(sizes * n_seeds),
    )
    found = posterior(errors, losses, sizes, size, noises)
    of_error, of_loss = (drawn(found, of, DRAWS, rng) for of in ("error", "loss"))
    at = np.unique(np.geomspace(sizes[0], size, 12).round().astype(int))
    # Changes are bootstrapped and added to what these rows showed: rows that are hard at all sizes cancel out.
    error_at = wrong[-1] + values_of(of_error, at, sizes[-1], size) - np.repeat(errors[:, -1], DRAWS)[:, None]
    loss_at = loss[-1] + values_of(of_loss, np.array([size]), sizes[-1], size)[:, -1] - np.repeat(losses[:, -1], DRAWS)
    return _Curve(at, error_at, loss_at, noises[0], float(of_error.exponents.mean()))


def _replicated(measured: Measured, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Error rates and mean losses of bootstrap replicates of rows and seeds, each of shape (n_replicates, n_sizes)."""
    n_seeds, _, n_rows = measured.losses.shape
    of_rows = rng.multinomial(n_rows, np.full(n_rows, 1 / n_rows), REPLICATES) / n_rows
    of_seeds = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), REPLICATES) / n_seeds
    errors, losses = (
        np.einsum("rs,ski,ri->rk", of_seeds, np.asarray(of, np.float64), of_rows, optimize=True)
        for of in (measured.wrong, measured.losses)
    )
    return errors, losses


def _error_noise(rates: np.ndarray, sizes: np.ndarray, n_seeds: int) -> np.ndarray:
    return np.asarray(NOISE * np.sqrt(rates * (1 - rates) / (sizes * n_seeds)))


def _shape(wrong: np.ndarray, measured: Measured, n_classes: int, noise: np.ndarray) -> Shape:
    """Direction of the error rates from the smallest to the largest size, beyond noise of rows and trainings."""
    changes = (np.asarray(measured.wrong[:, 0], np.float64) - measured.wrong[:, -1]).mean(axis=0)
    spread = math.sqrt(float(changes.var()) / len(changes) + float(noise[0] ** 2 + noise[-1] ** 2))
    chance = 1 - 1 / n_classes
    if wrong.min() > chance - _two_errors(chance, measured.wrong.shape[2]):
        return "at chance"
    if abs(wrong[0] - wrong[-1]) < CLEAR * spread:
        return "flat"
    return "falling" if wrong[0] > wrong[-1] else "rising"


def at_chance(wrong: np.ndarray, chance: float) -> bool:
    """Whether a model is no better than guessing, within two standard errors.

    Args:
        wrong: whether each held-out row was classified wrongly, shape (n_rows,).
        chance: error rate of guessing.
    """
    return bool(wrong.mean() > chance - _two_errors(chance, len(wrong)))


def _two_errors(rate: float, n_rows: int) -> float:
    """Two standard errors of an error rate on some rows."""
    return 2 * math.sqrt(rate * (1 - rate) / n_rows)


def _joined(
    error_at: np.ndarray,
    at: np.ndarray,
    measured: Measured,
    reference: Reference,
    noise: np.ndarray,
    bound: float,
    missed: float,
    chance: float,
) -> np.ndarray:
    """Draws of the curve moved to where the power law and the reference together put its end.

    Forecasts are weighted by precision, the power law's being what it shows of itself and what a power law of the
    reference missed. Where they disagree by more than their standard deviations allow, the spread of both is widened
    until they agree (Birge 1932).
    """
    own, drawn_sd = float(error_at[:, -1].mean()), max(float(error_at[:, -1].std()), 1e-4)
    own_sd = math.hypot(drawn_sd, missed)
    wrong = measured.wrong.mean(axis=0)
    lost = np.array([at_chance(one, chance) for one in wrong])
    theirs, theirs_sd = error_beside(reference, wrong, np.array(measured.sizes), at[-1], noise, lost)
    if reference.outgrown and lost.all():
        own_sd = 1.0  # a power law of chance
    share = own_sd**-2 / (own_sd**-2 + theirs_sd**-2)
    centre = share * own + (1 - share) * theirs
    apart = (own - theirs) ** 2 / (own_sd**2 + theirs_sd**2)
    sd = math.sqrt(max(apart, 1.0) / (own_sd**-2 + theirs_sd**-2))
    ends = centre + (error_at[:, -1] - own) / drawn_sd * sd
    progress = np.log(at / at[0]) / max(math.log(at[-1] / at[0]), 1e-9)
    return np.clip(error_at + progress * (ends - error_at[:, -1])[:, None], 0, bound)


def _interval(values: np.ndarray, level: float) -> Interval:
    low, middle, high = np.quantile(values, [(1 - level) / 2, 0.5, (1 + level) / 2])
    return Interval(float(middle), float(low), float(high))
