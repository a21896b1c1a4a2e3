"""Exact entropies or a probe: where it is left to us, the FLOPs of scoring and of the training decide."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selectune.costs.ledger import Ledger, read_ledger
from selectune.datamodules import TextClassification
from selectune.lightning_modules import FineTuner
from selectune.lightning_modules.scorers import probe
from selectune.lightning_modules.scorers.settings import Generative, ScorerSettings
from selectune.selection import entropy_head
from selectune.selection.entropy_head import CHEAP, choose_head
from selectune.selection.manifest import Selection
from selectune.selection.request import Length
from selectune.selection.scoring import scoring_model
from selectune.selection.stage import select_rows
from selectune.selectors import IGSE, Absolute, EntropyInterval, Random, Selector, TopK
from selectune.signals import probe as probing
from selectune.signals.definitions import ScoringModel
from tests.conftest import Here, manifest_of
from tests.mistakes import names
from tests.trainers import trainer_for

ENTROPY = TopK("generative_entropy")


def few(text_hash: np.ndarray, lengths: np.ndarray) -> Any:
    return probe.fit_rows(text_hash, lengths, positions=200, check_rows=64)


@pytest.fixture
def large_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pools are large enough for a probe, which is as small as the model is, and every probe serves."""
    monkeypatch.setattr(probe, "HIDDEN", 2)
    monkeypatch.setattr(entropy_head, "fit_rows", few)
    monkeypatch.setattr(probing, "fit_rows", few)
    monkeypatch.setattr(probe.ProbeCheck, "demand", lambda check: None)


def chosen(
    data: Path, model: Path, selector: Selector, length: Length, generative: Any = None, **keep: Any
) -> ScoringModel:
    """The scoring model after the choice of its head."""
    module = TextClassification(str(data), max_length=32, selector=selector, seed=0, **keep)
    module.load()
    request = module.request(ScorerSettings(generative=generative or Generative()), length=length)
    assert request is not None
    fine_tuner = FineTuner(str(model), 1e-3, seed=0)
    scoring = scoring_model(request, fine_tuner, Ledger())
    choose_head(request, fine_tuner.source, scoring, scoring.with_sources(selector.requires), Ledger())
    return scoring


@pytest.mark.usefixtures("large_enough")
@pytest.mark.parametrize(
    ("selector", "exact", "encoder", "taken", "layers"),
    [
        (ENTROPY, 0.99 * CHEAP, 0.01, "exact", None),
        (ENTROPY, 1.01 * CHEAP, 0.01, "probe", None),
        (ENTROPY, 2.0, 0.9 * CHEAP, "probe", None),
        (ENTROPY, 2.0, 1.1 * CHEAP, "probe", [1]),  # nothing else reads the last layer, so the encoder stops early
        (IGSE(), 2.0, 1.1 * CHEAP, "probe", None),  # embeddings are of the last layer
        (IGSE(), 2.0, 1.9, "exact", None),  # what a probe learns from, and the encoder, cost more
        (ENTROPY, 2.0, 1.9, "probe", [1]),
    ],
)
def test_a_probe_is_taken_where_exact_scoring_costs_over_a_tenth_of_the_training_and_a_probe_less(
    data_folder: Path,
    model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    selector: Selector,
    exact: float,
    encoder: float,
    taken: str,
    layers: list[int] | None,
) -> None:
    """FLOPs are shares of those of the training."""
    training = 1e15
    monkeypatch.setattr(entropy_head, "scoring_flops", lambda *_: (exact * training, encoder * training))
    monkeypatch.setattr(entropy_head, "_training_flops", lambda *_: training / 54)
    scoring = chosen(data_folder, model_folder, selector, Length(epochs=1), keep=0.25)
    choice, generative = scoring.entropy_head, scoring.settings.generative
    assert choice is not None
    assert (generative.head, choice["taken"], choice["layers"]) == (taken, taken, layers)
    assert generative.layers == layers
    assert names(choice["why"], f"{exact:.0%}".rstrip("%"))
    assert (choice["exact_flops"], choice["training_flops"]) == pytest.approx((exact * training, training))


@pytest.mark.usefixtures("large_enough")
def test_the_training_is_as_long_as_its_first_limit_and_on_the_rows_that_are_kept(
    data_folder: Path, model_folder: Path
) -> None:
    def flops(length: Length, selector: Selector = ENTROPY, **keep: Any) -> float:
        choice = chosen(data_folder, model_folder, selector, length, **keep).entropy_head
        assert choice is not None
        return float(choice["training_flops"])

    whole = flops(Length(epochs=2), keep=1.0)
    assert flops(Length(epochs=1), keep=1.0) == pytest.approx(whole / 2)
    assert flops(Length(epochs=2), keep=0.25) == pytest.approx(whole / 4)
    assert flops(Length(epochs=2, row_visits=108), keep=1.0) == pytest.approx(whole / 4)
    assert flops(Length(row_visits=108), keep_rows=50) == pytest.approx(whole / 4)
    assert flops(Length(epochs=2), EntropyInterval(rule=Absolute(0, 9))) == pytest.approx(whole)
    tokens = 216 * 5
    assert flops(Length(epochs=2), keep_tokens=tokens) < whole


