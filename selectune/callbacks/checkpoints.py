"""The checkpoints of a run, and all the callbacks that a fit has."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint

from selectune.callbacks.cost_ledger import CostLedger
from selectune.callbacks.predictions import RowFigures
from selectune.callbacks.savings import Savings
from selectune.callbacks.training_check import training_failure
from selectune.common.run_files import LAST, RunFiles
from selectune.costs.ledger import Ledger

CHECKPOINT_MINUTES = 10


def fit_callbacks(run: RunFiles, ledger: Ledger, monitor: str, mode: str) -> list[pl.Callback]:
    """The callbacks that every fit has: ledger, savings, figures of rows, and the checkpoints ``best`` and ``last``."""
    best = _Checkpoint(
        run.checkpoints, filename="best", monitor=monitor, mode=mode, save_weights_only=True,
        enable_version_counter=False,
    )  # fmt: skip
    return [CostLedger(ledger=ledger), Savings(), RowFigures(run.row_metrics), best, *last_checkpoints(run.checkpoints)]


def last_checkpoints(folder: Path) -> list[pl.Callback]:
    """``last.ckpt``, after every epoch and every ten minutes."""
    every: list[dict[str, Any]] = [
        {"every_n_epochs": 1, "save_on_train_epoch_end": True},  # after validation and whoever reads its metrics
        {"train_time_interval": timedelta(minutes=CHECKPOINT_MINUTES)},
    ]
    return [_Last(folder, filename="last", save_top_k=1, enable_version_counter=False, **when) for when in every]


class _Checkpoint(ModelCheckpoint):
    """Saves nothing of a training that was stopped as it is not finite, so that the last whole checkpoint stays."""

    def _should_skip_saving_checkpoint(self, trainer: pl.Trainer) -> bool:
        return training_failure(trainer) is not None or super()._should_skip_saving_checkpoint(trainer)


class _Last(_Checkpoint):
    """Saves at the end of a fit too, when steps were made since, as where ``max_steps`` ends it within an epoch.

    Not after a batch that a validation follows: who goes on from there begins with the next batch, so the validation
    would be left out, and with it a best model. The next batch or the end of the epoch saves instead.
    """

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        counted = trainer.fit_loop.total_batch_idx if trainer.check_val_every_n_epoch is None else batch_idx
        ends = trainer.is_last_batch or batch_idx + 1 >= trainer.num_training_batches
        if not ends and (counted + 1) % (trainer.val_check_batch or math.inf):
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        if training_failure(trainer) is not None:
            return
        if self._train_time_interval is None and self._last_global_step_saved != trainer.global_step:
            trainer.save_checkpoint(Path(str(self.dirpath)) / LAST)
