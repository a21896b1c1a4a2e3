"""Laws of the lowest and the highest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selectune.common.errors import BadRowsError, BudgetError, DataError
from selectune.selectors import Budget, TopK
from selectune.selectors.base import lowest
from selectune.selectors.ordering import ascending, key_order, ranked, smallest
from tests.mistakes import mistake
from tests.selectors import THREE, permuted, pool_of

BUDGETS = [Budget(rows=1), Budget(rows=41), Budget(rows=200), Budget(tokens=500)]


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("signal", [*THREE, "n_tokens"])
def test_the_kept_rows_are_the_first_in_the_order_of_the_signal(signal: str, largest: bool, budget: Budget) -> None:
    pool = pool_of(200)
    keys, sign = pool.tie_keys(5), -1 if largest else 1
    expected: list[int] = []
    for row in sorted(range(200), key=lambda i: (sign * round(float(pool[signal][i]), 9), int(keys[i]))):
        if len(expected) == budget.rows or pool["n_tokens"][expected].sum() >= (budget.tokens or np.inf):
            break
        expected.append(row)
    picked = TopK(signal, largest).select(pool, None, budget, 5)
    assert picked.rows.tolist() == sorted(expected)
    assert picked.rows.dtype == np.int64
    np.testing.assert_array_equal(picked.scores, np.round(pool[signal], 9))
    order = np.random.default_rng(0).permutation(200)
    again = TopK(signal, largest).select(permuted(pool, order), None, budget, 5)
    assert sorted(order[again.rows].tolist()) == picked.rows.tolist()


def test_the_seed_decides_among_equals_alone() -> None:
    pool = pool_of(100)

    def kept(signal: str, seed: int) -> list[int]:
        return TopK(signal).select(pool, None, Budget(rows=30), seed).rows.tolist()

    assert kept("generative_entropy", 0) == kept("generative_entropy", 1)
    assert kept("information_entropy", 0) != kept("information_entropy", 1)
    values = pool["information_entropy"]
    assert sorted(values[kept("information_entropy", 0)]) == sorted(values[kept("information_entropy", 1)])


def test_only_signals_that_are_not_always_there_are_asked_for() -> None:
    assert TopK("loss").requires == {"loss"}
    assert TopK("n_tokens").requires == frozenset()


def test_bad_values_and_budgets_are_refused() -> None:
    loss = np.ones(20)
    loss[[3, 9]] = np.nan
    with mistake(BadRowsError, 2, 20, "loss", rows=[3, 9]):
        TopK("loss").select(pool_of(20, loss=loss), None, Budget(rows=2), 0)
    with mistake(DataError, "embedding", (20, 3)):
        TopK("embedding").select(pool_of(20, embedding=np.ones((20, 3))), None, Budget(rows=2), 0)
    for budget, named in [(Budget(), ["TopK", "data.keep"]), (Budget(rows=21), [21, 20])]:
        with mistake(BudgetError, *named):
            TopK("n_tokens").select(pool_of(20), None, budget, 0)


@pytest.mark.parametrize("rows", [1, 7, 60, 199, 200])
@pytest.mark.parametrize("values", [1, 4, 10**9])
def test_the_lowest_are_the_first_of_the_ranked(rows: int, values: int) -> None:
    random = np.random.default_rng(rows)
    for least in (0.0, -np.inf, np.nan):
        scores = random.integers(0, values, 200) * 0.1
        scores[random.permutation(200)[:30]] = least
        pool = pool_of(200, text_hash=random.integers(0, 40, 200).astype(np.uint64))
        order = ranked(scores, pool.tie_keys(3))
        assert lowest(scores, pool, Budget(rows=rows), 3).tolist() == sorted(order[:rows].tolist())
    for budget in (Budget(), Budget(rows=201)):
        with mistake(BudgetError):
            lowest(scores, pool, budget, 3)


@pytest.mark.parametrize("kind", [np.int32, np.int64])
@pytest.mark.parametrize("budget", BUDGETS)
def test_whole_numbers_are_ranked_as_floats_are(kind: type, budget: Budget) -> None:
    pool = pool_of(200)
    scores = np.random.default_rng(1).integers(10**8, 10**8 + 40, 200)
    np.testing.assert_array_equal(lowest(scores.astype(kind), pool, budget, 3), lowest(scores * 1.0, pool, budget, 3))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("n", [0, 1, 2, 7, 300])
@pytest.mark.parametrize(
    ("values", "step", "lowest"),
    [(3, 1.0, 0.0), (10**9, 1.0, 0.0), (5, 1e-9, 4.2), (5, 1e-9, -99_999.0), (10**9, 1e-4, -5e4), (3, 1.0, 1e300)],
)
@pytest.mark.parametrize("missing", [False, True])
def test_rows_are_ranked_by_score_then_key_then_id(
    n: int, values: int, step: float, lowest: float, missing: bool
) -> None:
    random = np.random.default_rng(n)
    for few_keys in (True, False):
        scores = lowest + step * random.integers(0, values, n)
        keys = random.integers(0, 3 if few_keys else 2**63, n, dtype=np.uint64)
        if missing:
            scores[n // 2 : n // 2 + 2] = np.nan
            scores[n // 3 : n // 3 + 1] = -np.inf
        scores[: n // 5] = -0.0
        asked = np.round(scores, 9)
        expected = sorted(
            range(n), key=lambda row: (np.isnan(asked[row]), *np.nan_to_num([asked[row]]), keys[row], row)
        )
        assert ranked(scores, keys).tolist() == expected
        ordered, order = ascending(asked)
        np.testing.assert_array_equal(order, np.argsort(asked, kind="stable"))
        np.testing.assert_array_equal(ordered, asked[order])


def test_a_pool_large_enough_for_a_sort_by_digits_has_the_same_order() -> None:
    random = np.random.default_rng(0)
    keys = random.integers(0, 2**64, 100_000, dtype=np.uint64)
    keys[::7] = keys[3]
    np.testing.assert_array_equal(key_order(keys), np.argsort(keys, kind="stable"))
    for outlier in (9.0, 90_000.0):
        for decimals in (1, 4, 9):
            scores = np.round(np.append(random.normal(size=99_999), outlier), decimals)
            np.testing.assert_array_equal(ranked(scores, keys), np.lexsort((keys, scores)))
            ordered, order = ascending(scores)
            np.testing.assert_array_equal(ordered, scores[order])


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.data())
def test_the_smallest_are_the_first_of_a_stable_order(values: list[int], data: st.DataObject) -> None:
    n = data.draw(st.integers(1, len(values)))
    expected = sorted(np.argsort(values, kind="stable")[:n].tolist())
    assert smallest(np.array(values, dtype=np.uint64), n).tolist() == expected
