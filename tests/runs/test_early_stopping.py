"""A fit that Lightning's `EarlyStopping` ends is a finished run as any other, also beside its rivals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from selectune.costs.ledger import read_ledger
from selectune.costs.saving import Saving
from selectune.verdict.evidence import ARMS
from selectune.verdict.judge import read_verdict
from tests.conftest import Cli, Here, metrics_of, sentences, write_split
from tests.tables.test_compare import options

STOPPING = (
    "--trainer.max_epochs",
    "9",
    "--trainer.callbacks+",
    "EarlyStopping",
    "--trainer.callbacks.monitor",
    "val/loss",
    "--trainer.callbacks.patience",
    "1",
    "--trainer.callbacks.min_delta",
    "10",
)  # fmt: skip  (no loss falls by 10, so the second validation is the last)


def test_it_ends_early_and_everything_counts_the_epochs_that_were_run(
    here: Here, selecting: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    here("fit", *selecting, *STOPPING, "--output", run)
    (train,) = (record for record in read_ledger(run / "cost.jsonl") if record.stage == "train")
    saving = Saving.read(run)
    assert train.finished
    assert train.examples == 2 * saving.kept_rows
    assert saving.epochs == 2
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["epoch"] == 1
    assert (run / "checkpoints" / "best.ckpt").is_file()
    assert "test/accuracy" in metrics_of(run)
    assert (run / "done.json").is_file()
    assert read_verdict(run) is not None


# the second reaches its threshold with the first validation, at the end of epoch 0
@pytest.mark.parametrize("stopping", [STOPPING, (*STOPPING, "--trainer.callbacks.stopping_threshold", "100")])
def test_a_run_that_had_stopped_before_it_was_killed_trains_no_further(
    stopping: tuple[str, ...], here: Here, selecting: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    here("fit", *selecting, *stopping, "--output", run)
    before = metrics_of(run)
    (run / "done.json").unlink()  # killed while it was tested, say
    here("fit", *selecting, *stopping, "--output", run)
    trained = [record for record in read_ledger(run / "cost.jsonl") if record.stage == "train" and record.examples]
    assert len(trained) == 1
    assert metrics_of(run)["test/loss"] == pytest.approx(before["test/loss"], abs=1e-6)


@pytest.mark.slow
def test_it_is_compared_with_rivals_that_stop_too_and_with_an_adapter(
    cli: Cli, model_folder: Path, tmp_path: Path
) -> None:
    texts = tmp_path / "texts"
    write_split(texts / "train.parquet", *sentences(240, seed=1, length=(1, 3)))
    write_split(texts / "test.parquet", *sentences(80, seed=2, length=(1, 3)))
    lora = ["--model.lora.r", "16", "--model.lora.alpha", "16", "--model.gradient_checkpointing", "true"]
    stopping = [
        "--trainer.max_epochs", "20", "--trainer.callbacks+", "EarlyStopping", "--trainer.callbacks.monitor",
        "val/accuracy", "--trainer.callbacks.mode", "max", "--trainer.callbacks.patience", "50",
        "--trainer.callbacks.stopping_threshold", "0.9",
    ]  # fmt: skip
    run = tmp_path / "run"
    cli("fit", "--compare", "--seeds", "1", *options(texts, model_folder), *stopping, *lora, "--output", run)
    verdict = json.loads((run / "verdict.json").read_text())
    assert all(verdict[arm]["difference"] is not None for arm in ARMS)
    epochs = Saving.read(run / "compare" / "all_rows-0").epochs
    assert epochs is not None
    assert epochs < 20
    assert (run / "export" / "adapter_model.safetensors").is_file()