@pytest.mark.parametrize(
    ("selector", "length", "generative", "named"),
    [
        (ENTROPY, Length(epochs=1), Generative(), ["positions"]),  # the pool is small
        (TopK("loss"), Length(epochs=1), Generative(), None),
        (Random(), Length(epochs=1), Generative(), None),
        (ENTROPY, Length(epochs=1), Generative("masked_pseudo"), ["masked_pseudo"]),
        (ENTROPY, Length(epochs=1), Generative(head="exact"), None),
    ],
)
def test_exact_entropies_are_taken_where_a_probe_cannot_serve(
    data_folder: Path, model_folder: Path, selector: Selector, length: Length, generative: Any, named: Any
) -> None:
    scoring = chosen(data_folder, model_folder, selector, length, generative, keep=0.25)
    assert scoring.settings.generative.head == "exact"
    assert (scoring.entropy_head is None) == (named is None)
    if scoring.entropy_head is not None:
        assert names(scoring.entropy_head["why"], *named)


@pytest.mark.usefixtures("large_enough")
def test_what_was_named_or_has_no_known_end_is_not_decided_by_cost(data_folder: Path, model_folder: Path) -> None:
    scoring = chosen(data_folder, model_folder, ENTROPY, Length(1), Generative(head="probe", layers=[2]), keep=0.25)
    assert scoring.entropy_head is None
    assert scoring.settings.generative == Generative(head="probe", layers=[2])
    endless = chosen(data_folder, model_folder, ENTROPY, Length(), keep=0.25)
    assert endless.settings.generative.head == "exact"
    assert endless.entropy_head is not None
    own_layers = chosen(data_folder, model_folder, ENTROPY, Length(1), Generative(layers=[0, 2]), keep=0.25)
    assert own_layers.layers == [0, 2]


@pytest.mark.usefixtures("large_enough")
def test_a_run_its_forecast_and_its_files_agree(here: Here, arguments: list[str], tmp_path: Path) -> None:

    options = [*arguments, "--data.selector", "EntropyInterval", "--data.keep", "0.25", "--trainer.max_epochs", "2"]
    estimated = here("estimate", *options, "--output", "estimated")
    told = here("fit", *options, "--output", "run")
    manifest = manifest_of(tmp_path / "run")
    choice = manifest["entropy_head"]
    assert choice["taken"] == "probe"
    for printed in (estimated, told):
        assert choice["why"] in " ".join(printed.split())
    signal = next(one for one in manifest["signals"] if one["name"] == "generative_entropy")
    assert (signal["arguments"]["head"], signal["arguments"]["layers"]) == ("probe", choice["layers"])
    assert choice["why"] in " ".join((tmp_path / "run" / "report.html").read_text().split())
    assert any(choice["why"] in one for one in forecast_of(tmp_path / "estimated")["assumptions"])

    # what it says of the exact pass and of the training is what these cost
    here("fit", *options, "--scorer.generative.head", "exact", "--output", "exact")
    spent = {
        stage: sum(one.flops or 0 for one in read_ledger(tmp_path / "exact" / "cost.jsonl") if one.stage == stage)
        for stage in ("score", "train")
    }
    assert choice["exact_flops"] == pytest.approx(spent["score"], rel=0.1)
    noted = manifest["diagnostics"]["signals"]["generative_entropy"]["exact_flops"]
    assert noted == pytest.approx(choice["exact_flops"])
    assert choice["training_flops"] == pytest.approx(spent["train"], rel=0.25)
    assert manifest_of(tmp_path / "exact")["entropy_head"] is None
    assert "generative.head" not in here("report", tmp_path / "exact")


@pytest.mark.usefixtures("large_enough")
def test_a_selection_that_was_made_is_not_asked_for_otherwise_by_a_longer_training(
    data_folder: Path, model_folder: Path, tmp_path: Path
) -> None:
    ledger = Ledger()

    def select(epochs: int) -> Selection:
        module = TextClassification(str(data_folder), max_length=32, selector=ENTROPY, keep=0.25, seed=0)
        module.load()
        request = module.request(ScorerSettings(max_batch_tokens=512), length=Length(epochs))
        assert request is not None
        return select_rows(
            request, FineTuner(str(model_folder), seed=0), trainer_for, ledger, folder=tmp_path / "selection"
        )

    first = select(1)
    assert first.manifest.entropy_head is not None
    assert first.manifest.entropy_head["taken"] == "probe"
    assert select(3000).manifest == first.manifest
    counting = [record for record in ledger.records if record.work == "entropy head"]
    assert [(record.stage, record.flops) for record in counting] == [("score", 0)], "charged once, to the selection"


def forecast_of(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "forecast.json").read_text())
    return content
