"""Forecasts from learning curves: simulated curves, whose full size is known."""

from __future__ import annotations

import numpy as np
import pytest

from selectune.common.errors import UserError
from selectune.pilot.learning_curve import Measured, forecast_curve
from selectune.pilot.reference import Reference, error_beside
from tests.mistakes import mistake

SIZES, FULL, ROWS = (64, 128, 256), 4096, 500


def seen(errors: np.ndarray, seed: int, n_seeds: int = 1, noise: float = 0.5) -> tuple[Measured, np.ndarray]:
    """Held-out rows at some error rates, the last of which is that of the full size, and whether they are wrong there.

    A row has the same difficulty at all sizes, so that rows that are wrong at a lower rate are mostly wrong at a higher
    one. Trainings differ by `noise` times the deviation of as many draws as they have rows.
    """
    rng = np.random.default_rng(seed)
    difficulty = rng.random(ROWS)
    spread = noise * np.sqrt(errors * (1 - errors) / np.array([*SIZES, FULL]))
    rates = np.clip(errors + spread * rng.normal(size=(n_seeds, len(errors))), 0.01, 0.99)
    closeness = (rates[..., None] - difficulty) / 0.1 + rng.normal(size=(n_seeds, len(errors), ROWS))
    losses = np.log1p(np.exp(closeness))
    return Measured(SIZES, losses[:, :-1], closeness[:, :-1] > 0), closeness[0, -1] > 0


def power_law(error: float, floor: float, exponent: float) -> np.ndarray:
    """Error rates from that of the smallest size on, up to the full size."""
    sizes = np.array([*SIZES, FULL], dtype=np.float64)
    return floor + (error - floor) * (sizes / sizes[0]) ** -exponent


def pools(n: int) -> list[tuple[Measured, float]]:
    """Curves as they are met: a few per cent less error a doubling, with the accuracy at the full size."""
    rng = np.random.default_rng(0)
    made = []
    for seed in range(n):
        drop = 1 - (1 - np.clip(rng.normal(0.06, 0.03), 0, 0.12)) ** 6
        error = rng.uniform(0.2, 0.45)
        exponent = rng.choice([0.25, 0.5, 0.7])
        share = drop / (1 - (FULL / SIZES[0]) ** -exponent)
        measured, full = seen(power_law(error, error * (1 - share), exponent), seed)
        made.append((measured, 1 - float(full.mean())))
    return made


def test_intervals_hold_the_outcome_about_as_often_as_they_say() -> None:
    forecasts = [(forecast_curve(measured, FULL, 2, seed=i), full) for i, (measured, full) in enumerate(pools(60))]
    held = np.mean([made.accuracy.holds(full) for made, full in forecasts])
    assert 0.7 <= held <= 0.98
    errors = [made.accuracy.value - full for made, full in forecasts]
    assert abs(np.mean(errors)) < 0.02, "forecasts err to neither side"
    assert np.median(np.abs(errors)) < 0.04


def test_the_order_of_rows_and_of_seeds_says_nothing() -> None:
    measured, _ = seen(power_law(0.4, 0.1, 0.5), 1, n_seeds=3)
    rows, seeds = np.random.default_rng(0).permutation(ROWS), [2, 0, 1]
    other = Measured(SIZES, measured.losses[seeds][..., rows], measured.wrong[seeds][..., rows])
    first, second = (forecast_curve(one, FULL, 4) for one in (measured, other))
    assert first.accuracy.value == pytest.approx(second.accuracy.value, abs=0.01)  # draws of the bootstrap differ
    assert forecast_curve(measured, FULL, 4) == first, "one seed, one forecast"


def test_a_flat_curve_is_called_flat_and_its_interval_is_wider_than_that_of_a_fall_of_the_same_end() -> None:
    flat, _ = seen(np.full(4, 0.3), 3, noise=0.0)
    falling, _ = seen(np.array([0.45, 0.37, 0.3, 0.25]), 3, noise=0.0)
    made, other = forecast_curve(flat, FULL, 4), forecast_curve(falling, FULL, 4)
    assert (made.shape, other.shape) == ("flat", "falling")
    assert made.accuracy.low < 0.72 < made.accuracy.high, "nothing is promised"
    assert made.accuracy.value < other.accuracy.value, "a fall goes on"


def test_a_rising_curve_is_not_extrapolated_to_nonsense() -> None:
    measured, _ = seen(np.array([0.25, 0.32, 0.4, 0.45]), 4, noise=0.0)
    made = forecast_curve(measured, FULL, 2)
    assert made.shape == "rising"
    assert 0.5 <= made.accuracy.low <= made.accuracy.high <= 1
    assert made.accuracy.high - made.accuracy.low > 0.1, "that more rows do harm is told by a wide interval"
    assert made.loss.low <= made.loss.value <= made.loss.high


