"""Laws of the selectors by embedding, against slow loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from selectune.common.errors import BadRowsError, BudgetError, UserError
from selectune.selectors import Budget, KCenter, Picked, Prototypes, Selector, Signals, clustering, geometry
from selectune.selectors.clustering import kmeans
from tests.mistakes import mistake
from tests.selectors import permuted, pool_of

BUDGETS = [Budget(rows=1), Budget(rows=37), Budget(rows=150), Budget(tokens=400)]
SELECTORS = [KCenter(), Prototypes(), Prototypes("farthest", 4)]


def embedded(n_rows: int = 150, width: int = 6, seed: int = 0) -> Signals:
    """A pool in eight clusters, of which some rows are copies of others."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=(8, width))[random.integers(8, size=n_rows)] + 0.5 * random.normal(size=(n_rows, width))
    rows[n_rows // 2 : n_rows // 2 + 5] = rows[:5] * 3
    return pool_of(n_rows, seed, embedding=rows.astype(np.float16))


def unit(pool: Signals) -> np.ndarray:
    rows = pool["embedding"].astype(np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def slow_k_center(pool: Signals, budget: Budget, seed: int) -> tuple[list[int], list[float]]:
    """Rows in the order of choice, and the distance at which each was chosen."""
    rows, keys = unit(pool), pool.tie_keys(seed)
    middle = rows.mean(axis=0)
    chosen = [min(range(len(rows)), key=lambda i: (-round(float(rows[i] @ middle), 6), int(keys[i])))]
    heights = [2.0]
    while len(chosen) < (budget.rows or np.inf) and pool["n_tokens"][chosen].sum() < (budget.tokens or np.inf):
        distance = {i: round(float(min(1 - rows[i] @ rows[j] for j in chosen)), 6) for i in range(len(rows))}
        row = min(set(distance) - set(chosen), key=lambda i: (-distance[i], int(keys[i])))
        chosen.append(row)
        heights.append(distance[row])
    return chosen, heights


@pytest.mark.parametrize("budget", [Budget(rows=1), Budget(rows=25), Budget(rows=60), Budget(tokens=200)])
@pytest.mark.parametrize("seed", [0, 1])
def test_k_center_is_the_slow_greedy_loop(budget: Budget, seed: int) -> None:
    pool = embedded(60, seed=seed)
    chosen, heights = slow_k_center(pool, budget, seed)
    picked = KCenter().select(pool, None, budget, seed)
    assert picked.rows.tolist() == sorted(chosen)
    np.testing.assert_allclose(picked.scores[chosen], heights, atol=2e-6)
    others = np.setdiff1d(np.arange(60), chosen)
    cosines = unit(pool)[others] @ unit(pool)[chosen].T
    np.testing.assert_allclose(picked.scores[others], 1 - cosines.max(axis=1, initial=-1), atol=2e-6)
    assert picked.diagnostics["radius"] == pytest.approx(picked.scores[others].max(initial=0), abs=1e-6)


def test_arithmetic_is_said_as_the_formulas_give_it() -> None:
    """A multiply and an add for each coordinate of each distance."""
    pool, budget = embedded(60), Budget(rows=25)
    picked = KCenter().select(pool, None, budget, 0)
    assert picked.flops == 2 * 6 * 60 * (25 + 1) + 6 * 60  # from the middle and from each that is chosen
    picked = Prototypes(n_prototypes=4).select(pool, None, budget, 0)
    fitted = 2 * 6 * 4 * (60 + 20 * 60) + 6 * 20 * 60  # k-means: seeding, and 20 iterations
    assert picked.flops == fitted + 2 * 6 * 4 * 60 + 2 * 6 * 60
    assert "analytic" in picked.flops_method


def test_k_center_covers_within_twice_the_best_radius() -> None:
    random = np.random.default_rng(2)
    centres = np.linalg.qr(random.normal(size=(8, 8)))[0]
    pool = pool_of(160, embedding=np.repeat(centres, 20, axis=0) + 0.02 * random.normal(size=(160, 8)))
    rows, own = unit(pool), np.repeat(np.arange(8), 20)
    picked = KCenter().select(pool, None, Budget(rows=8), 0)
    assert sorted(own[picked.rows]) == list(range(8)), "one of each cluster"
    reach = np.sqrt(2 * picked.diagnostics["radius"])  # Euclidean, as the bound holds for a metric (Gonzalez 1985)
    best = max(
        min(np.linalg.norm(rows[own == k] - centre, axis=1).max() for centre in rows[own == k]) for k in range(8)
    )
    assert reach <= 2 * best + 1e-3


@pytest.mark.parametrize("keep", ["nearest", "farthest"])
def test_prototypes_keeps_by_the_distance_to_a_rows_own_centre(keep: str) -> None:
    pool = embedded()
    rows, keys = unit(pool), pool.tie_keys(3)
    centres = kmeans(pool["embedding"], 5, 3, keys)
    distance = []
    for row in rows:
        own = min(centres, key=lambda c: float(np.sum((row - c) ** 2)))
        distance.append(1 - row @ own / np.linalg.norm(own))
    picked = Prototypes(keep, 5).select(pool, None, Budget(rows=40), 3)  # type: ignore[arg-type]
    np.testing.assert_allclose(picked.scores, distance, atol=1e-9)
    rest = np.setdiff1d(np.arange(150), picked.rows)
    if keep == "nearest":
        assert picked.scores[picked.rows].max() <= picked.scores[rest].min()
    else:
        assert picked.scores[picked.rows].min() >= picked.scores[rest].max()
    assert picked.diagnostics == {"prototypes": 5}


def test_there_are_about_as_many_prototypes_as_the_root_of_the_rows() -> None:
    assert Prototypes().select(embedded(), None, Budget(rows=4), 0).diagnostics == {"prototypes": 12}
    opposite = pool_of(4, embedding=np.array([[1.0, 0], [-1, 0], [1, 0], [-1, 0]]))  # their mean has no direction
    np.testing.assert_array_equal(Prototypes(n_prototypes=1).select(opposite, None, Budget(rows=2), 0).scores, 1.0)


@pytest.mark.parametrize("selector", SELECTORS, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("budget", BUDGETS)
def test_a_selection_is_a_set_of_the_asked_size_and_moves_with_the_pool(selector: Selector, budget: Budget) -> None:
    pool = embedded()
    picked = selector.select(pool, None, budget, 4)
    assert picked.rows.dtype == np.int64
    assert picked.rows.tolist() == sorted(set(picked.rows.tolist()) & set(range(150)))
    if budget.rows is not None:
        assert len(picked.rows) == budget.rows
    else:
        kept = pool["n_tokens"][picked.rows]
        assert kept.sum() >= (budget.tokens or 0) > kept.sum() - kept.max()
    order = np.random.default_rng(8).permutation(150)
    again = selector.select(permuted(pool, order), None, budget, 4)
    assert sorted(order[again.rows].tolist()) == picked.rows.tolist()
    np.testing.assert_allclose(again.scores, picked.scores[order], atol=1e-9)


def test_the_seed_of_k_center_decides_among_equals_alone() -> None:
    def kept(pool: Signals) -> list[Picked]:
        return [KCenter().select(pool, None, Budget(rows=20), seed) for seed in range(4)]

    distinct = pool_of(100, embedding=np.random.default_rng(0).normal(size=(100, 5)))
    assert len({tuple(picked.rows.tolist()) for picked in kept(distinct)}) == 1
    copies = pool_of(100, embedding=np.repeat(np.random.default_rng(0).normal(size=(25, 5)), 4, axis=0))
    found = kept(copies)
    assert len({tuple(picked.rows.tolist()) for picked in found}) == 4
    assert len({tuple((picked.rows // 4).tolist()) for picked in found}) == 1


@pytest.mark.parametrize("selector", SELECTORS, ids=lambda s: type(s).__name__)
def test_embeddings_are_read_from_disk_in_blocks(
    selector: Selector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = embedded()
    expected = selector.select(pool, None, Budget(rows=30), 0)
    np.save(tmp_path / "rows.npy", pool["embedding"])
    mapped = Signals(dict(pool) | {"embedding": np.load(tmp_path / "rows.npy", mmap_mode="r")})
    for module in (geometry, clustering):
        monkeypatch.setattr(module, "ROWS_AT_ONCE", 7)
    found = selector.select(mapped, None, Budget(rows=30), 0)
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-9)


@pytest.mark.parametrize("selector", SELECTORS, ids=lambda s: type(s).__name__)
def test_bad_embeddings_and_budgets_are_refused(selector: Selector) -> None:
    assert selector.requires == {"embedding"}
    rows = np.ones((20, 3))
    for bad in (0.0, np.nan):
        rows[[4, 8]] = bad
        with mistake(BadRowsError, 2, 20, rows=[4, 8]):
            selector.select(pool_of(20, embedding=rows), None, Budget(rows=3), 0)
    for budget in (Budget(), Budget(rows=151), Budget(tokens=10**6)):
        with mistake(BudgetError):
            selector.select(embedded(), None, budget, 0)


def test_prototypes_that_cannot_be_are_refused() -> None:
    with mistake(UserError, "middle", option="Prototypes' keep"):
        Prototypes("middle")  # type: ignore[arg-type]
    with mistake(UserError, 0, option="Prototypes' n_prototypes"):
        Prototypes(n_prototypes=0)
