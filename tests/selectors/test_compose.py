"""Laws of a chain of selectors."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from jsonargparse import ArgumentParser

from selectune.common.errors import BudgetError, DataError, SelectionError, UserError
from selectune.selectors import (
    IGSE,
    Absolute,
    Budget,
    Chain,
    Deduplicate,
    EntropyInterval,
    KCenter,
    Nearest,
    Picked,
    Prototypes,
    Quantile,
    Random,
    Selector,
    Signals,
    TopK,
)
from tests.mistakes import mistake
from tests.selectors import permuted, pool_of

pytestmark = pytest.mark.filterwarnings("ignore::selectune.common.errors.ConcentratedScores")

MIDDLE = EntropyInterval("semantic_entropy")
CHAINS = [
    Chain(TopK("n_tokens"), MIDDLE, 0.5),
    Chain(EntropyInterval("information_entropy", Quantile(0.2, 0.9)), IGSE()),
    Chain(Deduplicate(near=False), Random()),
    Chain(Chain(Deduplicate(near=False), TopK("n_tokens")), Chain(MIDDLE, TopK("generative_entropy"), 0.8), 0.6),
]


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("budget", [Budget(rows=1), Budget(rows=60), Budget(tokens=500)])
def test_a_selection_is_a_set_of_the_asked_size_and_moves_with_the_pool(chain: Chain, budget: Budget) -> None:
    pool = pool_of(200)
    picked = chain.select(pool, None, budget, 4)
    assert picked.rows.dtype == np.int64
    assert picked.rows.tolist() == sorted(set(picked.rows.tolist()) & set(range(200)))
    if budget.rows is not None:
        assert len(picked.rows) == budget.rows
    else:
        assert pool["n_tokens"][picked.rows].sum() >= (budget.tokens or 0)
    json.dumps(picked.diagnostics, allow_nan=False)
    order = np.random.default_rng(8).permutation(200)
    again = chain.select(permuted(pool, order), None, budget, 4)
    assert sorted(order[again.rows].tolist()) == picked.rows.tolist()
    np.testing.assert_array_equal(again.scores, picked.scores[order])


def test_the_second_chooses_among_what_the_first_leaves() -> None:
    pool = pool_of(200)
    first = TopK("n_tokens").select(pool, None, Budget(rows=100), 0).rows
    left = Signals({name: values[first] for name, values in pool.items()})
    second = MIDDLE.select(left, None, Budget(rows=30), 0)
    picked = Chain(TopK("n_tokens"), MIDDLE, 0.5).select(pool, None, Budget(rows=30), 0)
    assert picked.rows.tolist() == first[second.rows].tolist()
    np.testing.assert_array_equal(picked.scores[first], second.scores)
    assert np.isnan(np.delete(picked.scores, first)).all()
    assert picked.diagnostics == {"prefilter": {"rows": 100}, "selector": second.diagnostics}


def test_arithmetic_of_both_is_added_up() -> None:
    embedding = np.random.default_rng(0).normal(size=(200, 6))
    pool = pool_of(200, embedding=embedding)
    picked = Chain(KCenter(), KCenter(), prefilter_keep=0.5).select(pool, None, Budget(rows=10), 0)
    assert picked.flops == 2 * 6 * (200 * 101 + 100 * 11) + 6 * (200 + 100)
    assert picked.flops_method
    assert Chain(TopK("n_tokens"), TopK("n_tokens"), 0.5).select(pool, None, Budget(rows=10), 0).flops == 0


def test_a_prefilter_that_leaves_all_changes_nothing() -> None:
    pool = pool_of(80)
    alone, chained = (s.select(pool, None, Budget(rows=20), 1) for s in (IGSE(), Chain(Random(), IGSE(), 1.0)))
    np.testing.assert_array_equal(chained.rows, alone.rows)
    np.testing.assert_array_equal(chained.scores, alone.scores)


def test_it_needs_what_both_need_and_is_sized_by_the_last() -> None:
    chain = Chain(KCenter(), Chain(Nearest(), EntropyInterval(rule=Absolute(0, 9)), 0.5), 0.5)
    assert chain.requires == {"embedding", "generative_entropy"}
    assert chain.requires_target == {"embedding"}
    assert chain.sets_own_size
    assert not Chain(Deduplicate(), Random()).sets_own_size
    picked = Chain(TopK("n_tokens"), Random(), 0.5).select(pool_of(41), None, Budget(rows=5), 0)
    assert picked.diagnostics["prefilter"] == {"rows": 21}
    target = pool_of(3, embedding=np.eye(3))
    pool = pool_of(40, embedding=np.random.default_rng(0).normal(size=(40, 3)), generative_entropy=np.ones(40))
    assert len(chain.select(pool, target, Budget(), 0).rows) == 10


@pytest.mark.parametrize("budget", [Budget(rows=51), Budget(tokens=10**5)])
def test_a_budget_over_what_is_left_is_refused(budget: Budget) -> None:
    with mistake(BudgetError, "TopK", option="Chain's prefilter_keep"):
        Chain(TopK("n_tokens"), Random(), 0.5).select(pool_of(100), None, budget, 0)
    assert len(Chain(TopK("n_tokens"), Random(), 0.5).select(pool_of(100), None, Budget(rows=50), 0).rows) == 50


class Reporting(TopK):
    """Reports the row that it ranks first."""

    def select(self, pool: Signals, target: Signals | None, budget: Budget, seed: int) -> Picked:
        picked = super().select(pool, target, budget, seed)
        return replace(picked, diagnostics={"first": int(pool.row_ids[picked.scores.argmax()])})


def test_a_link_reports_rows_by_their_ids_in_the_whole_pool() -> None:
    pool, link = pool_of(200), Reporting("generative_entropy")
    for chain in (Chain(TopK("n_tokens"), link, 0.5), Chain(TopK("n_tokens"), Chain(Random(), link, 0.9), 0.5)):
        picked = chain.select(pool, None, Budget(rows=1), 0)
        described = picked.diagnostics["selector"]
        assert described.get("selector", described) == {"first": picked.rows[0]}


@pytest.mark.parametrize("link", [TopK("generative_entropy"), IGSE(), EntropyInterval(), KCenter(), Prototypes()])
def test_a_link_that_fails_names_rows_by_their_ids_in_the_whole_pool(link: Selector) -> None:
    shortest = TopK("n_tokens", largest=False)
    bad = shortest.select(pool_of(200), None, Budget(rows=90), 0).rows[[20, 50, 80]]
    embedding = np.random.default_rng(0).normal(size=(200, 4))
    embedding[bad] = 0.0
    pool = pool_of(200, embedding=embedding)
    pool["generative_entropy"][bad] = np.nan
    for chain in (Chain(shortest, link, 0.5), Chain(shortest, Chain(shortest, link, 0.9), 0.5)):
        with mistake(DataError, rows=bad.tolist()):
            chain.select(pool, None, Budget(rows=10), 0)


def test_a_link_that_fails_on_a_target_names_its_rows() -> None:
    random = np.random.default_rng(0)
    pool, target = (pool_of(n, embedding=random.normal(size=(n, 4))) for n in (200, 9))
    target["embedding"][2] = 0.0
    with mistake(DataError, "target", rows=[2]):
        Chain(TopK("n_tokens"), Nearest(), 0.5).select(pool, target, Budget(rows=10), 0)


def test_a_link_whose_answer_is_wrong_names_rows_by_their_ids_in_the_whole_pool() -> None:
    class Unscored(TopK):
        def select(self, pool: Signals, target: Signals | None, budget: Budget, seed: int) -> Picked:
            picked = super().select(pool, target, budget, seed)
            return replace(picked, scores=np.where(np.arange(pool.n_rows) == 7, np.nan, 0.0))

    pool = pool_of(200)
    first = TopK("n_tokens").select(pool, None, Budget(rows=100), 0).rows
    with mistake(SelectionError, "Unscored", rows=[first[7]]):
        Chain(TopK("n_tokens"), Unscored("n_tokens"), 0.5).select(pool, None, Budget(rows=10), 0)


def test_a_prefilter_must_be_told_how_much_it_leaves_unless_it_knows() -> None:
    with mistake(UserError, "TopK", "0.5", option="Chain's prefilter_keep"):
        Chain(TopK("n_tokens"), Random())
    with mistake(UserError, "Deduplicate", option="Chain's prefilter_keep"):
        Chain(Deduplicate(), Random(), 0.5)
    for share in (0.0, 1.1, float("nan")):
        with mistake(BudgetError, share, option="Chain's prefilter_keep"):
            Chain(TopK("n_tokens"), Random(), share)


def test_a_config_can_name_a_chain() -> None:
    parser = ArgumentParser()
    parser.add_argument("--selector", type=Selector)
    inner = "{class_path: TopK, init_args: {signal: n_tokens, largest: false}}"
    yaml = f"{{class_path: Chain, init_args: {{prefilter: {inner}, selector: IGSE, prefilter_keep: 0.5}}}}"
    config = parser.parse_args([f"--selector={yaml}"])
    for chain in (parser.instantiate(c).selector for c in (config, parser.parse_string(parser.dump(config)))):
        assert vars(chain.prefilter) == {"signal": "n_tokens", "largest": False}
        assert (type(chain.selector), chain.prefilter_keep) == (IGSE, 0.5)
