"""Laws of filters, and of the one that drops copies by meaning."""

from __future__ import annotations

import json

import numpy as np
import pytest

from selectune.common.errors import BadRowsError, BudgetError, UserError
from selectune.selectors import (
    Balanced,
    Budget,
    Chain,
    Deduplicate,
    Filter,
    LabelIssues,
    Picked,
    Random,
    SemanticDuplicates,
    Signals,
)
from selectune.selectors.checking import checked_select
from tests.mistakes import mistake, warned
from tests.selectors import permuted, pool_of


def with_copies(noise: float = 0.02, n_rows: int = 90) -> Signals:
    """A third of the rows are originals, and the rest two noisy copies of each."""
    random = np.random.default_rng(0)
    originals = random.normal(size=(n_rows // 3, 12))
    rows = np.concatenate([originals, *(originals + noise * random.normal(size=originals.shape) for _ in range(2))])
    return pool_of(n_rows, embedding=rows, label=np.tile(np.arange(n_rows // 3) % 3, 3))


def test_one_row_of_each_group_is_kept() -> None:
    pool = with_copies()
    picked = checked_select(SemanticDuplicates(), pool, None, Budget(), 0)
    assert sorted(picked.rows % 30) == list(range(30))
    assert (picked.scores > 0.95).all()
    assert picked.diagnostics["duplicates"] == 60
    assert picked.diagnostics["groups"] == 30
    assert picked.diagnostics["largest_group"] == 3
    assert picked.diagnostics["groups_of_mixed_labels"] == {"groups": 0, "row_ids": []}
    json.dumps(picked.diagnostics)


def test_the_most_typical_row_is_kept() -> None:
    """The original lies between its copies, so it is nearest to the mean."""
    random = np.random.default_rng(1)
    originals = random.normal(size=(30, 12))
    shift = 0.1 * random.normal(size=originals.shape)
    pool = pool_of(90, embedding=np.concatenate([originals + shift, originals, originals - shift]))
    assert SemanticDuplicates(0.9).select(pool, None, Budget(), 0).rows.tolist() == list(range(30, 60))


def test_rows_that_are_not_alike_all_stay() -> None:
    pool = pool_of(60, embedding=np.random.default_rng(0).normal(size=(60, 30)))
    picked = SemanticDuplicates().select(pool, None, Budget(), 0)
    assert picked.rows.tolist() == list(range(60))
    assert picked.diagnostics["groups"] == 0


def test_more_copies_of_a_text_than_neighbours_are_one_group() -> None:
    pool = with_copies()
    arrays = dict(pool) | {"text_hash": pool["text_hash"] // 2}
    many = {name: np.concatenate([np.repeat(values[:1], 40, axis=0), values]) for name, values in arrays.items()}
    picked = SemanticDuplicates().select(Signals(many), None, Budget(), 0)
    assert len(picked.rows) == 30
    assert picked.diagnostics["largest_group"] == 43


def test_groups_that_mix_labels_are_reported_by_their_ids_in_the_whole_pool() -> None:
    pool = with_copies()
    pool["label"][[4, 61]] += 5
    part = pool.take(np.arange(1, 90))
    with warned(UserWarning, "SemanticDuplicates", 2, "1, 31, 61"):
        mixed = SemanticDuplicates().select(part, None, Budget(), 0).diagnostics["groups_of_mixed_labels"]
    assert mixed == {"groups": 2, "row_ids": [[1, 31, 61], [4, 34, 64]]}


def test_permuting_the_pool_permutes_the_selection() -> None:
    pool, order = with_copies(0.2), np.random.default_rng(3).permutation(90)
    picked, again = (SemanticDuplicates().select(each, None, Budget(), 0) for each in (pool, permuted(pool, order)))
    assert 30 < len(picked.rows) < 90
    assert sorted(order[again.rows].tolist()) == picked.rows.tolist()
    np.testing.assert_array_equal(again.scores, picked.scores[order])


def test_bad_input_is_refused() -> None:
    for similarity in (0.0, 1.5, float("nan")):
        with mistake(UserError, similarity):
            SemanticDuplicates(similarity)
    pool = with_copies()
    pool["embedding"][8] = np.nan
    with mistake(BadRowsError, 1, 90, rows=[8]):
        SemanticDuplicates().select(pool, None, Budget(), 0)


@pytest.mark.parametrize("one", [Deduplicate(), SemanticDuplicates(), LabelIssues()])
def test_a_filter_takes_no_budget(one: Filter) -> None:
    assert one.sets_own_size
    with mistake(BudgetError, type(one).__name__, option="data.keep"):
        one.select(with_copies(), None, Budget(rows=3), 0)


class Shorter(Filter):
    """Drops rows of more tokens than so many."""

    def __init__(self, most: int) -> None:
        self.most = most

    def kept(self, pool: Signals, target: Signals | None, seed: int) -> Picked:
        return Picked(np.flatnonzero(pool["n_tokens"] <= self.most), pool["n_tokens"].astype(float))


def test_several_filters_are_a_chain_of_chains() -> None:
    pool, filters = with_copies(), [Deduplicate(near=False), SemanticDuplicates(), Shorter(20)]
    listed = Chain(filters=filters, selector=Balanced())
    nested = Chain(filters[0], Chain(filters[1], Chain(filters[2], Balanced())))
    picked, same = (checked_select(chain, pool, None, Budget(rows=9), 0) for chain in (listed, nested))
    assert picked.rows.tolist() == same.rows.tolist()
    assert picked.diagnostics == same.diagnostics
    assert listed.requires == nested.requires == {"embedding"}
    assert (pool["n_tokens"][picked.rows] <= 20).all()
    assert np.bincount(pool["label"][picked.rows]).tolist() == [3, 3, 3]


def test_a_chain_needs_something_to_narrow_the_pool_and_a_selector() -> None:
    with mistake(UserError, "Chain", option="Chain's prefilter"):
        Chain(selector=Random())
    with mistake(UserError, "Chain", option="Chain's prefilter"):
        Chain(Deduplicate(), Random(), filters=[SemanticDuplicates()])
    with mistake(UserError, "Chain", option="Chain's selector"):
        Chain(Deduplicate())
    with mistake(UserError, "Deduplicate", option="Chain's prefilter_keep"):
        Chain(filters=[Deduplicate()], selector=Random(), prefilter_keep=0.5)
    with mistake(BudgetError, "Shorter"):
        Chain(filters=[Shorter(2)], selector=Random()).select(with_copies(), None, Budget(rows=80), 0)
