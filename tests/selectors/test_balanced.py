"""Laws of rows by class."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonargparse import ArgumentParser

from selectune.common.errors import BadRowsError, BudgetError, DataError, UserError
from selectune.selectors import Balanced, Budget, Chain, Deduplicate, EntropyInterval, Random, Selector, TopK
from selectune.selectors.balanced import quotas_of
from selectune.selectors.checking import checked_select
from tests.mistakes import mistake, warned
from tests.selectors import permuted, pool_of

COUNTS = [100, 60, 30, 10]
LABELS = np.random.default_rng(5).permutation(np.repeat(np.arange(4), COUNTS))
POOL = pool_of(200, label=LABELS)


def rows_of_class(selector: Selector, budget: Budget) -> list[int]:
    picked = checked_select(selector, POOL, None, budget, 0)
    assert picked.diagnostics["rows_of_class"] == np.bincount(LABELS[picked.rows], minlength=4).tolist()
    return picked.diagnostics["rows_of_class"]


def test_classes_get_the_same_number_of_rows() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert rows_of_class(Balanced(), Budget(rows=40)) == [10, 10, 10, 10]
        assert sorted(rows_of_class(Balanced(), Budget(rows=21))) == [5, 5, 5, 6]
        assert rows_of_class(Balanced(), Budget(rows=200)) == COUNTS


def test_what_a_class_lacks_goes_to_the_others_and_is_told() -> None:
    with warned(UserWarning, "Balanced", 1, 4):
        assert rows_of_class(Balanced(), Budget(rows=100)) == [30, 30, 30, 10]
    with warned(UserWarning, 2, 4):
        assert rows_of_class(Balanced(), Budget(rows=160)) == [60, 60, 30, 10]


def test_shares_may_be_given_or_be_those_of_the_pool() -> None:
    assert rows_of_class(Balanced("train"), Budget(rows=20)) == [10, 6, 3, 1]
    assert rows_of_class(Balanced([2, 1, 1, 0]), Budget(rows=40)) == [20, 10, 10, 0]
    with warned(UserWarning, 1, 4):
        assert rows_of_class(Balanced([0, 0, 1, 0]), Budget(rows=33)) == [1, 1, 30, 1]


def test_a_budget_in_tokens_is_shared_out_in_tokens() -> None:
    picked = checked_select(Balanced(), POOL, None, Budget(tokens=400), 0)
    tokens = np.bincount(LABELS[picked.rows], weights=POOL["n_tokens"][picked.rows])
    assert (np.abs(tokens - 100) <= 29).all()


def test_another_selector_selects_within_each_class() -> None:
    picked = Balanced(within=TopK("generative_entropy")).select(POOL, None, Budget(rows=20), 0)
    for number in range(4):
        members = np.flatnonzero(number == LABELS)
        best = members[np.argsort(-POOL["generative_entropy"][members])[:5]]
        assert set(best) == set(picked.rows[LABELS[picked.rows] == number])
    inner = EntropyInterval("semantic_entropy")
    assert Balanced(within=inner).requires == inner.requires
    assert set(Balanced(within=inner).select(POOL, None, Budget(rows=8), 0).diagnostics["within"]) == set("0123")


@pytest.mark.parametrize("selector", [Balanced(), Balanced("train"), Balanced(within=TopK("n_tokens"))])
@pytest.mark.parametrize("budget", [Budget(rows=1), Budget(rows=39), Budget(tokens=700)])
def test_permuting_the_pool_permutes_the_selection(selector: Balanced, budget: Budget) -> None:
    order = np.random.default_rng(8).permutation(200)
    picked, again = (checked_select(selector, pool, None, budget, 4) for pool in (POOL, permuted(POOL, order)))
    assert sorted(order[again.rows].tolist()) == picked.rows.tolist()
    np.testing.assert_array_equal(again.scores, picked.scores[order])


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 50), st.floats(0, 1)), min_size=1, max_size=12), st.floats(0, 1))
def test_quotas_fill_the_budget_and_no_class_overflows(classes: list[tuple[int, float]], keep: float) -> None:
    held, shares = (np.array(values) for values in zip(*classes, strict=True))
    asked = int(keep * held.sum())
    shares = shares / shares.sum() if shares.sum() > 0 else np.full(len(held), 1 / len(held))
    quotas = quotas_of(shares, held, asked)
    assert quotas.sum() == asked
    assert ((quotas >= 0) & (quotas <= held)).all()
    open_, sized = quotas < held, shares > 1e-6
    if (open_ & sized).sum() > 1:  # those that are not exhausted get theirs in proportion, to a row
        each = quotas[open_ & sized] / shares[open_ & sized]
        slack = 1 / shares[open_ & sized].min()
        assert each.max() - each.min() <= 2 * slack + 1e-6


def test_many_classes_of_one_row_or_none() -> None:
    labels = np.concatenate([np.arange(0, 60, 2), np.full(70, 61)])
    pool = pool_of(100, label=labels)
    with warned(UserWarning):
        picked = checked_select(Balanced(), pool, None, Budget(rows=64), 0)
    assert np.bincount(labels[picked.rows], minlength=62)[np.arange(0, 60, 2)].tolist() == [1] * 30
    assert picked.diagnostics["exhausted_classes"] == np.arange(0, 60, 2).tolist()


def test_bad_input_is_refused() -> None:
    with mistake(DataError, "Balanced", option="data.selector"):
        Balanced().select(pool_of(20), None, Budget(rows=3), 0)
    with mistake(BadRowsError, 1, 20, 7, rows=[7]):
        Balanced().select(pool_of(20, label=np.where(np.arange(20) == 7, -1, 0)), None, Budget(rows=3), 0)
    with mistake(BudgetError, "Balanced"):
        Balanced().select(POOL, None, Budget(), 0)
    with mistake(UserError, 3, 4, option="Balanced's prior"):
        Balanced([1, 1, 1]).select(POOL, None, Budget(rows=3), 0)
    for prior in ([], [0, 0], [-1, 2], [float("nan")]):
        with mistake(UserError, option="Balanced's prior"):
            Balanced(prior)
    with mistake(UserError, "even"):
        Balanced("even")  # type: ignore[arg-type]
    with mistake(UserError, "Deduplicate", option="Balanced's within"):
        Balanced(within=Deduplicate())


def test_a_config_can_name_it_behind_filters() -> None:
    parser = ArgumentParser()
    parser.add_argument("--selector", type=Selector)
    balanced = "{class_path: Balanced, init_args: {prior: [0.2, 0.8], within: Random}}"
    yaml = f"{{class_path: Chain, init_args: {{filters: [Deduplicate, LabelIssues], selector: {balanced}}}}}"
    config = parser.parse_args([f"--selector={yaml}"])
    for chain in (parser.instantiate(c).selector for c in (config, parser.parse_string(parser.dump(config)))):
        assert type(chain) is Chain
        assert type(chain.selector.selector.within) is Random
        assert chain.selector.selector.prior == [0.2, 0.8]
