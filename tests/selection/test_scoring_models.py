"""Signals that are chosen by come from the models and estimators that the settings of the scorer name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selectune.common.errors import CheckpointError, SelectionError, UserError
from selectune.lightning_modules.scorers.settings import Generative, Information, ScorerSettings, Semantic, Tune
from selectune.selectors import IGSE, TopK
from tests.mistakes import mistake, warned


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
    with mistake(CheckpointError, "local:tiny", "classification", "scorer.tune"):
        choose(TopK("margin"), keep_rows=20)


def test_a_signal_that_is_not_there_is_refused_by_name(choose: Any) -> None:
    with mistake(SelectionError, "TopK", "'perplexity'", "loss"):
        choose(TopK("perplexity"), keep_rows=20)


def test_a_small_pool_has_no_use_for_a_probe(choose: Any) -> None:
    settings = ScorerSettings(max_batch_tokens=512, generative=Generative(head="probe"))
    with warned(UserWarning, "probe"):
        selection, ledger, _ = choose(TopK("generative_entropy"), settings, keep_rows=20)
    assert None not in {record.flops for record in ledger.records}, "a probe that is not fitted costs nothing"
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

    with mistake(SelectionError, "label_loss", "loss"):
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
    with mistake(CheckpointError, "masked-LM") as caught:
        choose(TopK("generative_entropy"), settings, keep_rows=20)
    assert isinstance(caught.value.__cause__, ValueError), "no such class of model, and not only no such weights"


@pytest.mark.parametrize("layers", [[3], [-1, 2], []])
def test_layers_that_are_not_there_are_refused(layers: list[int], choose: Any) -> None:
    settings = ScorerSettings(max_batch_tokens=512, generative=Generative(head="probe", layers=layers))
    with mistake(UserError, layers, 2, option="scorer.generative.layers"):
        choose(TopK("generative_entropy"), settings, keep_rows=20)


def test_a_probe_cannot_stand_in_for_masking(choose: Any) -> None:
    settings = ScorerSettings(max_batch_tokens=512, generative=Generative("masked_pseudo", head="probe"))
    with mistake(UserError, "masked_pseudo", option="scorer.generative.estimator"):
        choose(TopK("generative_entropy"), settings, keep_rows=20)
