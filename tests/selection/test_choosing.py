"""Stages around selectors: chains, searches, targets, tuned scorers; and what they are charged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selectune.common.errors import CheckpointError, DataError, SelectionError
from selectune.datamodules import TextClassification
from selectune.selectors import Chain, Deduplicate, EntropyInterval, KCenter, Nearest, Proxy, Search, TopK
from selectune.selectors.base import Budget, Picked, Signals
from selectune.selectors.interval_rules import finite
from selectune.signals.compute import read_signals
from selectune.signals.definitions import Rows
from tests.conftest import write_split
from tests.mistakes import mistake, warned


def test_a_chain_scores_only_what_its_prefilter_left(choose: Any) -> None:
    chain = Chain(TopK("n_tokens", largest=False), TopK("generative_entropy"), prefilter_keep=0.25)
    selection, ledger, module = choose(chain, keep_rows=20)
    scored = sum(record.examples for record in ledger.records if record.stage == "score")
    assert scored == round(0.25 * len(module.pool))
    assert len(selection.rows) == 20
    alone, _, _ = choose(TopK("n_tokens", largest=False), keep=0.25)
    assert set(selection.rows) <= set(alone.rows)


def test_a_chain_of_signals_that_rows_have_for_themselves_is_a_top_k_of_a_top_k(choose: Any) -> None:
    chain = Chain(TopK("information_entropy"), TopK("generative_entropy"), prefilter_keep=0.5)
    selection, _, module = choose(chain, keep_rows=30)
    first, second = (choose(TopK(name), keep=1.0)[0].scores for name in ("information_entropy", "generative_entropy"))
    keys = Signals({"text_hash": module.pool.text_hash}).tie_keys(0)
    half = sorted(range(len(keys)), key=lambda row: (-round(first[row], 9), keys[row]))[: round(len(keys) / 2)]
    best = sorted(half, key=lambda row: (-round(second[row], 9), keys[row]))[:30]
    assert selection.rows.tolist() == sorted(best)
    np.testing.assert_array_equal(selection.scores, np.round(second[selection.rows], 9))
    assert set(selection.rows) != set(np.argsort(-second)[:30]), "the prefilter has a say"


class Longest(TopK):
    """Reports the one row that it picks; or finds a fault with it."""

    def __init__(self, broken: bool = False) -> None:
        super().__init__("n_tokens")
        self.broken = broken

    def select(self, pool: Signals, target: Signals | None, budget: Budget, seed: int) -> Picked:
        picked = super().select(pool, target, budget, seed)
        (first,) = picked.rows
        if self.broken:
            finite(np.where(np.arange(pool.n_rows) == first, np.nan, picked.scores))
        return replace(picked, diagnostics={"first": int(pool.row_ids[first])})


def test_a_later_link_of_a_chain_names_rows_of_the_whole_pool(choose: Any) -> None:
    prefilter = TopK("information_entropy")
    selection, _, _ = choose(Chain(prefilter, Longest(), 0.5), keep_rows=1)
    assert selection.manifest.diagnostics["selector"] == {"first": selection.rows[0]}
    with mistake(DataError, rows=[selection.rows[0]]):
        choose(Chain(prefilter, Longest(broken=True), 0.5), keep_rows=1)


def test_a_signal_of_a_later_link_that_is_not_finite_names_rows_of_the_whole_pool(
    choose: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    half, _, _ = choose(TopK("information_entropy"), keep=0.5)

    def read(definitions: Any, rows: Rows) -> Signals:
        signals = read_signals(definitions, rows)
        if "generative_entropy" not in signals:
            return signals
        broken = np.where(np.arange(len(rows)) == 5, np.nan, signals["generative_entropy"])
        return Signals({**signals, "generative_entropy": broken}, signals.row_ids)

    monkeypatch.setattr("selectune.selection.choose.read_signals", read)
    with mistake(CheckpointError, "generative_entropy", option="scorer.checkpoint", rows=[half.rows[5]]):
        choose(Chain(TopK("information_entropy"), TopK("generative_entropy"), 0.5), keep_rows=5)


def test_a_search_in_a_chain_trains_on_rows_that_its_prefilter_left(
    choose: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, _, _ = choose(TopK("information_entropy"), keep=0.5)
    trained: list[np.ndarray] = []
    trained_on = TextClassification.trained_on

    def noted(module: TextClassification, rows: np.ndarray, source: Any) -> Any:
        trained.append(rows)
        return trained_on(module, rows, source)

    monkeypatch.setattr(TextClassification, "trained_on", noted)
    search = EntropyInterval("information_entropy", Search(bands=2, proxy=Proxy(max_steps=1)))
    selection, _, _ = choose(Chain(TopK("information_entropy"), search, 0.5), keep_rows=30)
    assert len(trained) == 2
    assert all(set(rows) <= set(left.rows) for rows in trained)
    assert selection.rows.tolist() in [rows.tolist() for rows in trained]


def test_duplicates_are_dropped_before_they_are_scored(choose: Any, tmp_path: Path) -> None:
    selection, ledger, module = choose(Chain(Deduplicate(near=True), TopK("generative_entropy")), keep_rows=10)
    assert len(selection.rows) == 10
    assert sum(record.examples for record in ledger.records if record.stage == "score") <= len(module.pool)


def test_a_search_keeps_the_band_whose_proxy_does_best_and_charges_all_of_them(choose: Any) -> None:
    rule = Search(bands=3, proxy=Proxy(max_epochs=1))
    selection, ledger, module = choose(EntropyInterval("information_entropy", rule), keep_rows=30)
    found = selection.manifest.diagnostics["search"]
    values = [band[found["metric"]] for band in found["bands"]]
    assert [band["position"] for band in found["bands"]] == [0.0, 0.5, 1.0]
    assert found["position"] == found["bands"][int(np.argmax(values))]["position"]
    assert all(band["rows"] == 30 for band in found["bands"])
    charged = [record for record in ledger.records if record.stage == "search" and record.flops]
    trained = [record for record in charged if record.examples == 30]
    assert len(trained) == 3, "a training for each band"
    n_dev = len(module.splits["dev"])
    assert sum(record.examples == n_dev for record in charged) == 3, "an evaluation on dev for each band"
    assert not any(record.stage in ("train", "evaluate") for record in ledger.records)

    again, ledger, _ = choose(EntropyInterval("information_entropy", rule), keep_rows=30)
    np.testing.assert_array_equal(again.rows, selection.rows)
    avoided = [record for record in ledger.records if record.stage == "search" and record.cached]
    assert len(avoided) == 6, "what was found before is shown as avoided"
    assert again.manifest.diagnostics["search"] == found


class Guessing(TopK):
    """Says that its arithmetic was what it was told."""

    def __init__(self, flops: float | None) -> None:
        super().__init__("n_tokens")
        self.flops = flops

    def select(self, *arguments: Any) -> Picked:
        return replace(super().select(*arguments), flops=self.flops, flops_method="a guess")


def test_a_selector_that_does_arithmetic_is_charged_as_solving(choose: Any) -> None:
    for selector, stage, flops in (
        (TopK("n_tokens"), "select", 0), (Guessing(1e6), "solve", 1e6), (Guessing(None), "solve", None),
    ):  # fmt: skip
        _, ledger, module = choose(selector, keep_rows=20)
        (charged,) = [record for record in ledger.records if record.stage in ("solve", "select")]
        assert (charged.stage, charged.flops) == (stage, flops)
        assert charged.flops_method == ("a guess" if stage == "solve" else "no arithmetic")
        assert charged.examples == len(module.pool)
    _, ledger, module = choose(KCenter(), keep_rows=20)
    width, rows = 32, len(module.pool)
    assert [r.flops for r in ledger.records if r.stage == "solve"] == [2 * width * rows * 21 + width * rows]


@pytest.mark.parametrize("flops", [-1.0, float("nan"), float("inf")])
def test_flops_that_cannot_be_are_refused(flops: float, choose: Any) -> None:
    with mistake(SelectionError, "Guessing", flops, "FLOPs"):
        choose(Guessing(flops), keep_rows=20)


def test_the_target_is_dev(choose: Any) -> None:
    selection, ledger, module = choose(Nearest(), keep_rows=20)
    assert selection.manifest.target is not None
    assert selection.manifest.target["source"].startswith("dev of ")
    scored = [record.examples for record in ledger.records if record.stage == "score"]
    assert sorted(scored) == sorted([len(module.pool), len(module.splits["dev"])])


def test_the_densest_band_is_checked_against_trusted_rows(choose: Any, tmp_path: Path) -> None:
    """Trusted rows of one word each lie where the pool's band does not."""
    write_split(tmp_path / "trusted.parquet", ["cat"] * 30, [0] * 30)
    with warned(UserWarning, "information_entropy", "Anchored"):
        selection, _, _ = choose(
            EntropyInterval("information_entropy"), keep_rows=40, trusted=str(tmp_path / "trusted.parquet")
        )
    plain, _, _ = choose(EntropyInterval("information_entropy"), keep_rows=40)
    np.testing.assert_array_equal(selection.rows, plain.rows)
    assert "target_share" in selection.manifest.diagnostics["bands"]["information_entropy"]
    assert selection.manifest.target is not None
    assert plain.manifest.target is None
