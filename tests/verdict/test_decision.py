from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from selectune.common.errors import UserError
from selectune.verdict.decision import Word, decide
from selectune.verdict.evidence import Arm, Cost, Evidence
from tests.verdict.cases import ALL_ROWS, CASES, COST, NOT_RUN, ONE_SEED, PAYS, arm

# Intervals in points, around a margin of 1: far below, below, at, and above no difference, wide, and not run.
INTERVALS = [(-5.0, -2.0), (-0.9, -0.1), (-0.5, 0.5), (0.1, 0.8), (2.0, 4.0), (-4.0, 4.0), (-3.0, 0.5), None]


def made(bounds: tuple[float, float] | None, cost: Cost, n_seeds: int) -> Arm:
    return Arm(cost=cost) if bounds is None else arm(sum(bounds) / 2, *bounds, cost, n_seeds)


def by_the_table(cheap: bool, n_seeds: int, a: object, b: object, c: object) -> Word:
    """The table once more, line by line."""
    low = [-99.0 if one is None else one[0] for one in (a, b, c)]  # type: ignore[index]
    high = [99.0 if one is None else one[1] for one in (a, b, c)]  # type: ignore[index]
    if cheap and low[0] > -1 and low[1] > 0 and low[2] > 0 and n_seeds > 1:
        return Word.PAYS
    if high[1] < 0:
        return Word.LOSES_TO_RANDOM
    if high[2] < 0:
        return Word.LOSES_TO_FEWER_EPOCHS
    if high[0] < -1:
        return Word.COSTS_ACCURACY
    if min(low) >= -1 and max(high) <= 1:
        return Word.NO_DIFFERENCE
    return Word.NOT_KNOWN_YET


@pytest.mark.parametrize("n_seeds", [1, 3])
@pytest.mark.parametrize("saved", [0.42, 0.001, -0.3])
def test_the_first_line_of_the_table_that_fits_holds(saved: float, n_seeds: int) -> None:
    cost = Cost((1 - saved) * 1e13, None)
    words = set()
    for a, b, c in product(INTERVALS, repeat=3):
        arms = {"all_rows": made(a, ALL_ROWS, n_seeds)}
        arms |= {"random_rows": made(b, cost, n_seeds), "fewer_epochs": made(c, cost, n_seeds)}
        word = decide(replace(ONE_SEED, n_seeds=n_seeds, cost=cost, **arms))
        assert word == by_the_table(saved > 0.01, n_seeds, a, b, c), (a, b, c)
        words.add(word)
    assert (Word.PAYS in words) == (saved > 0.01 and n_seeds > 1)


def test_all_rows_for_fewer_epochs_are_judged_against_the_other_two_arms() -> None:
    words = set()
    for saved, n_seeds, a, b in product((0.42, 0.001, -0.3), (1, 3), INTERVALS, INTERVALS):
        cost = Cost((1 - saved) * 1e13, None)
        arms = {"all_rows": made(a, ALL_ROWS, n_seeds), "random_rows": made(b, cost, n_seeds), "fewer_epochs": Arm()}
        whole = replace(ONE_SEED, n_seeds=n_seeds, cost=cost, kept_rows=ONE_SEED.pool_rows, **arms)
        assert decide(whole) == Word.NOTHING_SELECTED
        # b twice, so that the line of the third arm changes nothing
        words.add(word := decide(replace(whole, shortened=True)))
        assert word == by_the_table(saved > 0.01, n_seeds, a, b, b), (a, b)
    assert words >= {Word.PAYS, Word.LOSES_TO_RANDOM, Word.COSTS_ACCURACY, Word.NO_DIFFERENCE, Word.NOT_KNOWN_YET}
    with pytest.raises(UserError, match="selected rows"):
        replace(PAYS, shortened=True)


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_a_failed_training_comes_before_all_else(case: object) -> None:
    evidence: Evidence = case.evidence  # type: ignore[attr-defined]
    assert decide(replace(evidence, loss_failed=True)) == Word.TRAINING_FAILED
    assert decide(replace(evidence, score=0.103, majority=0.103)) == Word.TRAINING_FAILED


def test_nothing_selected_comes_before_what_a_comparison_says() -> None:
    assert decide(replace(CASES["loses to random"].evidence, kept_rows=10_000)) == Word.NOTHING_SELECTED


@pytest.mark.parametrize("single", ["all_rows", "random_rows", "fewer_epochs"])
def test_one_seed_against_any_arm_never_pays(single: str) -> None:
    one: Arm = getattr(ONE_SEED, single)
    assert decide(PAYS) == Word.PAYS
    assert decide(replace(PAYS, **{single: one})) == Word.NOT_KNOWN_YET


@pytest.mark.parametrize("missing", ["all_rows", "random_rows", "fewer_epochs"])
def test_nothing_pays_while_an_arm_is_missing(missing: str) -> None:
    assert decide(replace(PAYS, **{missing: replace(NOT_RUN, cost=ALL_ROWS)})) == Word.NOT_KNOWN_YET


def test_nothing_pays_while_the_cost_is_not_known() -> None:
    assert decide(replace(PAYS, cost=Cost(None, None))) == Word.NOT_KNOWN_YET
    assert decide(replace(PAYS, cost=Cost(None, 62.0))) == Word.PAYS
    assert decide(replace(PAYS, cost=Cost(None, 110.0))) == Word.NOT_KNOWN_YET


def test_beating_an_arm_that_cost_less_proves_nothing() -> None:
    evidence = replace(PAYS, random_rows=arm(3.1, 1.2, 5.0, Cost(4e12, None)))
    assert decide(evidence) == Word.NOT_KNOWN_YET
    assert decide(replace(evidence, random_rows=arm(3.1, 1.2, 5.0, Cost(8e12, None)))) == Word.PAYS


def test_losing_to_an_arm_that_cost_more_proves_nothing() -> None:
    evidence = replace(PAYS, random_rows=arm(-3.1, -5.0, -1.2, Cost(8e12, None)))
    assert decide(evidence) == Word.NOT_KNOWN_YET
    assert decide(replace(evidence, random_rows=arm(-3.1, -5.0, -1.2, Cost(4e12, None)))) == Word.LOSES_TO_RANDOM


def test_the_margin_decides_what_is_lost() -> None:
    evidence = replace(PAYS, all_rows=arm(-1.5, -1.8, -1.2, ALL_ROWS))
    assert decide(evidence) == Word.COSTS_ACCURACY
    assert decide(replace(evidence, margin=2.0)) == Word.PAYS
    assert decide(replace(PAYS, margin=0.0)) == Word.NOT_KNOWN_YET


def test_random_rows_come_before_fewer_epochs() -> None:
    worse = arm(-3.0, -5.0, -1.0, COST)
    assert decide(replace(PAYS, random_rows=worse, fewer_epochs=worse)) == Word.LOSES_TO_RANDOM
