"""Laws of the baselines."""

from __future__ import annotations

import numpy as np

from selectune.common.errors import BudgetError, UserError
from selectune.selectors import Budget, Picked, Random
from tests.mistakes import mistake
from tests.selectors import permuted, pool_of


def random_rows(n_rows: int, budget: Budget, seed: int = 0) -> Picked:
    return Random().select(pool_of(n_rows), None, budget, seed)


def test_random_meets_its_budget_with_rows_of_the_pool() -> None:
    for keep in (1, 37, 200):
        rows = random_rows(200, Budget(rows=keep)).rows
        assert rows.dtype == np.int64
        assert rows.tolist() == sorted(set(rows.tolist()) & set(range(200)))
        assert len(rows) == keep
    pool = pool_of(200)
    picked = Random().select(pool, None, Budget(tokens=500), 0)
    order = picked.rows[np.argsort(picked.scores[picked.rows])]
    assert pool["n_tokens"][order[:-1]].sum() < 500 <= pool["n_tokens"][order].sum()
    for budget in (Budget(), Budget(rows=201)):
        with mistake(BudgetError):
            random_rows(200, budget)


def test_random_keeps_the_smallest_scores_so_a_smaller_budget_keeps_a_subset() -> None:
    small, large = random_rows(300, Budget(rows=40)), random_rows(300, Budget(rows=90))
    np.testing.assert_array_equal(small.rows, np.sort(np.argsort(small.scores)[:40]))
    assert set(small.rows) < set(large.rows)
    assert ((small.scores >= 0) & (small.scores < 1)).all()


def test_permuting_the_pool_permutes_what_random_keeps() -> None:
    pool, order = pool_of(300), np.random.default_rng(1).permutation(300)
    kept = Random().select(pool, None, Budget(rows=70), 3)
    again = Random().select(permuted(pool, order), None, Budget(rows=70), 3)
    assert sorted(order[again.rows].tolist()) == kept.rows.tolist()
    np.testing.assert_array_equal(again.scores, kept.scores[order])


def test_each_row_is_kept_as_often_as_the_budget_says() -> None:
    pool = pool_of(50)
    kept = np.zeros(50)
    for seed in range(400):
        kept[Random().select(pool, None, Budget(rows=10), seed).rows] += 1
    assert kept.sum() == 4000
    # 400 draws at 1/5: mean 80, standard deviation 8; five of those leave room for 50 rows.
    assert 40 < kept.min() <= kept.max() < 120
    assert np.abs(np.mean(random_rows(5000, Budget(rows=1)).scores) - 0.5) < 0.02


def test_rows_of_one_text_stand_together_by_row_id() -> None:
    pool = pool_of(6, text_hash=np.array([5, 9, 5, 9, 5, 9], dtype=np.uint64))
    kept = [Random().select(pool, None, Budget(rows=n), 0).rows.tolist() for n in range(1, 7)]
    first = [0, 2, 4] if kept[0] == [0] else [1, 3, 5]
    assert kept[:3] == [first[:1], first[:2], first]
    assert kept[5] == [0, 1, 2, 3, 4, 5]


def test_arguments_that_match_nothing_are_refused() -> None:
    with mistake(UserError, "cost", option="Random's match"):
        Random(by="cost")
    with mistake(UserError, "flops", option="Random's by"):
        Random("runs/a", by="flops")  # type: ignore[arg-type]
