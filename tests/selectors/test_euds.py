"""Selection by entropies: the band of one, the box and the sum of several."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonargparse import ArgumentParser
from scipy.stats import rankdata, zscore

from selectune.common.errors import BadRowsError, BudgetError, ConcentratedScores, UserError
from selectune.selectors import (
    IGSE,
    Absolute,
    Budget,
    Central,
    Densest,
    EntropyInterval,
    IntervalRule,
    Picked,
    Quantile,
    Selector,
    Signals,
)
from selectune.selectors.ordering import ascending, mid_ranks, midpoint_rank, rank_quantiles, rounded
from tests.mistakes import mistake, warned
from tests.selectors import THREE, permuted, pool_of, rows_of

pytestmark = [
    pytest.mark.usefixtures("small_blocks"),
    pytest.mark.filterwarnings("ignore::selectune.common.errors.ConcentratedScores"),
]


def select(selector: Selector, pool: Signals, budget: Budget, seed: int = 0) -> Picked:
    return selector.select(pool, None, budget, seed)


def in_order(scores: np.ndarray, pool: Signals, seed: int) -> list[int]:
    keys = pool.tie_keys(seed)
    return sorted(range(pool.n_rows), key=lambda i: (scores[i], int(keys[i]), i))


def filling(order: list[int], budget: Budget, pool: Signals) -> list[int]:
    """Rows in order, up to and including the one that reaches the budget."""
    kept: list[int] = []
    for row in order:
        if len(kept) == budget.rows or pool["n_tokens"][kept].sum() >= (budget.tokens or np.inf):
            break
        kept.append(row)
    return sorted(kept)


def slow_box(pool: Signals, budget: Budget, seed: int) -> tuple[np.ndarray, list[int]]:
    """IGSE by box with the densest bands, from its definition: every run, scipy's ranks, one row at a time."""
    offsets = []
    for name in THREE:
        scores = np.round(pool[name], 9)
        order = in_order(scores, pool, seed)
        runs = []
        for start in range(len(order)):
            run = filling(order[start:], budget, pool)
            if len(run) == budget.rows or pool["n_tokens"][run].sum() >= (budget.tokens or np.inf):
                runs.append((scores[order[start]], scores[order[start + len(run) - 1]]))
        narrowest = min(high - low for low, high in runs)
        low, high = min(
            (run for run in runs if run[1] - run[0] <= narrowest + 1e-9),
            key=lambda run: (round(abs(run[0] + run[1] - 2 * np.median(scores)), 9), run[0]),
        )
        middle = (low + high) / 2
        centre = np.mean(scores < middle) + np.mean(np.isclose(scores, middle, atol=1e-12, rtol=0)) / 2
        offsets.append(np.abs((rankdata(scores) - 0.5) / pool.n_rows - centre))
    distance = np.round(np.max(offsets, axis=0), 9)
    return distance, filling(in_order(distance, pool, seed), budget, pool)


@pytest.mark.parametrize("budget", [Budget(rows=1), Budget(rows=19), Budget(rows=120), Budget(tokens=300)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_box_is_what_its_definition_gives(budget: Budget, seed: int) -> None:
    pool = pool_of(120, seed)
    distance, rows = slow_box(pool, budget, seed)
    picked = select(IGSE(), pool, budget, seed)
    assert picked.rows.tolist() == rows
    np.testing.assert_array_equal(picked.scores, distance)
    assert picked.diagnostics["half_width"] == distance[rows].max()
    edge = picked.diagnostics["edge_rows"] + picked.diagnostics["edge_rows_left_out"]
    assert edge == np.count_nonzero(distance == distance[rows].max())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 3)] * 3, st.integers(1, 3)), min_size=1, max_size=12), st.data())
def test_the_box_of_many_ties_is_what_its_definition_gives(rows: list[tuple[int, ...]], data: st.DataObject) -> None:
    table = np.array(rows)
    scores = {name: table[:, k] / 4 for k, name in enumerate(THREE)}
    pool = pool_of(len(rows), n_tokens=table[:, 3], **scores)
    choices = [Budget(rows=n) for n in range(1, len(rows) + 1)]
    choices += [Budget(tokens=n) for n in range(1, int(table[:, 3].sum()) + 1)]
    budget = data.draw(st.sampled_from(choices))
    assert select(IGSE(), pool, budget).rows.tolist() == slow_box(pool, budget, 0)[1]


