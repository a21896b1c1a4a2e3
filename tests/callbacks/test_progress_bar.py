"""Metrics in the progress bar of a training."""

from __future__ import annotations

from pathlib import Path

from selectune import FineTuner, TextClassification
from selectune.callbacks.trainer import Trainer


def test_no_metric_stands_without_its_rows(data_folder: Path, model_folder: Path) -> None:
    data = TextClassification(str(data_folder), max_length=32, max_batch_tokens=256, max_train_rows=40)
    module = FineTuner(str(model_folder))
    trainer = Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_model_summary=False
    )
    trainer.fit(module, data)
    bar = trainer.progress_bar_callback
    assert bar is not None
    shown = [name for name in bar.get_metrics(trainer, module) if name.startswith("val/")]
    n_rows = len(data.splits["dev"])
    assert {f"val/accuracy over {n_rows:,} rows", f"val/loss over {n_rows:,} rows"} <= set(shown)
    assert all(name.endswith(f" over {n_rows:,} rows") for name in shown)
