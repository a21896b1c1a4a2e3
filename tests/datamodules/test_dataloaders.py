"""Loaders, as Lightning asks for them."""

from __future__ import annotations

from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy

from selectune import FineTuner, TextClassification
from selectune.common.errors import DataError
from tests.mistakes import mistake
from tests.trainers import trainer_for


@pytest.mark.parametrize(("device", "pinned"), [("cpu", False), ("cuda", True)])
def test_batches_lie_in_pinned_memory_where_a_cuda_device_copies_them(
    device: str, pinned: bool, data_folder: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = TextClassification(str(data_folder), max_length=16, max_train_rows=20)
    found: list[bool] = []

    class Look(pl.Callback):
        def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
            data.setup("test")
            monkeypatch.setattr(SingleDeviceStrategy, "root_device", torch.device(device))
            loaders = data.train_dataloader(), data.val_dataloader(), data.test_dataloader(), data.predict_dataloader()
            found.extend(loader.pin_memory for loader in loaders)
            monkeypatch.undo()

    trainer_for(callbacks=[Look()], max_steps=1, limit_val_batches=0).fit(FineTuner(str(model_folder)), data)
    assert found == [pinned] * 4


def test_batches_of_few_lengths_say_the_same(data_folder: Path, model_folder: Path) -> None:
    found: dict[int, float] = {}
    widths: dict[int, set[int]] = {}
    for multiple in (1, 8):
        data = TextClassification(str(data_folder), max_length=32, max_batch_tokens=64, pad_to=multiple, seed=1)
        module = FineTuner(str(model_folder), seed=1)
        (metrics,) = trainer_for().test(module, data, verbose=False)
        found[multiple] = metrics["test/loss"]
        data.setup("fit")
        data.setup("predict")
        batches = [*data.test_dataloader(), *data.val_dataloader(), *data.predict_dataloader()]
        batches += [micro for batch in data.train_dataloader() for micro in batch["micro_batches"]]
        widths[multiple] = {batch["input_ids"].shape[1] for batch in batches}
        assert all(len(batch["rows"]) == 1 or batch["input_ids"].numel() <= 64 for batch in batches)
    assert widths[8] == {-(-width // 8) * 8 for width in widths[1]}
    assert len(widths[8]) < len(widths[1])
    assert found[8] == pytest.approx(found[1], abs=1e-5)


def test_rows_are_not_padded_beyond_what_they_are_cut_to() -> None:
    with mistake(DataError, "data.max_length is 100", "data.pad_to, 64", option="data.pad_to"):
        TextClassification("docstrings", max_length=100, pad_to=64)
