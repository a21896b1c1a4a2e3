"""One selection for several trainings: each is charged all of it, and says from how many on it pays."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from transformers import AutoModelForMaskedLM, AutoTokenizer

from selectune.costs.ledger import read_ledger
from selectune.costs.saving import SELECTION, Saving
from tests.conftest import Here, manifest_of


def test_several_seeds_and_models_share_a_selection(
    here: Here, selecting: list[str], model_folder: Path, tmp_path: Path
) -> None:
    """As docs/reproducing.md shows it: the scorer is one model, two others and another seed train on its rows."""
    other = tmp_path / "models" / "other"
    AutoModelForMaskedLM.from_pretrained(model_folder).save_pretrained(other)
    AutoTokenizer.from_pretrained(model_folder).save_pretrained(other)
    masked = ["--scorer.generative.estimator", "masked_pseudo"]  # seven passes
    here("select", *selecting, *masked, "--scorer.checkpoint", model_folder, "--output", tmp_path / "rows")
    arguments = selecting[: selecting.index("--data.selector")]
    shared = [*arguments, "--data.selection", str(tmp_path / "rows"), "--data.seed", "0", "--trainer.max_epochs", "1"]
    runs = {
        "seed 1": ["--seed_everything", "1"],
        "seed 2": ["--seed_everything", "2"],
        "other": ["--model.checkpoint", str(other)],
    }
    savings = []
    for name, more in runs.items():
        output = here("fit", *shared, *more, "--output", tmp_path / name)
        saving = Saving.read(tmp_path / name)
        assert manifest_of(tmp_path / name)["rows_hash"] == manifest_of(tmp_path / "rows")["rows_hash"]
        records = read_ledger(tmp_path / name / "cost.jsonl")
        assert all(record.cached for record in records if record.stage in SELECTION), "it was made once"
        assert saving.flops.selection == saving.flops.selection_avoided, "and is charged all the same"
        assert saving.scorer_ratio is not None
        assert saving.scorer_ratio.scorer == "local:tiny"
        assert " ".join(saving.break_even_sentence().split()) in output
        savings.append(saving.flops)
    selection, training, full = savings[0].selection, savings[0].training, savings[0].full_training
    assert selection is not None
    assert training is not None
    assert full is not None
    assert {terms.selection for terms in savings} == {selection}
    uses = savings[0].break_even_uses
    assert uses is not None
    assert uses > 1, "one epoch does not pay for it"
    enough = math.floor(uses) + 1
    assert selection + enough * training < enough * full, "so many uses pay"
    assert selection + (enough - 1) * training >= (enough - 1) * full, "and one fewer does not"
    assert all(terms.break_even_uses == pytest.approx(uses, rel=0.1) for terms in savings)