@pytest.mark.parametrize("budget", [Budget(rows=40), Budget(tokens=500)])
@pytest.mark.parametrize("weights", [None, [1.0, -0.5, 2.0]])
def test_the_sum_is_a_band_of_weighted_z_scores(budget: Budget, weights: list[float] | None) -> None:
    pool = pool_of(150)
    total = sum(w * zscore(np.round(pool[name], 9)) for w, name in zip(weights or [1, 1, 1], THREE, strict=True))
    picked = select(IGSE(rule=Central(), combine="sum", weights=weights), pool, budget)
    np.testing.assert_allclose(picked.scores, total, atol=2e-9)
    np.testing.assert_array_equal(
        picked.rows, rows_of(Central(), picked.scores, budget, pool.tie_keys(0), pool["n_tokens"])
    )


def test_an_entropy_that_is_the_same_everywhere_adds_nothing_to_the_sum_and_warns() -> None:
    pool = pool_of(100, semantic_entropy=np.full(100, 0.3))
    with warned(ConcentratedScores, "semantic_entropy"):
        picked = select(IGSE(combine="sum"), pool, Budget(rows=30))
    without = select(IGSE(THREE[:2], combine="sum"), pool, Budget(rows=30))
    np.testing.assert_array_equal(picked.rows, without.rows)


@pytest.mark.parametrize("rule", [Densest(), Central(), Quantile(0.1, 0.4), Absolute(2.5, 3.5)])
def test_one_entropy_keeps_the_band_of_its_rule(rule: IntervalRule) -> None:
    pool = pool_of(200)
    budget = Budget() if rule.sets_own_size else Budget(rows=50)
    selector = EntropyInterval("semantic_entropy", rule)
    picked = select(selector, pool, budget)
    kept = rows_of(rule, pool["semantic_entropy"], budget, pool.tie_keys(0), pool["n_tokens"])
    np.testing.assert_array_equal(picked.rows, kept)
    np.testing.assert_array_equal(picked.scores, np.round(pool["semantic_entropy"], 9))
    assert selector.requires == {"semantic_entropy"}
    assert selector.sets_own_size == rule.sets_own_size
    band = picked.diagnostics["bands"]["semantic_entropy"]
    assert (band["low"], band["high"]) == (picked.scores[picked.rows].min(), picked.scores[picked.rows].max())


SELECTORS = [EntropyInterval(), EntropyInterval("information_entropy", Central()), IGSE(), IGSE(rule=Central())]
SELECTORS += [IGSE(combine="sum"), IGSE(["generative_entropy"])]


@pytest.mark.parametrize("budget", [Budget(rows=31), Budget(tokens=700)])
def test_the_box_is_that_of_the_ranks_however_far_apart_scores_lie(budget: Budget) -> None:
    pool = pool_of(200)
    near = IGSE().select(pool, None, budget, 0)
    for name in THREE:  # 2^20 times the scores, which are sorted in another way, have their ranks
        apart = Signals({**pool, name: np.ldexp(rounded(pool[name]), 20)})
        picked = IGSE().select(apart, None, budget, 0)
        np.testing.assert_array_equal(picked.rows, near.rows)
        np.testing.assert_array_equal(picked.scores, near.scores)


@pytest.mark.parametrize("selector", SELECTORS)
@pytest.mark.parametrize("budget", [Budget(rows=1), Budget(rows=48), Budget(rows=300), Budget(tokens=700)])
def test_a_selection_is_a_set_of_the_asked_size_and_moves_with_the_pool(selector: Selector, budget: Budget) -> None:
    pool = pool_of(300)
    picked = select(selector, pool, budget, seed=4)
    assert picked.rows.dtype == np.int64
    assert picked.rows.tolist() == sorted(set(picked.rows.tolist()) & set(range(300)))
    assert picked.scores.shape == (300,)
    if budget.rows is not None:
        assert len(picked.rows) == budget.rows
    else:
        assert pool["n_tokens"][picked.rows].sum() >= (budget.tokens or 0)
    json.dumps(picked.diagnostics, allow_nan=False)
    order = np.random.default_rng(8).permutation(300)
    again = select(selector, permuted(pool, order), budget, seed=4)
    assert sorted(order[again.rows].tolist()) == picked.rows.tolist()
    np.testing.assert_array_equal(again.scores, picked.scores[order])


