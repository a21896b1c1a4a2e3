"""Stages around selectors are walked in one way: a run, a forecast and a library call select the same rows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from selectune.costs.ledger import Ledger
from selectune.forecast.ledger import EstimatedCosts
from selectune.forecast.sampled_selection import Selecting, _Known
from selectune.selection.choose import Chooser
from selectune.selectors import (
    Budget,
    Chain,
    Deduplicate,
    DomainScreen,
    EntropyInterval,
    KCenter,
    Nearest,
    Placed,
    Proxy,
    Random,
    Search,
    Selector,
    Signals,
    TopK,
)
from tests.selectors import pool_of

pytestmark = pytest.mark.filterwarnings("ignore::selectune.common.errors.ConcentratedScores")

N = 300
random = np.random.default_rng(0)
DOMAIN = random.integers(0, 3, N).astype(np.int32)
EMBEDDING = random.normal(size=(N, 4)) + 3.0 * DOMAIN[:, None]
SKETCHES = random.integers(0, 3, (N, 16)).astype(np.uint32)
POOL = pool_of(N, domain=DOMAIN, embedding=EMBEDDING, minhash=SKETCHES)
TARGET = pool_of(20, embedding=random.normal(size=(20, 4)))
NAMES = ("near", "middle", "far")
SHORT = TopK("n_tokens", largest=False)

SELECTORS = [
    Random(),
    Chain(SHORT, TopK("generative_entropy"), 0.5),
    Chain(Chain(Deduplicate(), SHORT), Chain(EntropyInterval(), KCenter(), 0.8), 0.6),
    DomainScreen(domains=2, sample=40),
    DomainScreen(domains=2, sample=40, rows=50),
    Chain(DomainScreen(domains=1, sample=40), Nearest()),
    Chain(SHORT, Chain(DomainScreen(domains=2, sample=20), TopK("semantic_entropy")), 0.7),
]


class Given:
    """Rows whose signals are all given, and what of a request selecting from them needs."""

    def __init__(self, mode: str = "max") -> None:
        always = {name: POOL[name] for name in ("n_tokens", "input_tokens", "text_hash", "domain")}
        self.rows: Any = SimpleNamespace(always=always, pool=SimpleNamespace(domain_names=NAMES))
        self.request: Any = SimpleNamespace(seed=3, part="fit", training=SimpleNamespace(monitor=("val/f1", mode)))

    def run(self, proxy: Any = None) -> Any:
        class GivenChooser(Chooser):
            def signals(self, selector: Selector, pool: Signals) -> tuple[Signals, Signals | None]:
                return POOL.take(pool.row_ids, {*pool, *selector.requires}), TARGET

        trainings = SimpleNamespace(request=self.request, ledger=Ledger(), proxy=proxy)
        return GivenChooser(self.request, None, trainings)  # type: ignore[arg-type]

    def forecast(self) -> Any:
        class GivenSelecting(Selecting):
            def signals(self, selector: Selector, pool: Signals) -> _Known:
                given = POOL.take(pool.row_ids, {*pool, *selector.requires})
                return _Known(pool, given, None, TARGET)

        return GivenSelecting(self.request, None, EstimatedCosts("cpu", 1))  # type: ignore[arg-type]


@pytest.mark.parametrize("selector", SELECTORS)
def test_a_run_a_forecast_and_a_library_call_select_the_same_rows(selector: Selector) -> None:
    given, budget = Given(), Budget() if selector.sets_own_size else Budget(rows=20)
    in_library = selector.select(POOL, TARGET, budget, 3)
    for walk in (given.run(), given.forecast()):
        picked = walk.choose(selector, given.rows, budget)
        np.testing.assert_array_equal(picked.rows, in_library.rows)
        np.testing.assert_array_equal(picked.scores, in_library.scores)
        assert picked.flops == in_library.flops


def test_a_screen_names_data_sets_and_says_which_rows_of_the_whole_pool_it_leaves() -> None:
    given = Given()
    for walk in (given.run(), given.forecast()):
        picked = walk.choose(SELECTORS[-1], given.rows, Budget(rows=20))
        screen = picked.diagnostics["selector"]["prefilter"]
        assert screen["kept"] == ["near", "middle"]
        assert set(screen["distances"]) == set(NAMES)
        assert len(walk.screened) == screen["rows"]
        assert set(picked.rows) <= set(walk.screened) <= set(np.flatnonzero(DOMAIN < 2))


@pytest.mark.parametrize(("mode", "best"), [("max", 1.0), ("min", 0.5)])
def test_a_search_in_a_chain_trains_proxies_on_rows_of_the_whole_pool(mode: str, best: float) -> None:
    """The band is kept whose proxy scores best; proxies get row ids of the whole pool."""
    given, rule, metrics = Given(mode), Search(bands=3, proxy=Proxy(max_steps=7)), iter([0.5, 0.2, 0.9])
    trained: list[np.ndarray] = []

    def proxy(row_ids: np.ndarray, settings: Proxy) -> float:
        assert settings == rule.proxy
        trained.append(row_ids)
        return next(metrics)

    picked = given.run(proxy).choose(Chain(SHORT, EntropyInterval(rule=rule), 0.5), given.rows, Budget(rows=30))
    bands = [Chain(SHORT, EntropyInterval(rule=Placed(at)), 0.5) for at in (0.0, 0.5, 1.0)]
    expected = [band.select(POOL, None, Budget(rows=30), 3).rows for band in bands]
    for rows, band in zip(trained, expected, strict=True):
        np.testing.assert_array_equal(rows, band)
    np.testing.assert_array_equal(picked.rows, expected[int(2 * best)])
    search = picked.diagnostics["selector"]["search"]
    assert search["position"] == best
    assert [band["val/f1"] for band in search["bands"]] == [0.5, 0.2, 0.9]


def test_a_forecast_of_a_search_names_the_proxies_rows_and_takes_the_middle_band() -> None:
    given, forecast = Given(), Given().forecast()
    chain = Chain(SHORT, EntropyInterval(rule=Search(bands=3)), 0.5)
    picked = forecast.choose(chain, given.rows, Budget(rows=30))
    bands = [Chain(SHORT, EntropyInterval(rule=Placed(at)), 0.5) for at in (0.0, 0.5, 1.0)]
    expected = [band.select(POOL, None, Budget(rows=30), 3).rows for band in bands]
    np.testing.assert_array_equal(picked.rows, expected[1])
    assert [rows.tolist() for rows, _ in forecast.proxies] == [rows.tolist() for rows in expected]
    assert len(set(forecast.notes)) == 1
    charged = len(forecast.estimated.records)
    forecast.again(chain, Budget(rows=20))
    assert (len(forecast.estimated.records), len(forecast.proxies)) == (charged, 3), "nothing is charged again"