def test_nothing_is_forecast_below_chance_or_above_certainty() -> None:
    measured, _ = seen(np.full(4, 0.75), 5)
    made = forecast_curve(measured, FULL, 4)
    assert made.shape == "at chance"
    assert all(0.25 <= bound <= 1 for one in (made.accuracy,) for bound in (one.low, one.value, one.high))
    perfect = Measured(SIZES, np.full((1, 3, ROWS), 0.01), np.zeros((1, 3, ROWS), dtype=bool))
    made = forecast_curve(perfect, FULL, 4)
    assert 0.97 < made.accuracy.low <= made.accuracy.high <= 1


def test_where_the_reference_is_worse_than_chance_the_learner_may_be_too() -> None:
    measured, _ = seen(np.array([0.46, 0.48, 0.5, 0.5]), 6)
    reference = Reference(measured.losses[0], measured.wrong[0], np.arange(ROWS) % 10 < 6)
    assert forecast_curve(measured, FULL, 2, 0, reference).accuracy.low < 0.45


def test_more_seeds_narrow_the_interval() -> None:
    errors = power_law(0.4, 0.15, 0.5)
    widths = [
        np.mean([
            (made := forecast_curve(seen(errors, seed, n_seeds)[0], FULL, 2)).accuracy.high - made.accuracy.low
            for seed in range(5)
        ])
        for n_seeds in (1, 5)
    ]  # fmt: skip
    assert widths[1] < widths[0]


def test_a_reference_that_is_like_the_learner_sharpens_the_forecast() -> None:
    errors, widths, alone = [], [], []
    for seed in range(20):
        measured, full = seen(power_law(0.4, 0.1, 0.5), seed)
        like, like_full = seen(power_law(0.41, 0.11, 0.5), 100 + seed)
        # the same rows are hard for both
        order, other = np.argsort(full), np.argsort(like_full)
        losses, at_sizes, at_full = (np.empty_like(one) for one in (like.losses[0], like.wrong[0], like_full))
        losses[:, order], at_sizes[:, order] = like.losses[0][:, other], like.wrong[0][:, other]
        at_full[order] = like_full[other]
        made = forecast_curve(measured, FULL, 2, seed, Reference(losses, at_sizes, at_full))
        errors.append(abs(made.accuracy.value - 1 + full.mean()))
        widths.append(made.accuracy.high - made.accuracy.low)
        alone.append(np.diff([(one := forecast_curve(measured, FULL, 2, seed).accuracy).low, one.high]))
    assert np.mean(errors) < 0.04
    assert np.mean(widths) < np.mean(alone)


def test_a_reference_that_contradicts_the_curve_widens_the_interval() -> None:
    measured, _ = seen(power_law(0.4, 0.1, 0.5), 1)
    wrong = measured.wrong[0]
    agrees = Reference(measured.losses[0], wrong, wrong[-1] & (np.arange(ROWS) % 3 > 0))
    contradicts = Reference(measured.losses[0] - 0.2, wrong & (np.arange(ROWS) % 2 > 0), np.arange(ROWS) % 20 < 9)
    widths = [
        np.diff([(one := forecast_curve(measured, FULL, 2, 0, reference).accuracy).low, one.high])[0]
        for reference in (agrees, contradicts)
    ]
    assert widths[1] > widths[0]


def test_the_curve_begins_near_what_was_measured_and_ends_in_the_forecast() -> None:
    measured, _ = seen(power_law(0.4, 0.1, 0.5), 2)
    made = forecast_curve(measured, FULL, 2)
    sizes = [size for size, _ in made.curve]
    assert (sizes[0], sizes[-1]) == (SIZES[0], FULL)
    assert sizes == sorted(sizes)
    assert made.curve[-1][1] == made.accuracy
    assert abs(made.curve[0][1].value - 1 + measured.wrong[0, 0].mean()) < 0.06


def test_a_size_just_over_the_largest_subset_is_what_that_one_showed() -> None:
    measured, _ = seen(power_law(0.4, 0.1, 0.5), 2, noise=0.0)
    made = forecast_curve(measured, SIZES[-1] + 1, 2)
    assert made.accuracy.value == pytest.approx(1 - measured.wrong[0, -1].mean(), abs=0.03)


