"""The plan to take, from what was measured on other pools and from small trainings on this one.

Gains are differences of accuracy to random rows at the same total cost. The gains of the plans are taken to be normal:

    prior       of each plan, from the table of expected gains, or wide around 0
    trial       d = scale * g + noise: differences d of the plans' small trainings on the same held-out rows

The noise of a trial has three parts: held-out rows (paired, so their covariance is that of the row-wise differences),
the training of each arm and of the baseline that all differences share, and what a gain at a small size says of that at
the full one, which is charged as a standard deviation of its own. The posterior is then normal, in closed form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from selectune.common.errors import UserError
from selectune.diagnose.mending import Gain

MARGIN = 0.005
DRAWS = 20_000
UNKNOWN_SD = 0.03  # of the gain of a plan of which nothing was measured
POOL_SD = 0.02  # of the gain on one pool around the mean of those that it was measured on
ARM_SCALE, ARM_SPREAD = 1.5, 0.02  # small trainings show larger gains, as there is more to be gained
ARM_NOISE = 0.8  # sd of an accuracy between trainings on n rows, in units of that of n draws
REHEARSAL_SCALE, REHEARSAL_SPREAD, REHEARSAL_NOISE = 1.0, 0.012, 0.006
FINE_TUNED_SPREAD = 0.02  # spread more of rehearsals by a head where the learner is fine-tuned
UNTRUSTED = 0.015  # spread more where held-out rows carry the faults of the pool


@dataclass(frozen=True)
class Prior:
    """The gain of a plan as it was measured on other pools: a fraction, and its standard deviation between pools."""

    mean: float
    sd: float

    @classmethod
    def of(cls, gain: Gain | None) -> Prior:
        """The prior of a plan whose gain was measured on other pools, or was not."""
        if gain is None or gain.low is None or gain.high is None:
            return cls(0.0, UNKNOWN_SD)
        of_mean = (gain.high - gain.low) / (2 * 1.96 * 100)
        return cls(gain.points / 100, float(np.hypot(of_mean, POOL_SD)))


@dataclass(frozen=True)
class Trial:
    """Small trainings of several plans, and of random rows, seen by the same held-out rows.

    Args:
        plans: their names; ``right`` has their rows in this order.
        right: whether each held-out row was classified correctly, mean over seeds, shape (n_plans, n_rows).
        baseline: the same of random rows, shape (n_rows,).
        scale: gain at this size for a gain of 1 at the full one.
        spread: standard deviation of gains at this size around the scaled ones, beside noise.
        training_sd: of the accuracy between trainings of one arm, already divided by the root of the seeds.
        weights: of the rows, mean 1, shape (n_rows,); None where all count alike.

    Raises:
        UserError: other shapes, no plan, fewer than two rows, or a scale or spread that cannot be.
    """

    plans: tuple[str, ...]
    right: np.ndarray
    baseline: np.ndarray
    scale: float
    spread: float
    training_sd: float
    weights: np.ndarray | None = None

    def __post_init__(self) -> None:
        rows = np.shape(self.baseline)
        if not self.plans or len(rows) != 1 or rows[0] < 2 or np.shape(self.right) != (len(self.plans), *rows):
            raise UserError(
                f"A trial of {len(self.plans)} plans needs an array of shape (plans, rows) with two rows or more, not "
                f"{np.shape(self.right)} beside {rows}."
            )
        if not (self.scale > 0 and self.spread >= 0 and self.training_sd > 0):
            raise UserError("A trial needs a scale and a noise over 0, and a spread of at least 0.")

    @classmethod
    def of_arms(
        cls, wrong: Mapping[str, np.ndarray], baseline: np.ndarray, rows: int, weights: np.ndarray | None = None
    ) -> Trial:
        """The trial of small arms of plans.

        Args:
            wrong: whether each held-out row was classified wrongly, mean over seeds, shape (n_rows,), by plan.
            baseline: the same of random rows.
            rows: that the baseline was trained on, over all seeds.
            weights: of held-out rows that may carry the pool's faults, see `sound_weights`; None where they do not.
        """
        error = float(np.clip(baseline.mean(), 0.02, 0.98))
        noise = ARM_NOISE * float(np.sqrt(error * (1 - error) / rows))
        return cls._of(wrong, baseline, ARM_SCALE, ARM_SPREAD, noise, weights)

    @classmethod
    def of_rehearsals(
        cls, wrong: Mapping[str, np.ndarray], baseline: np.ndarray, weights: np.ndarray | None = None,
        fine_tuned: bool = True,
    ) -> Trial:  # fmt: skip
        """The trial of rehearsals of plans at their full size, by a head on a scorer's embeddings.

        Args:
            wrong: as in `of_arms`.
            baseline: the same of random rows.
            weights: as in `of_arms`.
            fine_tuned: whether the learner is fine-tuned, and no such head itself.
        """
        spread = float(np.hypot(REHEARSAL_SPREAD, FINE_TUNED_SPREAD)) if fine_tuned else REHEARSAL_SPREAD
        return cls._of(wrong, baseline, REHEARSAL_SCALE, spread, REHEARSAL_NOISE, weights)

    @classmethod
    def _of(
        cls, wrong: Mapping[str, np.ndarray], baseline: np.ndarray, scale: float, spread: float, noise: float,
        weights: np.ndarray | None,
    ) -> Trial:  # fmt: skip
        right = 1.0 - np.stack([np.asarray(one, np.float64) for one in wrong.values()])
        spread = float(np.hypot(spread, 0.0 if weights is None else UNTRUSTED))
        return cls(tuple(wrong), right, 1.0 - np.asarray(baseline, np.float64), scale, spread, noise, weights)

    @property
    def by_row(self) -> np.ndarray:
        """Weighted differences to random rows, shape (n_plans, n_rows)."""
        return (self.right - self.baseline) * (1.0 if self.weights is None else self.weights)

    @property
    def differences(self) -> np.ndarray:
        """Differences of accuracy to random rows, shape (n_plans,)."""
        return np.asarray(self.by_row.mean(axis=1))

    @property
    def covariance(self) -> np.ndarray:
        """Of the differences: rows, trainings and extrapolation, shape (n_plans, n_plans)."""
        n_plans, n_rows = self.right.shape
        rows = np.cov(self.by_row, ddof=1).reshape(n_plans, n_plans) / n_rows
        trainings = self.training_sd**2 * (np.eye(n_plans) + np.ones((n_plans, n_plans)))
        return np.asarray(rows + trainings + self.spread**2 * np.eye(n_plans))


@dataclass(frozen=True)
class PlanGain:
    """The posterior gain of a plan over random rows, a fraction, with the bounds of its interval."""

    name: str
    gain: float
    sd: float
    low: float
    high: float
    best: float  # probability that no other plan gains more


@dataclass(frozen=True)
class Recommendation:
    """The plan to take.

    Args:
        plan: its name.
        right: probability that no plan gains more than `margin` over it.
        margin: within which plans count as equal.
        equal: those that count as equal to the one with the largest expected gain, in the given order; the first of
            them is `plan`.
        gains: of all plans, in the given order.
    """

    plan: str
    right: float
    margin: float
    equal: tuple[str, ...]
    gains: tuple[PlanGain, ...]


def recommend(
    plans: Sequence[str],
    priors: Mapping[str, Prior],
    trials: Sequence[Trial],
    baseline: str = "random",
    margin: float = MARGIN,
    level: float = 0.8,
    seed: int = 0,
) -> Recommendation:
    """Recommend a plan.

    Args:
        plans: their names, in the order in which one of several equal ones is taken; the baseline is among them.
        priors: by name; a plan without one is taken to gain 0 with a standard deviation of 3 points.
        trials: of some of the plans.
        baseline: the plan that gains are over.
        margin: within which plans count as equal.
        level: of the intervals.
        seed: of the draws that probabilities are computed with.

    Raises:
        UserError: no baseline, a plan named twice, or a trial of a plan that is not there.
    """
    others = [name for name in plans if name != baseline]
    if len(others) + 1 != len(plans) or len(set(plans)) < len(plans):
        raise UserError(f"The plans must name {baseline} and every other plan once, not {', '.join(plans) or 'none'}.")
    if unknown := {name for trial in trials for name in trial.plans} - set(others):
        raise UserError(f"Small trainings were made of {', '.join(sorted(unknown))}, which is none of the plans.")
    if not margin >= 0 or not 0 < level < 1:
        raise UserError(f"The margin must be at least 0 and the level between 0 and 1, not {margin} and {level}.")
    mean, covariance = posterior(others, priors, trials)
    rng = np.random.default_rng(seed)
    drawn = np.zeros((DRAWS, len(plans)))
    at = [plans.index(name) for name in others]
    if others:
        drawn[:, at] = rng.multivariate_normal(mean, covariance, DRAWS, method="eigh")
    expected, spread = np.zeros(len(plans)), np.zeros(len(plans))
    expected[at], spread[at] = mean, np.sqrt(np.diag(covariance))
    most = drawn.max(axis=1)
    best = (drawn == most[:, None]).mean(axis=0)
    bounds = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    equal = tuple(name for name, gain in zip(plans, expected) if gain >= expected.max() - margin)
    chosen = plans.index(equal[0])
    gains = tuple(
        PlanGain(name, *(float(values[i]) for values in (expected, spread, *bounds, best)))
        for i, name in enumerate(plans)
    )
    right = float((drawn[:, chosen] >= most - margin).mean())
    return Recommendation(equal[0], right, margin, equal, gains)


def posterior(
    plans: Sequence[str], priors: Mapping[str, Prior], trials: Sequence[Trial]
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the gains of some plans, shapes (n_plans,) and (n_plans, n_plans)."""
    known = [priors.get(name, Prior(0.0, UNKNOWN_SD)) for name in plans]
    precision = np.diag([one.sd**-2 for one in known])
    weighted = np.array([one.mean / one.sd**2 for one in known])
    for trial in trials:
        observed = np.zeros((len(trial.plans), len(plans)))
        for row, name in enumerate(trial.plans):
            observed[row, plans.index(name)] = trial.scale
        gained = np.linalg.solve(trial.covariance, observed)
        precision = precision + observed.T @ gained
        weighted = weighted + gained.T @ trial.differences
    covariance = np.linalg.inv(precision) if len(plans) else np.zeros((0, 0))
    return covariance @ weighted, (covariance + covariance.T) / 2
