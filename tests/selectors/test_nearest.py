"""Laws of the rows nearest to a target, against a slow loop."""

from __future__ import annotations

import numpy as np
import pytest

from selectune.common.errors import BadRowsError, BudgetError, DataError
from selectune.selectors import Budget, Nearest, Signals, nearest
from tests.mistakes import mistake
from tests.selectors import permuted, pool_of


def embedded(n_rows: int, seed: int, copies: int = 1) -> Signals:
    rows = np.random.default_rng(seed).normal(size=(-(-n_rows // copies), 6))
    return pool_of(n_rows, seed, embedding=np.repeat(rows, copies, axis=0)[:n_rows].astype(np.float16))


def unit(signals: Signals) -> np.ndarray:
    rows = signals["embedding"].astype(np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def slow_round_robin(pool: Signals, target: Signals, budget: Budget, seed: int) -> list[int]:
    cosines = unit(target) @ unit(pool).T
    keys, turns = pool.tie_keys(seed), np.argsort(target.tie_keys(seed), kind="stable")
    taken: list[int] = []
    while True:
        for turn in turns:
            if len(taken) == budget.rows or pool["n_tokens"][taken].sum() >= (budget.tokens or np.inf):
                return sorted(taken)
            left = sorted(set(range(pool.n_rows)) - set(taken))
            taken.append(min(left, key=lambda i: (-round(float(cosines[turn, i]), 9), int(keys[i]))))


@pytest.mark.parametrize("budget", [Budget(rows=1), Budget(rows=30), Budget(rows=90), Budget(tokens=500)])
@pytest.mark.parametrize("target_rows", [1, 7, 120])
@pytest.mark.parametrize("copies", [1, 4])
def test_it_is_the_slow_round_robin(budget: Budget, target_rows: int, copies: int) -> None:
    pool, target = embedded(90, 1, copies), embedded(target_rows, 2, copies)
    picked = Nearest().select(pool, target, budget, 3)
    assert picked.rows.tolist() == slow_round_robin(pool, target, budget, 3)
    assert picked.rows.dtype == np.int64
    np.testing.assert_allclose(picked.scores, (unit(target) @ unit(pool).T).max(axis=0), atol=1e-9)


def test_blocks_and_running_out_of_candidates_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, target = embedded(90, 1), embedded(12, 2)
    target["embedding"][:] = target["embedding"][0] + 0.01 * target["embedding"]  # all want the same rows
    expected = slow_round_robin(pool, target, Budget(rows=80), 0)
    passes: list[int] = []
    search = nearest._Search._nearest
    monkeypatch.setattr(nearest._Search, "_nearest", lambda self, *given: passes.append(1) or search(self, *given))
    monkeypatch.setattr(nearest, "ROWS_AT_ONCE", 7)
    for at_once in (2**24, 1):
        monkeypatch.setattr(nearest, "CANDIDATES_AT_ONCE", at_once)
        passes.clear()
        assert Nearest().select(pool, target, Budget(rows=80), 0).rows.tolist() == expected
        assert len(passes) > 1


@pytest.mark.parametrize("budget", [Budget(rows=40), Budget(tokens=300)])
def test_permuting_the_pool_or_the_target_permutes_the_selection(budget: Budget) -> None:
    pool, target = embedded(90, 1, copies=2), embedded(20, 2, copies=2)
    kept = Nearest().select(pool, target, budget, 0).rows
    order = np.random.default_rng(0).permutation(90)
    again = Nearest().select(permuted(pool, order), target, budget, 0).rows
    assert sorted(order[again].tolist()) == kept.tolist()
    turned = permuted(target, np.random.default_rng(1).permutation(20))
    assert Nearest().select(pool, turned, budget, 0).rows.tolist() == kept.tolist()


def test_each_row_of_the_target_gets_its_share() -> None:
    towards = np.eye(3)
    many = np.repeat(towards, [50, 6, 6], axis=0) + 0.05 * np.random.default_rng(0).normal(size=(62, 3))
    pool, target = pool_of(62, embedding=many), pool_of(3, 1, embedding=towards)
    kept = Nearest().select(pool, target, Budget(rows=15), 0).rows
    assert np.bincount(np.repeat([0, 1, 2], [50, 6, 6])[kept]).tolist() == [5, 5, 5]


def test_a_target_or_budget_that_does_not_fit_is_refused() -> None:
    pool, target = embedded(20, 1), embedded(5, 2)
    assert Nearest().requires == Nearest().requires_target == {"embedding"}
    with mistake(DataError, "Nearest", option="data.target"):
        Nearest().select(pool, None, Budget(rows=3), 0)
    with mistake(DataError, "target"):
        Nearest().select(pool, permuted(target, np.array([], dtype=int)), Budget(rows=3), 0)
    with mistake(DataError, 6, 4):
        Nearest().select(pool, pool_of(5, embedding=np.ones((5, 4))), Budget(rows=3), 0)
    for signals, of, kind in ((target, "target", DataError), (pool, "pool", BadRowsError)):
        signals["embedding"][2] = 0
        with mistake(kind, of, signals.n_rows, rows=[2]):
            Nearest().select(pool, target, Budget(rows=3), 0)
        signals["embedding"][2] = 1
    with mistake(BudgetError, 21, 20):
        Nearest().select(pool, target, Budget(rows=21), 0)


def test_its_arithmetic_is_a_cosine_for_each_row_of_both_and_more_where_it_looks_again() -> None:
    pool, target = embedded(90, 1), embedded(12, 2)
    once = Nearest().select(pool, target, Budget(rows=12), 0)
    assert once.flops == 2 * 6 * 90 * 12
    target["embedding"][:] = target["embedding"][0] + 0.01 * target["embedding"]  # all want the same rows
    again = Nearest().select(pool, target, Budget(rows=80), 0)
    assert again.flops is not None
    assert once.flops < again.flops
    assert again.flops % (2 * 6 * 90) == 0
