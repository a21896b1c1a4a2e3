"""Recommendations from priors and small trainings whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from selectune.common.errors import UserError
from selectune.diagnose.mending import Gain
from selectune.pilot.recommendation import Prior, Recommendation, Trial, recommend
from tests.mistakes import mistake

PLANS = ["fewer_epochs", "random", "balanced", "label_issues"]
ROWS = 1000


def wrong(rates: dict[str, float], seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Whether held-out rows are classified wrongly, by plan, and by random rows: mostly the same rows."""
    rng = np.random.default_rng(seed)
    difficulty = rng.random(ROWS)
    drawn = {name: difficulty + 0.05 * rng.normal(size=ROWS) < rate for name, rate in rates.items()}
    return {name: rows for name, rows in drawn.items() if name != "random"}, drawn["random"]


def gain_of(made: Recommendation, name: str) -> float:
    return next(one.gain for one in made.gains if one.name == name)


def test_nothing_known_is_the_simplest_plan_and_is_said_to_be_unsure() -> None:
    made = recommend(PLANS, {}, [])
    assert made.plan == "fewer_epochs"
    assert made.equal == tuple(PLANS)
    assert made.right < 0.6


def test_a_large_difference_decides_against_a_prior_of_nothing() -> None:
    arms, baseline = wrong({"random": 0.4, "balanced": 0.4, "label_issues": 0.2})
    made = recommend(PLANS, {}, [Trial.of_arms(arms, baseline, 200)])
    assert made.plan == "label_issues"
    assert made.right > 0.8
    assert 0 < gain_of(made, "label_issues") < 0.2, "a gain at a small size is not that of the full one"


def test_a_small_trial_leaves_a_sure_prior_as_it_is() -> None:
    arms, baseline = wrong({"random": 0.4, "balanced": 0.37})
    sure = {"balanced": Prior(-0.05, 0.003), "label_issues": Prior(-0.05, 0.003), "fewer_epochs": Prior(0.01, 0.003)}
    made = recommend(PLANS, sure, [Trial.of_arms(arms, baseline, 50)])
    assert made.plan == "fewer_epochs"
    assert gain_of(made, "balanced") == pytest.approx(-0.05, abs=0.005)


def test_more_rows_and_rehearsals_make_it_surer() -> None:
    rates = {"random": 0.4, "label_issues": 0.34}
    arms, baseline = wrong(rates)
    few, many = (recommend(PLANS, {}, [Trial.of_arms(arms, baseline, rows)]) for rows in (50, 5000))
    both = recommend(PLANS, {}, [Trial.of_arms(arms, baseline, 5000), Trial.of_rehearsals(*wrong(rates, 1))])
    spreads = [one.gains[PLANS.index("label_issues")].sd for one in (few, many, both)]
    assert spreads == sorted(spreads, reverse=True)


def test_of_equal_plans_the_simpler_one_is_taken() -> None:
    priors = {"fewer_epochs": Prior(0.010, 0.01), "balanced": Prior(0.014, 0.01), "label_issues": Prior(-0.02, 0.01)}
    made = recommend(PLANS, priors, [], margin=0.005)
    assert made.plan == "fewer_epochs"
    assert made.equal == ("fewer_epochs", "balanced")
    assert recommend(PLANS, priors, [], margin=0.0).plan == "balanced"


def test_probabilities_are_those_of_the_truth() -> None:
    rng = np.random.default_rng(0)
    rights, promised = [], []
    for _ in range(200):
        true = {name: 0.0 if name == "random" else float(rng.normal(0, 0.03)) for name in PLANS}
        drawn = {name: Prior(0.0, 0.03) for name in PLANS if name != "random"}
        names = tuple(drawn)
        trial = Trial(names, np.full((3, ROWS), 0.5), np.full(ROWS, 0.5), 1.0, 0.02, 0.005)
        seen = np.linalg.cholesky(trial.covariance) @ rng.normal(size=3) + [true[name] for name in names]
        trial = Trial(names, np.full((3, ROWS), 0.5) + seen[:, None], np.full(ROWS, 0.5), 1.0, 0.02, 0.005)
        made = recommend(PLANS, drawn, [trial])
        rights.append(true[made.plan] >= max(true.values()) - made.margin)
        promised.append(made.right)
    assert np.mean(promised) == pytest.approx(np.mean(rights), abs=0.1)


def test_the_order_of_rows_and_of_a_trials_plans_says_nothing() -> None:
    arms, baseline = wrong({"random": 0.4, "balanced": 0.35, "label_issues": 0.3})
    rows = np.random.default_rng(0).permutation(ROWS)
    other = {name: arms[name][rows] for name in reversed(arms)}
    first = recommend(PLANS, {}, [Trial.of_arms(arms, baseline, 100)])
    second = recommend(PLANS, {}, [Trial.of_arms(other, baseline[rows], 100)])
    assert first.plan == second.plan
    assert gain_of(first, "balanced") == pytest.approx(gain_of(second, "balanced"))


def test_held_out_rows_with_faults_count_for_less() -> None:
    arms, baseline = wrong({"random": 0.4, "label_issues": 0.2})
    trusted = recommend(PLANS, {}, [Trial.of_arms(arms, baseline, 200)])
    doubted = recommend(PLANS, {}, [Trial.of_arms(arms, baseline, 200, np.ones(ROWS))])
    at = PLANS.index("label_issues")
    assert doubted.gains[at].sd > trusted.gains[at].sd
    assert doubted.gains[at].gain < trusted.gains[at].gain


def test_rows_of_weight_0_say_nothing() -> None:
    arms, baseline = wrong({"random": 0.4, "label_issues": 0.2})
    weights = np.where(np.arange(ROWS) < ROWS // 2, 2.0, 0.0)
    flipped = {name: np.where(weights > 0, rows, ~rows) for name, rows in arms.items()}
    both = [recommend(PLANS, {}, [Trial.of_arms(one, baseline, 200, weights)]) for one in (arms, flipped)]
    assert both[0] == both[1]


def test_a_measured_gain_is_a_prior_in_fractions() -> None:
    gain = Gain("label_issue", "label_issues", 0.3, 0.3, "frozen", "random", 6.2, 4.3, 8.1, 5, 5)
    prior = Prior.of(gain)
    assert prior.mean == pytest.approx(0.062)
    assert prior.sd > (0.081 - 0.043) / 4, "one pool is less sure than the mean of several"
    assert Prior.of(None).mean == 0


def test_random_rows_alone_are_right() -> None:
    made = recommend(["random"], {}, [])
    assert (made.plan, made.right) == ("random", 1.0)


def test_mistakes_are_named() -> None:
    arms, baseline = wrong({"random": 0.4, "balanced": 0.3})
    with mistake(UserError, "random"):
        recommend(["balanced"], {}, [])
    with mistake(UserError, "random"):
        recommend(["random", "balanced", "balanced"], {}, [])
    with mistake(UserError, "balanced"):
        recommend(["random"], {}, [Trial.of_arms(arms, baseline, 100)])
    with mistake(UserError, -1):
        recommend(PLANS, {}, [], margin=-1)
    with mistake(UserError, 1):
        Trial(("balanced",), np.ones((1, 5)), np.ones(4), 1.0, 0.1, 0.1)
    with mistake(UserError):
        Trial(("balanced",), np.ones((1, 5)), np.ones(5), 0.0, 0.1, 0.1)
