"""The checkpoints of a run, and all the callbacks that a fit has."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason

from selectune.callbacks.cost_ledger import CostLedger
from selectune.callbacks.predictions import RowFigures
from selectune.callbacks.preemption import may_go_on_after
from selectune.callbacks.savings import Savings
from selectune.callbacks.training_check import training_failure
from selectune.common.run_files import LAST, RunFiles
from selectune.costs.ledger import Ledger

CHECKPOINT_MINUTES = 10


def fit_callbacks(run: RunFiles, ledger: Ledger, monitor: str, mode: str) -> list[pl.Callback]:
    """The callbacks of every fit: ledger, savings, metrics of rows, and the checkpoints ``best`` and ``last``."""
    best = _Checkpoint(
        run.checkpoints, filename="best", monitor=monitor, mode=mode, save_weights_only=True,
        enable_version_counter=False,
    )  # fmt: skip
    mine = [CostLedger(ledger=ledger), Savings(), RowFigures(run.row_metrics), StaysStopped()]
    return [*mine, best, *last_checkpoints(run.checkpoints)]


def last_checkpoints(folder: Path) -> list[pl.Callback]:
    """``last.ckpt``, after every epoch and every ten minutes."""
    every: list[dict[str, Any]] = [
        {"every_n_epochs": 1, "save_on_train_epoch_end": True},  # after validation and whoever reads its metrics
        {"train_time_interval": timedelta(minutes=CHECKPOINT_MINUTES)},
    ]
    return [_Last(folder, filename="last", save_top_k=1, enable_version_counter=False, **when) for when in every]


class StaysStopped(pl.Callback):
    """Ends a fit at once that goes on from a checkpoint at which `EarlyStopping` ended it, which Lightning forgets."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Ask the callbacks that a checkpoint has restored."""
        stopping = [one for one in trainer.early_stopping_callbacks if one is not None] if trainer.ckpt_path else []
        # not `stopped_epoch`, which is 0 of a fit that ended in its first epoch
        if any(one.stopping_reason is not EarlyStoppingReason.NOT_STOPPED for one in stopping):
            trainer.should_stop = True


class _Checkpoint(ModelCheckpoint):
    """Saves nothing of a training that was stopped as it is not finite, so that the last finite checkpoint stays."""

    def _should_skip_saving_checkpoint(self, trainer: pl.Trainer) -> bool:
        return training_failure(trainer) is not None or super()._should_skip_saving_checkpoint(trainer)


class _Last(_Checkpoint):
    """Saves at the end of a fit too, when steps were made since, as where ``max_steps`` ends it within an epoch."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if may_go_on_after(trainer, batch_idx):  # else the next batch or the end of the epoch saves
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        unsaved = self._train_time_interval is None and self._last_global_step_saved != trainer.global_step
        if unsaved and training_failure(trainer) is None:
            trainer.save_checkpoint(Path(str(self.dirpath)) / LAST)
