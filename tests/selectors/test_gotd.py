"""GOT-D and its pre-screen, on embeddings alone."""

from __future__ import annotations

import numpy as np
import pytest

from selectune.common.errors import BadRowsError, BudgetError, DataError, TransportError
from selectune.selectors import GOTD, Budget, Chain, DomainScreen, Signals, TopK
from selectune.selectors.target import even_weights
from tests.mistakes import mistake, warned


def signals(embeddings: np.ndarray, first: int = 0, domain: np.ndarray | None = None) -> Signals:
    hashes = np.random.default_rng(5).integers(2**63, size=first + len(embeddings), dtype=np.uint64)[first:]
    arrays = {"embedding": embeddings, "n_tokens": np.full(len(embeddings), 10), "text_hash": hashes}
    return Signals(arrays if domain is None else arrays | {"domain": domain})


def clouds(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A pool of two clouds of 60 rows, a target inside the second, and each row's cloud."""
    random = np.random.default_rng(seed)
    pool = np.concatenate([random.normal(0, 1, (60, 5)), random.normal(2, 1, (60, 5))])
    return pool, random.normal(2, 1, (30, 5)), np.repeat([0, 1], 60).astype(np.int32)


def test_rows_are_kept_that_move_the_pool_to_the_target() -> None:
    pool, target, cloud = clouds()
    picked = GOTD().select(signals(pool), signals(target, 500), Budget(rows=20), 0)
    assert len(picked.rows) == len(set(picked.rows.tolist())) == 20
    assert cloud[picked.rows].mean() > 0.9
    assert picked.scores[picked.rows].max() <= np.delete(picked.scores, picked.rows).min()
    assert picked.scores.mean() == pytest.approx(0, abs=1e-9), "a calibrated gradient keeps mass 1"
    transport = picked.diagnostics["transport"]
    assert transport["converged"]
    assert transport["distance_kept"] < transport["distance"]
    assert picked.flops > 0


def test_contrast_reverses_the_ranking() -> None:
    pool, target, cloud = clouds()
    near = GOTD().select(signals(pool), signals(target, 500), Budget(rows=20), 0)
    far = GOTD(contrast=True).select(signals(pool), signals(target, 500), Budget(rows=20), 0)
    np.testing.assert_allclose(far.scores, near.scores, atol=1e-2)
    assert far.diagnostics["transport"]["churn"] <= 1e-3, "the rows that are kept stand still"
    assert cloud[far.rows].mean() < 0.1
    assert not set(near.rows) & set(far.rows)


@pytest.mark.parametrize("backend", ["pot", "dense", "stream"])
def test_permuting_the_pool_permutes_the_selection(backend: str) -> None:
    pool, target, _ = clouds()
    order = np.random.default_rng(1).permutation(len(pool))
    whole, selector = signals(pool), GOTD(backend=backend, tolerance=1e-6)
    other = Signals({name: values[order] for name, values in whole.items()})
    picked = selector.select(whole, signals(target, 500), Budget(rows=25), 3)
    again = selector.select(other, signals(target, 500), Budget(rows=25), 3)
    assert set(order[again.rows].tolist()) == set(picked.rows.tolist())


def test_duplicates_are_kept_together_and_the_budget_counts_tokens() -> None:
    pool, target, _ = clouds()
    twice = signals(np.concatenate([pool, pool]))
    picked = GOTD().select(twice, signals(target, 500), Budget(tokens=405), 0)
    assert len(picked.rows) == 41
    np.testing.assert_allclose(picked.scores[: len(pool)], picked.scores[len(pool) :], atol=1e-9)


def test_several_targets_count_alike() -> None:
    domain = np.array([0, 0, 0, 1], dtype=np.int32)
    weights = even_weights(signals(np.ones((4, 2)), domain=domain))
    np.testing.assert_allclose(weights, [1 / 6, 1 / 6, 1 / 6, 1 / 2])
    np.testing.assert_allclose(even_weights(signals(np.ones((4, 2)))), 0.25)


def test_the_nearest_data_sets_are_kept_whole() -> None:
    pool, target, cloud = clouds()
    picked = DomainScreen(domains=1, sample=40).select(signals(pool, domain=cloud), signals(target, 500), Budget(), 0)
    np.testing.assert_array_equal(picked.rows, np.flatnonzero(cloud == 1))
    assert picked.scores[0] > picked.scores[-1] > 0
    few = DomainScreen(domains=2, sample=40, rows=31).select(
        signals(pool, domain=cloud), signals(target, 500), Budget(), 0
    )
    assert np.bincount(cloud[few.rows]).tolist() in ([15, 16], [16, 15])


def test_several_targets_count_alike_in_a_screen_too() -> None:
    """Of a target of 27 rows in one cloud and 3 in the other, as two data sets, neither cloud is much nearer."""
    pool, _, cloud = clouds()
    random = np.random.default_rng(3)
    target = np.concatenate([random.normal(0, 1, (27, 5)), random.normal(2, 1, (3, 5))])
    distances = [
        DomainScreen(domains=1, sample=40)
        .select(signals(pool, domain=cloud), signals(target, 500, domain), Budget(), 0)
        .diagnostics["distances"]
        for domain in (None, np.repeat([0, 1], [27, 3]).astype(np.int32))
    ]
    apart = [each[1] - each[0] for each in distances]
    assert abs(apart[1]) < apart[0] / 2


def test_a_screen_that_leaves_nothing_out_warns() -> None:
    pool, target, cloud = clouds()
    with warned(UserWarning, "DomainScreen", 2):
        DomainScreen(domains=2, sample=40).select(signals(pool, domain=cloud), signals(target, 500), Budget(), 0)


def test_a_screen_before_a_selector() -> None:
    pool, target, cloud = clouds()
    chain = Chain(DomainScreen(domains=1, sample=40), TopK("n_tokens"))
    picked = chain.select(signals(pool, domain=cloud), signals(target, 500), Budget(rows=7), 0)
    assert len(picked.rows) == 7
    assert cloud[picked.rows].all()


def test_mistakes_are_told() -> None:
    pool, target, _ = clouds()
    whole, other = signals(pool), signals(target, 500)
    with mistake(DataError, "GOTD", option="data.target"):
        GOTD().select(whole, None, Budget(rows=3), 0)
    with pytest.raises(BudgetError):
        GOTD().select(whole, other, Budget(rows=121), 0)
    for bad in ({}, {"std": 0.0}, {"std": 0.1, "mean": 0.1}, {"median": 1.0}):
        with mistake(TransportError, "eps"):
            GOTD(eps=bad)
    with mistake(TransportError, 2, "allow_unconverged"):
        GOTD(max_iterations=2, tolerance=1e-9).select(whole, other, Budget(rows=3), 0)
    assert len(GOTD(max_iterations=2, allow_unconverged=True).select(whole, other, Budget(rows=3), 0).rows) == 3
    for value in (np.nan, 0.0):
        bad_rows = pool.copy()
        bad_rows[[3, 8]] = value
        for selector in (GOTD(), GOTD(cost="cosine")):
            with mistake(BadRowsError, rows=[3, 8]):
                selector.select(signals(bad_rows), other, Budget(rows=3), 0)
    for arguments in ({"tolerance": -1.0}, {"churn": -1.0}, {"max_iterations": 0}, {"eps": {"absolute": True}}):
        with pytest.raises(TransportError):
            GOTD(**arguments)
    with mistake(DataError, 5, 3):
        GOTD().select(whole, signals(target[:, :3], 500), Budget(rows=3), 0)
    with mistake(DataError, "DomainScreen", option="data.dataset"):
        DomainScreen().select(whole, other, Budget(), 0)
    with mistake(BudgetError, 0, option="DomainScreen's domains"):
        DomainScreen(domains=0)
