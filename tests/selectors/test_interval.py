"""Laws of the interval rules, against brute force on small arrays with many ties."""

from __future__ import annotations

import itertools
import statistics
import warnings
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonargparse import ArgumentParser

from selectune.common.errors import BadRowsError, BudgetError, ConcentratedScores, DataError
from selectune.selectors import Absolute, Band, Budget, Central, Densest, EntropyInterval, IntervalRule, Quantile
from selectune.selectors.checking import checked_select
from selectune.selectors.interval_rules import concentration, finite
from selectune.selectors.ordering import ranked, rounded
from tests.mistakes import mistake, names
from tests.selectors import band_of, pool_of, rows_of

pytestmark = pytest.mark.usefixtures("small_blocks")

Rows = list[tuple[int, int, int]]
# (score in steps of a unit, tie key, tokens): few values, so that ties are common.
ROWS = st.lists(st.tuples(st.integers(-4, 6), st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=14)
UNITS = st.sampled_from([1e-9, 0.1, 0.25, 3.0])


def arrays(rows: Rows, unit: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    steps, keys, tokens = np.array(rows).T
    return steps * unit, keys.astype(np.uint64), tokens


def in_order(rows: Rows) -> list[int]:
    return sorted(range(len(rows)), key=lambda i: (rows[i][0], rows[i][1], i))


def budgets(rows: Rows) -> list[Budget]:
    total = sum(tokens for *_, tokens in rows)
    return [Budget(rows=n + 1) for n in range(len(rows))] + [Budget(tokens=n + 1) for n in range(total)]


def held(rows: Rows, budget: Budget, run: list[int]) -> bool:
    if budget.tokens is not None:
        return sum(rows[i][2] for i in run) >= budget.tokens
    return len(run) >= (budget.rows or 0)


def slow_densest(rows: Rows, budget: Budget, unit: float) -> list[int]:
    """Every run, in whole steps, so that "equal to 1e-9" is exact."""
    order = in_order(rows)
    median = statistics.median([Fraction(score) for score, *_ in rows])
    tolerance = 1 if unit == 1e-9 else 0
    runs = []
    for start in range(len(rows)):
        for stop in range(start + 1, len(rows) + 1):
            if held(rows, budget, order[start:stop]):
                runs.append(order[start:stop])
                break
    width = {tuple(run): rows[run[-1]][0] - rows[run[0]][0] for run in runs}
    equal = [run for run in runs if width[tuple(run)] <= min(width.values()) + tolerance]
    best = min(abs(Fraction(rows[run[0]][0] + rows[run[-1]][0], 2) - median) for run in equal)
    return next(run for run in equal if abs(Fraction(rows[run[0]][0] + rows[run[-1]][0], 2) - median) == best)


def slow_central(rows: Rows, budget: Budget) -> list[int]:
    """Start from the median row; grow by a row where more are left out, below when as many are."""
    order = in_order(rows)
    start = (len(rows) - 1) // 2
    stop = start + 1
    while not held(rows, budget, order[start:stop]):
        if start >= len(rows) - stop:
            start -= 1
        else:
            stop += 1
    return order[start:stop]


@given(ROWS, UNITS, st.data())
def test_densest_is_the_shortest_interval(rows: Rows, unit: float, data: st.DataObject) -> None:
    budget = data.draw(st.sampled_from(budgets(rows)))
    scores, keys, tokens = arrays(rows, unit)
    expected = slow_densest(rows, budget, unit)
    band = band_of(Densest(), scores, budget, keys, tokens)
    assert band.rows.tolist() == sorted(expected)
    assert (band.low, band.high) == pytest.approx((scores[expected[0]], scores[expected[-1]]), abs=1e-12)


@given(ROWS, UNITS, st.data())
def test_central_grows_from_the_median(rows: Rows, unit: float, data: st.DataObject) -> None:
    budget = data.draw(st.sampled_from(budgets(rows)))
    scores, keys, tokens = arrays(rows, unit)
    assert rows_of(Central(), scores, budget, keys, tokens).tolist() == sorted(slow_central(rows, budget))


@given(ROWS, st.data())
def test_a_budget_is_met(rows: Rows, data: st.DataObject) -> None:
    budget = data.draw(st.sampled_from(budgets(rows)))
    rule = data.draw(st.sampled_from([Densest(), Central()]))
    scores, keys, tokens = arrays(rows)
    kept = rows_of(rule, scores, budget, keys, tokens)
    assert kept.dtype == np.int64
    assert kept.tolist() == sorted(set(kept.tolist()) & set(range(len(rows))))
    if budget.rows is not None:
        assert len(kept) == budget.rows
    else:
        run = [i for i in ranked(scores, keys).tolist() if i in set(kept.tolist())]
        assert held(rows, budget, run)
        assert not (held(rows, budget, run[1:]) and held(rows, budget, run[:-1]))


def test_of_equally_short_intervals_the_one_nearest_the_median_is_kept() -> None:
    def densest(scores: list[float], keep: int) -> list[int]:
        n = len(scores)
        return rows_of(Densest(), np.array(scores), Budget(rows=keep), np.zeros(n, np.uint64), np.ones(n, int)).tolist()

    assert densest([0.0, 0.1, 5.0, 5.1, 5.2, 9.0, 9.1], keep=2) == [2, 3]  # around 5.05 and 5.15; the median is 5.1
    assert densest([0.3, 0.1, 0.2], keep=2) == [1, 2]
    assert densest([1.0, 1.0 + 4e-10, 3.0, 3.0], keep=2) == [0, 1]  # equal to 1e-9, as near to the median: the lower


class Lowest(IntervalRule):
    """A rule of one's own, whose bounds are numbers of NumPy."""

    def run(self, ordered: np.ndarray, sizes: np.ndarray, budget: Budget) -> tuple[int, int]:
        return np.intp(0), np.searchsorted(np.cumsum(sizes), budget.rows or 0) + 1  # type: ignore[return-value]


def test_a_rule_of_ones_own_may_give_numbers_of_numpy() -> None:
    pool = pool_of(5, generative_entropy=np.array([1.0, 2.0, 2.0, 2.0, 3.0]))
    picked = checked_select(EntropyInterval(rule=Lowest()), pool, None, Budget(rows=2), 0)
    (band,) = picked.diagnostics["bands"].values()
    assert (len(picked.rows), band["tied_rows"], band["tied_rows_left_out"]) == (2, 1, 2)


@given(ROWS, st.lists(st.integers(0, 20), max_size=4))
def test_adjoining_quantiles_share_the_pool_out(rows: Rows, cuts: list[int]) -> None:
    scores, keys, tokens = arrays(rows)
    edges = sorted({0.0, 1.0, *(cut / 20 for cut in cuts)})
    kept: list[int] = []
    for low, high in itertools.pairwise(edges):
        expected = [i for rank, i in enumerate(in_order(rows), 1) if low < (rank - 0.5) / len(rows) <= high]
        if not expected:
            with mistake(BudgetError, Quantile(low, high), len(rows)):
                rows_of(Quantile(low, high), scores, Budget(), keys, tokens)
            continue
        assert rows_of(Quantile(low, high), scores, Budget(), keys, tokens).tolist() == sorted(expected)
        kept += expected
    assert sorted(kept) == list(range(len(rows)))


@pytest.mark.parametrize("keep", [0.01, 0.16, 0.3, 0.5, 0.505, 1.0])
def test_the_lowest_quantile_keeps_as_many_rows_as_the_same_fraction(keep: float) -> None:
    rows = rows_of(Quantile(0, keep), np.arange(101.0), Budget(), np.zeros(101, np.uint64), np.ones(101, int))
    assert rows.tolist() == list(range(Budget.of(101, 101, keep=keep).rows or 0))


def test_absolute_keeps_what_lies_inside_bounds_included() -> None:
    scores = np.array([0.1 + 0.2, 0.7, 0.31, -1.0, 0.7 + 1e-12])
    keys, tokens = np.zeros(5, np.uint64), np.ones(5, int)
    assert rows_of(Absolute(0.3, 0.7), scores, Budget(), keys, tokens).tolist() == [0, 1, 2, 4]
    assert rows_of(Absolute(-np.inf, 0.3), scores, Budget(), keys, tokens).tolist() == [0, 3]
    assert band_of(Absolute(0.31, 0.31), scores, Budget(), keys, tokens).low == 0.31
    with mistake(BudgetError, Absolute(2, 3), 5, -1, 0.7):
        rows_of(Absolute(2, 3), scores, Budget(), keys, tokens)


@pytest.mark.parametrize("rule", [Densest(), Central(), Quantile(0.2, 0.7), Absolute(0.5, 1.5)])
def test_permuting_the_pool_permutes_the_band(rule: IntervalRule) -> None:
    random = np.random.default_rng(0)
    scores, tokens = random.integers(0, 12, 300) / 4, random.integers(1, 9, 300)
    keys = random.permutation(300).astype(np.uint64)
    order = random.permutation(300)
    for budget in [Budget()] if rule.sets_own_size else [Budget(rows=77), Budget(tokens=500)]:
        kept = rows_of(rule, scores, budget, keys, tokens)
        again = rows_of(rule, scores[order], budget, keys[order], tokens[order])
        assert sorted(order[again].tolist()) == kept.tolist()


@given(ROWS, st.integers(0, 2**32))
def test_noise_in_the_last_bits_changes_nothing(rows: Rows, seed: int) -> None:
    scores, keys, tokens = arrays(rows, 0.1)
    noisy = scores + np.random.default_rng(seed).normal(scale=1e-12, size=len(rows))
    for rule in (Densest(), Central()):
        budget = Budget(rows=(len(rows) + 1) // 2)
        np.testing.assert_array_equal(
            rows_of(rule, noisy, budget, keys, tokens), rows_of(rule, scores, budget, keys, tokens)
        )


@pytest.mark.parametrize("rule", [Densest(), Central(), Quantile(0, 1), Absolute(0, 1)])
def test_scores_must_be_finite_numbers(rule: IntervalRule) -> None:
    scores = np.linspace(0, 1, 20)
    scores[[3, 4, 5, 6, 8, 9]], scores[2] = np.nan, -np.inf
    budget = Budget() if rule.sets_own_size else Budget(rows=3)
    with mistake(BadRowsError, 7, 20, rows=[2, 3, 4, 5, 6, 8, 9]):
        rows_of(rule, scores, budget, np.zeros(20, np.uint64), np.ones(20, int))
    with mistake(DataError, "generative_entropy", (4, 2)):
        finite(np.ones((4, 2)), "generative_entropy")
    with mistake(DataError, (0,)):
        rows_of(rule, scores[:0], budget, np.zeros(0, np.uint64), np.ones(0, int))


@pytest.mark.parametrize("budget", [Budget(), Budget(rows=0), Budget(rows=6), Budget(tokens=0), Budget(tokens=11)])
@pytest.mark.parametrize("rule", [Densest(), Central()])
def test_a_budget_must_lie_inside_the_pool(rule: IntervalRule, budget: Budget) -> None:
    with mistake(BudgetError):
        rows_of(rule, np.arange(5.0), budget, np.zeros(5, np.uint64), np.full(5, 2))


@pytest.mark.parametrize("budget", [Budget(rows=2), Budget(tokens=2)])
@pytest.mark.parametrize("rule", [Quantile(0.2, 0.7), Absolute(0.5, 1.5)])
def test_a_rule_with_its_own_bounds_takes_no_budget(rule: IntervalRule, budget: Budget) -> None:
    with mistake(BudgetError, rule, option="data.keep"):
        rows_of(rule, np.arange(5.0), budget, np.zeros(5, np.uint64), np.ones(5, int))


@pytest.mark.parametrize(("low", "high"), [(0.5, 0.5), (0.7, 0.2), (-0.1, 0.5), (0.5, 1.1), (np.nan, 0.5)])
def test_quantiles_that_hold_no_ranks_are_refused(low: float, high: float) -> None:
    with mistake(BudgetError, "Quantile", "0 <= low < high <= 1"):
        Quantile(low, high)


@pytest.mark.parametrize(("low", "high"), [(0.7, 0.2), (np.nan, 0.5), (0.5, np.nan)])
def test_bounds_that_hold_no_score_are_refused(low: float, high: float) -> None:
    with mistake(BudgetError, "Absolute", "low <= high"):
        Absolute(low, high)


def test_a_config_can_name_each_rule() -> None:
    parser = ArgumentParser()
    parser.add_argument("--rule", type=IntervalRule)
    for rule in (Densest(), Central(), Quantile(0.2, 0.7), Absolute(-0.5, 1.5)):
        arguments = [f"--rule.{name}={value}" for name, value in vars(rule).items()]
        config = parser.parse_args([f"--rule={type(rule).__name__}", *arguments])
        assert parser.instantiate(config).rule == rule
        assert parser.instantiate(parser.parse_string(parser.dump(config))).rule == rule


# Concentration.


def concentrated(scores: np.ndarray, budget: Budget, rule: IntervalRule | None = None) -> tuple[dict, list[Any]]:
    keys = np.random.default_rng(5).permutation(len(scores)).astype(np.uint64)
    band = band_of(rule or Densest(), scores, budget, keys, np.ones(len(scores), int))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = concentration(np.sort(rounded(scores)), band, budget, "semantic_entropy")
    assert all(issubclass(warning.category, ConcentratedScores) for warning in caught)
    return found, [warning.message for warning in caught]


def test_ties_at_a_bound_warn_with_the_name_of_the_score() -> None:
    scores = np.repeat(np.arange(5.0), 100)
    found, (warning,) = concentrated(scores, Budget(rows=150))
    assert found == {"width": 1.0, "tied_rows": 150, "tied_share": 1.0, "tied_rows_left_out": 50}
    assert names(str(warning), "semantic_entropy", "100%", 50)
    assert warning.close_to_random


def test_a_band_of_few_values_that_is_kept_nearly_whole_is_not_called_random() -> None:
    scores = np.concatenate([np.zeros(98), np.full(98, 1e-3), np.arange(10.0, 100.0)])
    found, (warning,) = concentrated(scores, Budget(rows=190))
    assert (found["tied_rows"], found["tied_rows_left_out"]) == (190, 6)
    assert not warning.close_to_random


def test_a_band_without_width_warns() -> None:
    found, (warning,) = concentrated(3.0 + np.random.default_rng(0).uniform(0, 1e-7, 1000), Budget(rows=100))
    assert found["width"] < 1e-6
    assert found["tied_rows"] > 0, "a thousand rows stand on a hundred values"
    assert warning.close_to_random


def test_what_chance_does_not_decide_does_not_warn() -> None:
    continuous = np.random.default_rng(0).normal(size=1000)
    few = np.repeat(np.arange(5.0), 100)
    for scores, budget, rule in [
        (continuous, Budget(rows=160), Densest()),
        (continuous, Budget(rows=3), Central()),
        (continuous, Budget(rows=1), Densest()),
        (few, Budget(rows=500), Densest()),
        (few, Budget(), Absolute(1, 2)),
        (few, Budget(), Quantile(0.2, 0.6)),
    ]:
        assert concentrated(scores, budget, rule)[1] == []
    assert concentrated(few, Budget(), Quantile(0.2, 0.7))[1] != []


def test_a_row_ties_only_with_another_row() -> None:
    scores = np.array([1.0, 1.0, 2.0, 3.0, 4.0, 4.0, 4.0])
    found, _ = concentrated(scores, Budget(rows=4), Central())
    assert found == {"width": 3.0, "tied_rows": 2, "tied_share": 0.5, "tied_rows_left_out": 3}
    band = Band(np.array([2, 3]), 2.0, 3.0, 2, 4)
    assert concentration(scores, band, Budget(rows=2), "x")["tied_rows"] == 0
