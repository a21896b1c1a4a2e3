"""Laws of bands that a target places."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selectune.common.errors import DataError
from selectune.selectors import (
    IGSE,
    Anchored,
    Balanced,
    Budget,
    Central,
    Chain,
    Checked,
    Deduplicate,
    Densest,
    EntropyInterval,
    IntervalRule,
    Quantile,
    Random,
    Signals,
)
from selectune.selectors.anchored import checked_by_target
from selectune.selectors.checking import checked_select
from tests.mistakes import mistake, names, warned
from tests.selectors import THREE, band_of, permuted, pool_of

pytestmark = pytest.mark.filterwarnings("ignore::selectune.common.errors.ConcentratedScores")

JUNK = np.arange(600) < 360


def faulty() -> tuple[Signals, Signals]:
    """A pool that is 60 % junk of nearly one entropy, and a target of clean rows."""
    random = np.random.default_rng(0)
    junk, clean, trusted = random.normal(1, 0.05, 600), random.normal(3, 0.5, 600), random.normal(3, 0.5, 100)
    return pool_of(600, generative_entropy=np.where(JUNK, junk, clean)), pool_of(100, 1, generative_entropy=trusted)


def test_the_band_lies_where_the_target_is_and_not_where_the_pool_is_densest() -> None:
    pool, target = faulty()
    densest = EntropyInterval().select(pool, None, Budget(rows=150), 0).rows
    anchored = checked_select(EntropyInterval(rule=Anchored()), pool, target, Budget(rows=150), 0)
    assert JUNK[densest].all()
    assert not JUNK[anchored.rows].any()
    assert anchored.diagnostics["bands"]["generative_entropy"]["target_share"] > 0.5


scores = st.lists(st.integers(-4, 4), min_size=1, max_size=25)


@settings(max_examples=150)
@given(scores, scores, st.data())
def test_a_band_is_a_run_nested_in_larger_ones(ours: list[int], theirs: list[int], data: st.DataObject) -> None:
    n = len(ours)
    tokens = np.array(data.draw(st.lists(st.integers(1, 5), min_size=n, max_size=n)))
    values, keys = np.array(ours) * 0.1, np.arange(n).astype(np.uint64)
    target = np.array(theirs) * 0.1
    place = np.empty(n, dtype=int)
    place[np.lexsort((keys, np.round(values, 9)))] = np.arange(n)
    before: set[int] = set()
    for keep in range(1, n + 1):
        rows = band_of(Anchored(), values, Budget(rows=keep), keys, tokens, target).rows
        assert len(rows) == keep
        assert np.ptp(place[rows]) == keep - 1, "neighbours in the order of the scores"
        assert before <= set(rows.tolist())
        before = set(rows.tolist())
    asked = data.draw(st.integers(1, int(tokens.sum())))
    rows = band_of(Anchored(), values, Budget(tokens=asked), keys, tokens, target).rows
    assert tokens[rows].sum() - tokens[rows].max() < asked <= tokens[rows].sum()


def test_it_covers_as_much_of_the_target_below_its_median_as_above() -> None:
    random = np.random.default_rng(2)
    ours, theirs = random.uniform(0, 10, 2000), random.gamma(2.0, 1.0, 400)
    keys, tokens = np.arange(2000).astype(np.uint64), np.ones(2000, int)
    for keep in (100, 300, 600):
        band = band_of(Anchored(), ours, Budget(rows=keep), keys, tokens, theirs)
        below, above = (theirs < band.low).mean(), (theirs > band.high).mean()
        assert below == pytest.approx(above, abs=0.02)


@pytest.mark.parametrize("budget", [Budget(rows=90), Budget(tokens=700)])
@pytest.mark.parametrize(
    "selector",
    [EntropyInterval(rule=Anchored()), IGSE(THREE[:2], Anchored()), IGSE(THREE[:2], Anchored(), "sum")],
)
def test_permuting_the_pool_permutes_the_selection(selector: EntropyInterval | IGSE, budget: Budget) -> None:
    pool, target = faulty()
    order = np.random.default_rng(8).permutation(600)
    picked, again = (checked_select(selector, each, target, budget, 4) for each in (pool, permuted(pool, order)))
    assert sorted(order[again.rows].tolist()) == picked.rows.tolist()
    np.testing.assert_array_equal(again.scores, picked.scores[order])
    assert selector.requires_target == selector.requires


@pytest.mark.parametrize("combine", ["box", "sum"])
def test_a_check_leaves_out_the_entropy_that_is_not_on_the_pools_scale(combine: Literal["box", "sum"]) -> None:
    pool, target = faulty()
    both = IGSE(["generative_entropy", "semantic_entropy"], Checked(), combine)
    assert both.requires_target == {"generative_entropy"}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        picked = checked_select(both, pool, target.take(np.arange(100), {"generative_entropy"}), Budget(rows=150), 0)
    plain = checked_select(IGSE(both.entropies, Densest(), combine), pool, None, Budget(rows=150), 0)
    np.testing.assert_array_equal(picked.rows, plain.rows)
    assert not any(names(str(one.message), "semantic_entropy", "prototypes") for one in caught)


def test_every_densest_band_is_checked_where_there_are_rows_known_to_be_good() -> None:
    inner = Chain(filters=[Deduplicate()], selector=Balanced(within=EntropyInterval()))
    made: Any = checked_by_target(inner)
    assert type(made.selector.within.rule) is Checked
    assert made.requires_target == {"generative_entropy"}
    assert type(inner.selector.within.rule) is Densest, "the selector that was given stays"  # type: ignore[attr-defined]
    for rule in (Anchored(), Central(), Checked(Central())):
        assert checked_by_target(EntropyInterval(rule=rule)).rule is rule  # type: ignore[attr-defined]
    assert checked_by_target(Random()).requires_target == frozenset()


def test_a_sum_is_placed_by_the_sum_of_the_target() -> None:
    pool, target = faulty()
    one = IGSE(["generative_entropy"], Anchored(), "sum").select(pool, target, Budget(rows=150), 0)
    np.testing.assert_array_equal(
        one.rows, EntropyInterval(rule=Anchored()).select(pool, target, Budget(rows=150), 0).rows
    )


@pytest.mark.parametrize("rule", [Densest(), Central(), Quantile(0.1, 0.4)])
def test_a_checked_rule_keeps_its_band_and_warns_where_the_target_is_not(rule: IntervalRule) -> None:
    pool, target = faulty()
    budget = Budget() if rule.sets_own_size else Budget(rows=150)
    checked = EntropyInterval(rule=Checked(rule))
    assert checked.sets_own_size == rule.sets_own_size
    with warned(UserWarning, "generative_entropy", "Anchored"):
        picked = checked_select(checked, pool, target, budget, 0)
    np.testing.assert_array_equal(picked.rows, EntropyInterval(rule=rule).select(pool, None, budget, 0).rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        checked_select(checked, target, target, Budget() if rule.sets_own_size else Budget(rows=50), 0)
    assert EntropyInterval(rule=rule).requires_target == frozenset()


@pytest.mark.parametrize("selector", [EntropyInterval(rule=Anchored()), IGSE(["generative_entropy"], Checked())])
def test_a_target_that_is_missing_or_not_finite_is_refused(selector: EntropyInterval | IGSE) -> None:
    pool, target = faulty()
    with mistake(DataError, type(selector.rule).__name__, option="data.target"):
        selector.select(pool, None, Budget(rows=9), 0)
    target["generative_entropy"][3] = np.nan
    with mistake(DataError, 1, 100, "generative_entropy", rows=[3]):
        checked_select(selector, pool, target, Budget(rows=9), 0)
    with mistake(DataError, "Anchored", option="data.target"):
        band_of(Anchored(), np.ones(3), Budget(rows=1), np.arange(3).astype(np.uint64), np.ones(3, int))