def test_with_a_rule_that_sets_its_own_size_the_box_is_inside_all_bands() -> None:
    pool = pool_of(400)
    rule = Quantile(0.2, 0.8)
    picked = select(IGSE(rule=rule), pool, Budget())
    bands = [set(rows_of(rule, pool[name], Budget(), pool.tie_keys(0), pool["n_tokens"]).tolist()) for name in THREE]
    assert set(picked.rows.tolist()) == bands[0] & bands[1] & bands[2]
    assert picked.scores.tolist() == [sum(i not in band for band in bands) for i in range(400)]
    assert IGSE(rule=rule).sets_own_size
    with mistake(BudgetError, rule, option="data.keep"):
        select(IGSE(rule=rule), pool, Budget(rows=3))
    apart = pool_of(2, **{name: np.array([k % 2, 1 - k % 2]) * 1.0 for k, name in enumerate(THREE)})
    with mistake(BudgetError, *THREE):
        select(IGSE(rule=Absolute(0.5, 1.5)), apart, Budget())


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12), st.integers(-7, 7))
def test_a_rank_quantile_is_the_share_below_and_half_of_the_equal(steps: list[int], doubled: int) -> None:
    scores = np.array(steps) * 0.1
    share = sum((2 * s < doubled) + (2 * s == doubled) / 2 for s in steps) / len(steps)
    assert rank_quantiles(scores, np.array(doubled * 0.1)) == pytest.approx(share, abs=1e-12)
    ordered, order = ascending(rounded(scores))
    assert midpoint_rank(ordered, doubled * 0.1, 0.0) == round(2 * len(steps) * share)
    ranks = 2 * rankdata(steps) - 1
    np.testing.assert_allclose(rank_quantiles(scores, 2 * scores), ranks / (2 * len(steps)))
    np.testing.assert_array_equal(mid_ranks(ordered, order), ranks)


def test_concentrated_entropies_warn_by_name() -> None:
    pool = pool_of(500)
    with warned(ConcentratedScores, "information_entropy"):
        select(EntropyInterval("information_entropy"), pool, Budget(rows=80))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        picked = select(IGSE(), pool, Budget(rows=80))
    assert ["information_entropy" in str(warning.message) for warning in caught] == [True]
    bands = picked.diagnostics["bands"]
    assert bands["information_entropy"]["tied_share"] > 0.1
    assert bands["generative_entropy"]["tied_rows"] == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        select(EntropyInterval("generative_entropy"), pool, Budget(rows=80))


@pytest.mark.parametrize("selector", [EntropyInterval(), IGSE(), IGSE(combine="sum")])
def test_scores_that_are_not_finite_are_refused_by_name(selector: Selector) -> None:
    scores = np.ones(20)
    scores[7] = np.nan
    with mistake(BadRowsError, 1, 20, "generative_entropy", rows=[7]):
        select(selector, pool_of(20, generative_entropy=scores), Budget(rows=3))
    with mistake(BudgetError, 21, 20):
        select(selector, pool_of(20), Budget(rows=21))


@pytest.mark.parametrize(
    "arguments",
    [
        {"entropies": []},
        {"entropies": ["a", "a"]},
        {"combine": "product"},
        {"weights": [1.0, 1.0, 1.0]},
        {"combine": "sum", "weights": [1.0]},
        {"combine": "sum", "weights": [1.0, np.nan, 1.0]},
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments: dict[str, Any]) -> None:
    with mistake(UserError, "IGSE"):
        IGSE(**arguments)


def test_a_config_can_name_the_selector_and_its_rule() -> None:
    parser = ArgumentParser()
    parser.add_argument("--selector", type=Selector)
    for yaml, expected in [
        ("{class_path: IGSE, init_args: {combine: box}}", IGSE()),
        ("{class_path: IGSE, init_args: {combine: sum, weights: [1, 2], entropies: [a, b]}}", None),
        (
            "{class_path: EntropyInterval, init_args: {rule: {class_path: Quantile, init_args: {low: 0.2, high: 1}}}}",
            EntropyInterval(rule=Quantile(0.2, 1.0)),
        ),
    ]:
        config = parser.parse_args([f"--selector={yaml}"])
        selector = parser.instantiate(config).selector
        replayed = parser.instantiate(parser.parse_string(parser.dump(config))).selector
        assert vars(selector) == vars(replayed) == vars(expected or IGSE(["a", "b"], combine="sum", weights=[1, 2]))
