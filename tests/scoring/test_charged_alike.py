"""A selection is charged what its signals cost from nothing, whichever of them an earlier one has left in the cache."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from selectune.costs.ledger import Ledger
from selectune.costs.record import distinct
from selectune.data.sources import ModelSource
from selectune.datamodules import TextClassification
from selectune.lightning_modules.scorers.settings import Generative, ScorerSettings
from selectune.signals.compute import compute_signals
from selectune.signals.definitions import Rows, ScoringModel
from tests.test_choosing import trainer_for

SELECTIONS = {
    "igse": ["information_entropy", "generative_entropy", "semantic_entropy"],
    "generative": ["generative_entropy"],
    "semantic": ["semantic_entropy"],
    "nearest": ["embedding"],
}


@pytest.mark.parametrize("estimator", ["masked", "masked_pseudo"])
def test_the_order_of_selections_changes_no_charge(
    estimator: str, data_folder: Path, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = TextClassification(str(data_folder), max_length=32, seed=0)
    data.load()
    settings = ScorerSettings(generative=Generative(estimator=estimator, k=3))  # type: ignore[arg-type]
    scoring = ScoringModel(ModelSource(model_folder, "local:tiny"), settings, 32, 512)
    rows = Rows(data.pool, data.tokenized("train", scoring.tokenizer)).take(np.arange(40))

    def charged(name: str) -> dict[str, float]:
        ledger = Ledger()
        compute_signals(SELECTIONS[name], rows, scoring, trainer_for, ledger, "fit")
        found: dict[str, float] = {"score": 0.0, "solve": 0.0}
        for record in distinct(ledger.records):
            assert record.flops is not None
            found[record.stage] += record.flops
        return found

    alone = {}
    for name in SELECTIONS:
        monkeypatch.setenv("SELECTUNE_CACHE", str(tmp_path / name))
        alone[name] = charged(name)
    assert alone["nearest"]["score"] == alone["semantic"]["score"] < alone["generative"]["score"]
    assert alone["generative"]["score"] <= alone["igse"]["score"]
    for number, order in enumerate(permutations(SELECTIONS)):
        monkeypatch.setenv("SELECTUNE_CACHE", str(tmp_path / str(number)))
        for name in [*order, *order]:
            assert charged(name) == pytest.approx(alone[name], rel=1e-9), f"{name} of {order}"
