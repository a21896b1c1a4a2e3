"""Laws of the bands that a search tries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonargparse import ArgumentParser

from selectune.common.errors import BudgetError, UserError
from selectune.selectors import IGSE, Budget, EntropyInterval, IntervalRule, Placed, Proxy, Search
from selectune.selectors.ordering import ranked
from tests.mistakes import mistake
from tests.selectors import permuted, pool_of, rows_of

TOKENS = st.lists(st.integers(0, 4), min_size=1, max_size=12).filter(any)
POSITIONS = st.sampled_from([0.0, 0.1, 0.25, 0.5, 2 / 3, 1.0])


@given(TOKENS, POSITIONS, st.data())
def test_a_placed_band_is_the_shortest_run_from_its_start(tokens: list[int], at: float, data: st.DataObject) -> None:
    budgets = [Budget(rows=n + 1) for n in range(len(tokens))] + [Budget(tokens=n + 1) for n in range(sum(tokens))]
    budget = data.draw(st.sampled_from(budgets))
    sizes = tokens if budget.rows is None else [1] * len(tokens)
    needed = budget.tokens or budget.rows or 0
    starts = [start for start in range(len(sizes)) if sum(sizes[start:]) >= needed]
    start = int(at * starts[-1] + 0.5)
    expected = list(range(start, len(sizes)))
    while sum(sizes[i] for i in expected[:-1]) >= needed:
        expected.pop()
    scores = np.arange(len(tokens)) * 1.0
    found = rows_of(Placed(at), scores, budget, np.zeros(len(tokens), np.uint64), np.array(tokens))
    assert found.tolist() == expected


def test_candidates_go_from_the_lowest_to_the_highest_band() -> None:
    pool = pool_of(101)
    order = ranked(pool["generative_entropy"], pool.tie_keys(0))
    placed = Search(bands=5).candidates()
    assert [rule.position for rule in placed] == [0, 0.25, 0.5, 0.75, 1]
    kept = [EntropyInterval(rule=rule).select(pool, None, Budget(rows=21), 0).rows for rule in placed]
    for rows, start in zip(kept, [0, 20, 40, 60, 80], strict=True):
        assert rows.tolist() == sorted(order[start : start + 21].tolist())


@pytest.mark.filterwarnings("ignore::selectune.common.errors.ConcentratedScores")
@pytest.mark.parametrize("budget", [Budget(rows=77), Budget(tokens=500)])
def test_permuting_the_pool_permutes_a_placed_band(budget: Budget) -> None:
    pool, order = pool_of(300), np.random.default_rng(3).permutation(300)
    for rule in Search(bands=3).candidates():
        selector = EntropyInterval("information_entropy", rule)  # of few values, so ties decide
        kept = selector.select(pool, None, budget, 1).rows
        again = selector.select(permuted(pool, order), None, budget, 1).rows
        assert sorted(order[again].tolist()) == kept.tolist()


@pytest.mark.parametrize(
    "selector", [EntropyInterval(rule=Search()), IGSE(rule=Search()), IGSE(rule=Search(), combine="sum")]
)
def test_a_search_is_refused_where_nothing_can_train(selector: EntropyInterval | IGSE) -> None:
    assert not selector.sets_own_size
    with mistake(UserError, "Search", "candidates()"):
        selector.select(pool_of(30), None, Budget(rows=3), 0)


def test_settings_that_make_no_search_are_refused() -> None:
    with mistake(UserError, 1, option="Search's bands"):
        Search(bands=1)
    for position in (-0.1, 1.1, float("nan")):
        with mistake(BudgetError, "Placed", "0 <= position <= 1"):
            Placed(position)


def test_a_config_can_name_the_search_and_its_proxy() -> None:
    parser = ArgumentParser()
    parser.add_argument("--rule", type=IntervalRule)
    for yaml, expected in [
        ("Search", Search()),
        ("{class_path: Search, init_args: {bands: 3, proxy: {max_steps: 9}}}", Search(3, Proxy(max_steps=9))),
        ("{class_path: Placed, init_args: {position: 0.3}}", Placed(0.3)),
    ]:
        config = parser.parse_args([f"--rule={yaml}"])
        assert parser.instantiate(config).rule == expected
        assert parser.instantiate(parser.parse_string(parser.dump(config))).rule == expected
