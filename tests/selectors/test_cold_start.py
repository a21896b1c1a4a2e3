"""Laws of the selectors for a few rows."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest

from selectune.common.errors import BadRowsError, BudgetError, UserError
from selectune.selectors import Budget, ProbCover, Selector, Signals, Typical
from selectune.selectors.checking import checked_select
from tests.mistakes import mistake, warned
from tests.selectors import permuted, pool_of

CLUSTER = np.random.default_rng(4).permutation(np.repeat(np.arange(4), [120, 80, 60, 40]))


def clustered(spread: float = 0.25) -> Signals:
    random = np.random.default_rng(0)
    centres = 3 * np.eye(4, 10)
    return pool_of(300, embedding=centres[CLUSTER] + spread * random.normal(size=(300, 10)))


def cosines(pool: Signals) -> np.ndarray:
    unit = pool["embedding"] / np.linalg.norm(pool["embedding"], axis=1, keepdims=True)
    return unit @ unit.T


@pytest.mark.parametrize("selector", [Typical(), ProbCover(), ProbCover(0.9)])
@pytest.mark.parametrize("budget", [Budget(rows=1), Budget(rows=12), Budget(tokens=90)])
def test_a_selection_has_the_asked_size_and_moves_with_the_pool(selector: Selector, budget: Budget) -> None:
    pool, order = clustered(), np.random.default_rng(8).permutation(300)
    picked, again = (checked_select(selector, each, None, budget, 4) for each in (pool, permuted(pool, order)))
    assert sorted(order[again.rows].tolist()) == picked.rows.tolist()
    np.testing.assert_allclose(again.scores, picked.scores[order], atol=2e-6)


def test_typical_rows_are_one_of_each_cluster_and_near_to_many() -> None:
    pool = clustered()
    picked = Typical().select(pool, None, Budget(rows=4), 0)
    assert sorted(CLUSTER[picked.rows]) == [0, 1, 2, 3]
    assert picked.diagnostics["clusters"] == 4
    for row in picked.rows:
        assert picked.scores[row] == picked.scores[CLUSTER[row] == CLUSTER].min()


def test_typicality_is_the_mean_distance_to_the_nearest_rows() -> None:
    pool = clustered()
    nearest = np.sort(cosines(pool) - 3 * np.eye(300), axis=1)[:, -20:]
    scores = Typical().select(pool, None, Budget(rows=4), 0).scores
    np.testing.assert_allclose(scores, np.sqrt(2 - 2 * nearest).mean(axis=1), atol=1e-4)


def test_a_cover_is_greedy() -> None:
    pool = clustered()
    inside = np.round(cosines(pool), 6) >= np.float32(0.9)
    uncovered, gains = np.ones(300, dtype=bool), []
    for _ in range(10):
        gains.append(int((inside & uncovered).sum(axis=1).max()))
        row = (inside & uncovered).sum(axis=1).argmax()
        uncovered &= ~inside[row]
    picked = ProbCover(0.9).select(pool, None, Budget(rows=10), 0)
    got = sorted(picked.scores[picked.rows], reverse=True)
    assert got[0] == gains[0]
    assert sum(got) == pytest.approx(sum(gains), abs=8), "ties may be broken otherwise"
    covered = inside[picked.rows].any(axis=0)
    assert picked.diagnostics["covered"] == pytest.approx(covered.mean())
    assert sum(got) == covered.sum()
    others = np.setdiff1d(np.arange(300), picked.rows)
    np.testing.assert_array_equal(picked.scores[others], (inside & ~covered).sum(axis=1)[others])


def test_unless_given_the_balls_are_as_large_as_they_stay_in_one_cluster() -> None:
    pool = Signals(dict(clustered(0.1)) | {"label": CLUSTER})
    picked = ProbCover().select(pool, None, Budget(rows=4), 0)
    assert sorted(CLUSTER[picked.rows]) == [0, 1, 2, 3]
    inside = cosines(pool) >= picked.diagnostics["similarity"]
    pure = [len(np.unique(CLUSTER[ball])) == 1 for ball in inside]
    assert np.mean(pure) >= 0.95


def test_a_cover_that_is_complete_before_the_budget_is_met_is_told() -> None:
    with warned(UserWarning, "ProbCover"):
        picked = checked_select(ProbCover(0.01), clustered(), None, Budget(rows=30), 0)
    assert picked.diagnostics["random_rows"] > 20
    assert picked.diagnostics["covered"] == 1


@pytest.mark.parametrize("selector", [Typical(), ProbCover()])
def test_a_pool_of_one_row_or_of_one_text_is_no_special_case(selector: Selector) -> None:
    one = pool_of(1, embedding=np.ones((1, 3)))
    assert checked_select(selector, one, None, Budget(rows=1), 0).rows.tolist() == [0]
    same = pool_of(30, embedding=np.ones((30, 3)))
    with warned(UserWarning, "ProbCover") if isinstance(selector, ProbCover) else nullcontext():
        assert len(checked_select(selector, same, None, Budget(rows=5), 0).rows) == 5


@pytest.mark.parametrize("selector", [Typical(), ProbCover()])
def test_bad_input_is_refused(selector: Selector) -> None:
    pool = clustered()
    with mistake(BudgetError, type(selector).__name__):
        selector.select(pool, None, Budget(), 0)
    pool["embedding"][5] = 0
    with mistake(BadRowsError, 1, 300, rows=[5]):
        selector.select(pool, None, Budget(rows=3), 0)
    for similarity in (0.0, 1.5):
        with mistake(UserError, similarity):
            ProbCover(similarity)
