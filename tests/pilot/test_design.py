"""Sizes of pilots: within the limit whatever the prices, or a sentence that says what would do."""

from __future__ import annotations

import re

import numpy as np
import pytest

from selectune.common.errors import BudgetError
from selectune.pilot.design import DIAGNOSIS_AT_MOST, ENOUGH, Design, Prices, designed
from tests.mistakes import mistake


def cost_of(design: Design, prices: Prices, epochs: float) -> float:
    """The FLOPs of all parts of a pilot."""
    rows = sum(design.sizes) * epochs + design.arms * design.passes
    judged = (len(design.sizes) + design.arms) * design.held_out
    return prices.diagnosis + rows * prices.a_row + judged * prices.a_held_out_row


def test_the_limit_is_never_exceeded() -> None:
    rng = np.random.default_rng(0)
    made = 0
    for _ in range(300):
        epochs, rows = float(rng.choice([1, 3, 10])), int(rng.integers(1000, 100_000))
        price, share = 10.0 ** rng.uniform(-3, 12), float(rng.uniform(0.02, 0.5))
        full = rows * epochs * price
        prices = Prices(full, share * full * rng.uniform(0, DIAGNOSIS_AT_MOST), price, price / 3)
        try:
            design = designed(prices, share, epochs, int(rng.integers(50, 2000)), int(rng.integers(1, 5)), rows)
        except BudgetError:
            continue
        made += 1
        assert cost_of(design, prices, epochs) <= design.limit == share * full
        assert list(design.sizes) == sorted(set(design.sizes))
        assert design.sizes[-1] <= rows
    assert made > 100, "most of these can be paid for"


def test_a_larger_share_gives_larger_subsets() -> None:
    prices = Prices(60_000.0, 500.0, 1.0, 1 / 3)
    sizes = [designed(prices, share, 3, 1000, 2, 20_000).sizes[-1] for share in (0.1, 0.2, 0.4)]
    assert sizes == sorted(set(sizes))


def test_a_second_plan_is_tried_where_the_largest_subset_stays_large() -> None:
    prices = Prices(60_000.0, 500.0, 1.0, 1 / 3)
    arms = {share: designed(prices, share, 3, 1000, 2, 20_000).arms for share in (0.05, 0.1, 0.3, 0.5)}
    assert arms == {0.05: 1, 0.1: 1, 0.3: 2, 0.5: 2}
    assert designed(prices, 0.3, 3, 1000, 2, 20_000).sizes[-1] >= ENOUGH


def test_most_of_the_limit_is_spent() -> None:
    prices = Prices(60_000.0, 500.0, 1.0, 1 / 3)
    design = designed(prices, 0.1, 3, 1000, 2, 20_000)
    assert cost_of(design, prices, 3) > 0.9 * design.limit


def test_a_diagnosis_that_is_over_a_third_of_the_share_says_what_would_do() -> None:
    prices = Prices(9000.0, 1000.0, 1.0, 1 / 3)
    with mistake(BudgetError, "--share", "scorer.checkpoint", option="--share") as caught:
        designed(prices, 0.1, 3, 500, 2, 3000)
    named = float(re.findall(r"--share ([\d.]+) would", str(caught.value))[0])
    assert designed(prices, named, 3, 500, 2, 3000).sizes


def test_a_share_too_small_for_any_training_says_what_would_do() -> None:
    prices = Prices(9000.0, 10.0, 1.0, 1 / 3)
    with mistake(BudgetError, "--share", option="--share") as caught:
        designed(prices, 0.03, 3, 500, 2, 3000)
    named = float(re.findall(r"--share ([\d.]+) would", str(caught.value))[0])
    assert designed(prices, named, 3, 500, 2, 3000).sizes


@pytest.mark.parametrize("rows", [20, 60])
def test_a_pool_that_is_too_small_is_refused(rows: int) -> None:
    prices = Prices(rows * 3.0, 0.0, 1.0, 1 / 3)
    with mistake(BudgetError, "plan"):
        designed(prices, 1.0, 3, 500, 2, rows)
