"""Selecting from a small data set in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selectune.costs.ledger import Ledger
from selectune.datamodules import TextClassification
from selectune.lightning_modules import FineTuner
from selectune.lightning_modules.scorers.settings import ScorerSettings
from selectune.selection.manifest import Selection
from selectune.selection.stage import select_rows
from selectune.selectors.base import Selector
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
