"""Stages around selectors: chains, searches, targets, tuned scorers; and what they are charged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selectune.common.errors import CheckpointError, DataError, SelectionError, UserError
from selectune.costs.ledger import Ledger
from selectune.datamodules import TextClassification
from selectune.lightning_modules import FineTuner
from selectune.lightning_modules.scorers.settings import Generative, Information, ScorerSettings, Semantic, Tune
from selectune.selection.manifest import Selection
from selectune.selection.stage import select_rows
from selectune.selectors import IGSE, Chain, Deduplicate, EntropyInterval, KCenter, Nearest, Proxy, Search, TopK
from selectune.selectors.base import Budget, Picked, Selector, Signals
from selectune.selectors.interval_rules import finite
from selectune.signals.compute import read_signals
from selectune.signals.definitions import Rows
from tests.trainers import trainer_for


@pytest.fixture
def choose(data_folder: Path, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Select from the small task, into a folder of its own; gives selection, ledger and data module."""
    monkeypatch.setenv("SELECTUNE_CACHE", str(tmp_path / "cache"))

    def run(selector: Selector, scorer: ScorerSettings | None = None, **data: Any) -> tuple[Selection, Ledger, Any]:
        module = TextClassification(str(data_folder), max_length=32, selector=selector, seed=0, **data)
        module.load()
        request = module.request(scorer or ScorerSettings(max_batch_tokens=512))
        assert request is not None
        ledger = Ledger()
        folder = tmp_path / f"selection-{len(list(tmp_path.iterdir()))}"
        fine_tuner = FineTuner(str(model_folder), 1e-3, seed=0)
        return select_rows(request, fine_tuner, trainer_for, ledger, folder=folder), ledger, module

    return run


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
    with pytest.raises(DataError, match=rf"\(rows {selection.rows[0]}\)"):
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
    with pytest.raises(CheckpointError, match=rf"\(rows {half.rows[5]}\)"):
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
    with pytest.raises(SelectionError, match="FLOPs"):
        choose(Guessing(flops), keep_rows=20)


def test_the_target_is_dev(choose: Any) -> None:
    selection, ledger, module = choose(Nearest(), keep_rows=20)
    assert selection.manifest.target is not None
    assert selection.manifest.target["source"].startswith("dev of ")
    scored = [record.examples for record in ledger.records if record.stage == "score"]
    assert sorted(scored) == sorted([len(module.pool), len(module.splits["dev"])])


def test_signals_of_a_head_come_from_a_tuned_scorer_that_is_charged(choose: Any) -> None:
    tuned = ScorerSettings(max_batch_tokens=512, tune=Tune(rows=64, max_epochs=2, learning_rate=1e-3))
    selection, ledger, _ = choose(TopK("margin", largest=False), tuned, keep_rows=20)
    tuning = [record for record in ledger.records if record.stage == "tune_scorer"]
    assert [record.examples for record in tuning] == [128]
    assert tuning[0].flops
    assert (selection.scores >= 0).all()
    definition = next(s for s in selection.manifest.signals if s["name"] == "margin")
    assert definition["model"] != selection.manifest.weights_hash

    again, ledger, _ = choose(TopK("label_loss"), tuned, keep_rows=20)
    assert [record.cached for record in ledger.records if record.stage == "tune_scorer"] == [True]
    assert len(again.rows) == 20


def test_generative_entropy_beside_a_tuned_head_stays_that_of_the_untuned_model(choose: Any) -> None:
    plain, _, _ = choose(TopK("generative_entropy"), keep=1.0)
    settings = ScorerSettings(
        max_batch_tokens=512, tune=Tune(rows=64, max_epochs=1), information=Information("predictive")
    )
    both = IGSE(["information_entropy", "generative_entropy"])
    selection, ledger, _ = choose(both, settings, keep_rows=20)
    models = {signal["name"]: signal["model"] for signal in selection.manifest.signals}
    assert models["information_entropy"] != models["generative_entropy"] == plain.manifest.weights_hash
    assert sum(record.stage == "score" and not record.cached for record in ledger.records) == 1


def test_a_head_that_was_never_trained_is_refused(choose: Any) -> None:
    with pytest.raises(CheckpointError, match=r"no trained classification head.*scorer\.tune"):
        choose(TopK("margin"), keep_rows=20)


def test_a_signal_that_is_not_there_is_refused_by_name(choose: Any) -> None:
    with pytest.raises(UserError, match="There is no signal 'perplexity'"):
        choose(TopK("perplexity"), keep_rows=20)


