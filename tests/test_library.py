"""The Python API, in one process, as Lightning's users write it."""

from __future__ import annotations

from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch

from selectune import IGSE, CostLedger, Export, FineTuner, Random, Savings, TextClassification
from selectune.costs.flops import FlopModel
from selectune.selection.manifest import Selection
from tests.trainers import NoDropout, trainer_for


def trainer(**options: object) -> pl.Trainer:
    return trainer_for(**{"max_epochs": 1, **options})


def test_a_plain_fit_selects_first(data_folder: Path, model_folder: Path, tmp_path: Path) -> None:
    data = TextClassification(str(data_folder), max_length=32, selector=IGSE(), keep=0.25)
    costs, savings = CostLedger(tmp_path), Savings()
    trainer(callbacks=[costs, savings, Export(tmp_path / "export")]).fit(FineTuner(str(model_folder)), data)
    assert len(data.train_rows) == 54
    assert savings.saving is not None
    assert savings.saving.kept_rows == 54
    assert {record.stage for record in costs.ledger.records} >= {"score", "select", "train", "evaluate"}
    written = Selection.read(tmp_path, data.pool)
    np.testing.assert_array_equal(written.rows, data.train_rows)
    assert (tmp_path / "export" / "model.safetensors").is_file()


def test_counting_flops_is_on_the_clock_of_the_training(
    data_folder: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs, on_the_clock = CostLedger(), []
    count = FlopModel.fit

    def counting(counts: dict, check: int) -> FlopModel:
        on_the_clock.append((costs._training or costs._evaluation) is not None)
        return count(counts, check)

    monkeypatch.setattr(FlopModel, "fit", counting)
    data = TextClassification(str(data_folder), max_length=32, selector=Random(), keep_rows=20)
    trainer(callbacks=[costs]).fit(FineTuner(str(model_folder)), data)
    assert on_the_clock
    assert all(on_the_clock)


def test_a_selection_lives_without_files(data_folder: Path, model_folder: Path) -> None:
    data = TextClassification(str(data_folder), max_length=32, selector=Random(), keep_rows=20)
    trainer().fit(FineTuner(str(model_folder)), data)
    assert len(data.train_rows) == 20


def test_only_selected_rows_are_trained_on(data_folder: Path, model_folder: Path) -> None:
    data = TextClassification(str(data_folder), max_length=32, selector=Random(), keep_rows=20, batch_size=8)
    seen: list[int] = []

    class See(pl.Callback):
        def on_train_batch_start(
            self, trainer: pl.Trainer, module: pl.LightningModule, batch: dict, *_: object
        ) -> None:
            seen.extend(row for micro in batch["micro_batches"] for row in micro["rows"])

    trainer(callbacks=[See()]).fit(FineTuner(str(model_folder)), data)
    assert sorted(seen) == data.train_rows.tolist()


def test_micro_batches_change_memory_and_nothing_else(
    data_folder: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def weights(max_batch_tokens: int, at_once: int = 100_000) -> dict[str, torch.Tensor]:
        monkeypatch.setattr("selectune.data.batches.CPU_TOKENS", at_once)
        data = TextClassification(str(data_folder), max_length=32, max_batch_tokens=max_batch_tokens, seed=1)
        module = FineTuner(str(model_folder), learning_rate=1e-3, seed=1)
        no_dropout = NoDropout()
        trainer(callbacks=[no_dropout], max_steps=4).fit(module, data)
        return module.state_dict()

    whole = weights(100_000)
    for split in (weights(64), weights(100_000, 64), weights(256, 64)):
        for name in whole:
            torch.testing.assert_close(whole[name], split[name], atol=1e-6, rtol=1e-4)


def test_biases_and_norms_do_not_decay(data_folder: Path, model_folder: Path) -> None:
    data = TextClassification(str(data_folder), max_length=32, selector=Random(), keep_rows=20)
    module = FineTuner(str(model_folder), weight_decay=0.1)
    run = trainer()
    run.fit(module, data)
    decayed, kept = run.optimizers[0].param_groups
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)
    norms = {id(p) for m in module.modules() if isinstance(m, torch.nn.LayerNorm) for p in m.parameters()}
    assert norms <= {id(p) for p in kept["params"]}
    assert all(p.ndim >= 2 for p in decayed["params"])
    assert len(decayed["params"]) + len(kept["params"]) == len(list(module.network.parameters()))


def test_the_learning_rate_rises_and_falls(data_folder: Path, model_folder: Path) -> None:
    rates: list[float] = []

    class Watch(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    data = TextClassification(str(data_folder), max_length=32, batch_size=16)
    module = FineTuner(str(model_folder), learning_rate=1.0e-4, warmup=0.25)
    trainer(callbacks=[Watch()]).fit(module, data)
    top = int(np.argmax(rates))
    assert rates[top] == pytest.approx(1e-4)
    assert top == round(0.25 * len(rates))
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] > 0
