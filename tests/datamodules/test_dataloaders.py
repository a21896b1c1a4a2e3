"""Loaders, as Lightning asks for them."""

from __future__ import annotations

from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy

from selectune import FineTuner, TextClassification
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