def test_a_small_pool_has_no_use_for_a_probe(choose: Any) -> None:
    settings = ScorerSettings(max_batch_tokens=512, generative=Generative(head="probe"))
    with pytest.warns(UserWarning, match="computed exactly"):
        selection, _, _ = choose(TopK("generative_entropy"), settings, keep_rows=20)
    exact, _, _ = choose(TopK("generative_entropy"), keep_rows=20)
    np.testing.assert_array_equal(selection.rows, exact.rows)
    assert selection.manifest.diagnostics["signals"]["generative_entropy"]["head"] == "exact"


def test_a_probe_is_fitted_checked_charged_and_noted(choose: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from selectune.lightning_modules.scorers import probe
    from selectune.signals import probe as probing

    def few(text_hash: np.ndarray, lengths: np.ndarray) -> Any:
        return probe.fit_rows(text_hash, lengths, positions=200, check_rows=64)

    monkeypatch.setattr(probing, "fit_rows", few)
    monkeypatch.setattr(probe.ProbeCheck, "demand", lambda check: None)
    settings = ScorerSettings(max_batch_tokens=512, generative=Generative(head="probe", layers=[1]))
    selection, ledger, _ = choose(IGSE(), settings, keep_rows=20)
    noted = selection.manifest.diagnostics["signals"]["generative_entropy"]
    assert noted["head"] == "probe"
    assert noted["layers"] == [1]
    assert noted["check_rows"] >= 64
    assert -1 <= noted["spearman"] <= 1
    fits = [record for record in ledger.records if record.stage == "tune_scorer"]
    assert len(fits) == 1
    assert fits[0].flops
    embedding = next(signal for signal in selection.manifest.signals if signal["name"] == "embedding")
    assert embedding["arguments"]["layer"] == 1, "the encoder stops there, and the manifest says so"

    _, ledger, _ = choose(TopK("generative_entropy"), settings, keep_rows=20)
    avoided = {record.stage for record in ledger.records if record.cached}
    assert avoided == {"tune_scorer", "score"}, "whoever uses the signal later is shown what the probe cost too"


def test_labels_that_are_not_there_cannot_be_asked_for(model_folder: Path, data_folder: Path) -> None:
    from selectune.selection.choose import labels_of

    with pytest.raises(SelectionError, match="label_loss needs labels"):
        labels_of(None, frozenset({"label_loss"}))


@pytest.fixture(scope="module")
def decoder_folder(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random GPT-2 with the tiny tokenizer."""
    import shutil

    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("decoder")
    for file in model_folder.glob("*token*"):
        shutil.copy(file, folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = GPT2Config(vocab_size=40, n_positions=64, n_embd=32, n_layer=2, n_head=2, initializer_range=0.3)
        GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def test_a_decoder_scores_by_its_own_estimators(choose: Any, decoder_folder: Path) -> None:
    settings = ScorerSettings(str(decoder_folder), max_batch_tokens=512, semantic=Semantic("sampled", samples=3))
    selection, ledger, module = choose(IGSE(), settings, keep_rows=20)
    arguments = {signal["name"]: signal["arguments"] for signal in selection.manifest.signals}
    assert arguments["generative_entropy"]["estimator"] == "causal"
    assert arguments["semantic_entropy"]["samples"] == 3
    assert "embedding" not in arguments, "sampled entropy is not derived from embeddings of the pool"
    scored = [record for record in ledger.records if record.stage == "score"]
    assert [record.examples for record in scored] == [len(module.pool)] * 2, "a pass, and the generations"
    assert all(record.flops for record in scored)


def test_a_model_without_the_head_that_is_asked_for_is_refused(choose: Any, decoder_folder: Path) -> None:
    settings = ScorerSettings(str(decoder_folder), max_batch_tokens=512, generative=Generative("masked"))
    with pytest.raises(CheckpointError, match="without a masked-LM head"):
        choose(TopK("generative_entropy"), settings, keep_rows=20)


@pytest.mark.parametrize("layers", [[3], [-1, 2], []])
def test_layers_that_are_not_there_are_refused(layers: list[int], choose: Any) -> None:
    settings = ScorerSettings(max_batch_tokens=512, generative=Generative(head="probe", layers=layers))
    with pytest.raises(UserError, match=r"scorer\.generative\.layers is .* layers 0 .* to 2"):
        choose(TopK("generative_entropy"), settings, keep_rows=20)


def test_a_probe_cannot_stand_in_for_masking(choose: Any) -> None:
    settings = ScorerSettings(max_batch_tokens=512, generative=Generative("masked_pseudo", head="probe"))
    with pytest.raises(UserError, match="masked_pseudo cannot have head: probe"):
        choose(TopK("generative_entropy"), settings, keep_rows=20)