def test_mistakes_are_named() -> None:
    measured, _ = seen(power_law(0.4, 0.1, 0.5), 2)
    with mistake(UserError, 2, 5):
        Measured(SIZES[:1], measured.losses[:, :1], measured.wrong[:, :1])
    with mistake(UserError, 128, 64):
        Measured((128, 64, 256), measured.losses, measured.wrong)
    with mistake(UserError, 3):
        Measured(SIZES, measured.losses[0], measured.wrong[0])
    with mistake(UserError, 3):
        Measured(SIZES, measured.losses, measured.wrong[..., 1:])
    with mistake(UserError):
        Measured(SIZES, np.full_like(measured.losses, np.nan), measured.wrong)
    with mistake(UserError, 256, 256):
        forecast_curve(measured, 256, 2)
    with mistake(UserError, 1):
        forecast_curve(measured, FULL, 1)


def test_a_reference_that_errs_on_other_rows_than_the_learner_is_trusted_less() -> None:
    measured, _ = seen(power_law(0.4, 0.1, 0.5), 1)
    wrong = measured.wrong[0]
    full = wrong[-1] & (np.arange(ROWS) % 2 > 0)
    widths = []
    for shift in (0, 7):  # the same rate, on the same rows or on others
        losses, at_sizes = (np.roll(one, shift, axis=1) for one in (measured.losses[0], wrong))
        made = forecast_curve(measured, FULL, 2, 0, Reference(losses, at_sizes, full)).accuracy
        widths.append(made.high - made.low)
    assert widths[0] < widths[1]


def test_where_a_power_law_misses_the_reference_the_forecast_is_the_references() -> None:
    """As with many classes: hardly learned on small subsets, and well on all rows."""
    measured, _ = seen(np.array([0.8, 0.78, 0.75, 0.2]), 1, noise=0.0)
    full = np.arange(ROWS) % 5 == 0  # 20 % of the rows
    alone = forecast_curve(measured, FULL, 20).accuracy
    made = forecast_curve(measured, FULL, 20, 0, Reference(measured.losses[0], measured.wrong[0], full)).accuracy
    assert alone.value < 0.6
    assert abs(made.value - 0.8) < 0.02
    assert made.high - made.low < 0.1


def test_a_learner_that_outgrows_its_reference_is_forecast_to_err_less_than_it_and_less_surely() -> None:
    measured, _ = seen(power_law(0.45, 0.1, 0.5), 1)
    wrong, full = measured.wrong[0], np.arange(ROWS) % 5 == 0
    noise, sizes, left = np.array([0.03, 0.02, 0.015]), np.array(SIZES), np.zeros(3, dtype=bool)
    (same, sure), (outgrown, unsure) = (
        error_beside(
            Reference(measured.losses[0], wrong, full, outgrows), wrong.astype(float), sizes, FULL, noise, left
        )
        for outgrows in (False, True)
    )
    assert same == pytest.approx(0.2)
    assert 0.1 < outgrown < 0.2, "a power of the rows, of 16 times as many"
    assert unsure > sure
    further = error_beside(
        Reference(measured.losses[0], wrong, full, True), wrong.astype(float), sizes, 4 * FULL, noise, left
    )
    assert further[0] < outgrown


def test_a_learner_that_gains_on_its_reference_faster_is_forecast_to_err_less() -> None:
    measured, _ = seen(np.array([0.4, 0.3, 0.2, 0.1]), 2, noise=0.0)
    slow, _ = seen(np.array([0.4, 0.4, 0.4, 0.4]), 2, noise=0.0)
    full, noise, sizes = np.arange(ROWS) % 4 == 0, np.full(3, 0.01), np.array(SIZES)
    left = np.zeros(3, dtype=bool)
    gaining, level = (
        error_beside(
            Reference(of.losses[0], of.wrong[0], full, True), measured.wrong[0].astype(float), sizes, FULL, noise, left
        )
        for of in (slow, measured)
    )
    assert gaining[0] < level[0]


def test_a_fine_tuning_that_has_not_left_chance_is_forecast_by_its_reference_alone() -> None:
    """It would be worse than the head for ever, were its ratio to it carried on."""
    measured, _ = seen(np.array([0.5, 0.51, 0.5, 0.2]), 7, noise=0.0)
    cheap, _ = seen(np.array([0.4, 0.35, 0.3, 0.2]), 7, noise=0.0)
    reference = Reference(cheap.losses[0], cheap.wrong[0], np.arange(ROWS) % 5 == 0, outgrown=True)
    made = forecast_curve(measured, FULL, 2, 0, reference)
    assert made.shape == "at chance"
    assert 0.8 < made.accuracy.value < 0.93
    assert made.accuracy.low < 0.83
    assert made.accuracy.high - made.accuracy.low > 0.08
