"""The Trainer: Lightning's, whose checkpoints are whole, and whose progress bar says what a metric is of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.plugins import TorchCheckpointIO

from selectune.callbacks.checkpoint_io import WholeCheckpointIO
from selectune.common.errors import NoRoomError
from selectune.common.memory import keep_freed_memory
from selectune.common.ranks import on_rank_zero

# Batches from one refresh of a progress bar to the next: each reads the loss, and so waits for the device.
REFRESHED = 20


class Trainer(pl.Trainer):
    """Lightning's Trainer with `WholeCheckpointIO`, unless its plugins have another.

    On a CPU the process keeps freed memory for its next batch (`keep_freed_memory`). Elsewhere the progress bar is
    refreshed every 20 batches, unless a callback asks for another number than 1.

    Args:
        kwargs: as Lightning's takes them.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if type(self.strategy.checkpoint_io) is TorchCheckpointIO:
            self.strategy.checkpoint_io = WholeCheckpointIO()
        if self.strategy.root_device.type == "cpu":
            keep_freed_memory()
        if (bar := self.progress_bar_callback) is not None:
            if self.strategy.root_device.type != "cpu" and getattr(bar, "_refresh_rate", 0) == 1:
                bar._refresh_rate = REFRESHED  # type: ignore[attr-defined]
            bar.get_metrics = _with_rows(bar.get_metrics)  # type: ignore[method-assign]

    def save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Save a checkpoint, on all ranks.

        Raises:
            UserError: on every rank, when the file system that rank 0 writes to is full.
        """
        # What was logged is written before a checkpoint counts its steps as done, or a kill right after it would lose
        # it: Lightning logs the metrics of a batch after its checkpoint. `MetricsLog` leaves out what it gets twice.
        connector, loop = self._logger_connector, self.fit_loop
        in_a_batch = self.training and isinstance(connector._first_loop_iter, bool)
        if in_a_batch and connector.should_update_logs and not loop._should_accumulate():
            connector.log_metrics(connector.metrics["log"])
        for logger in self.loggers:
            logger.save()
        failure: NoRoomError | None = None
        try:
            super().save_checkpoint(*args, **kwargs)
        except NoRoomError as error:
            failure = error
            self.strategy.barrier("Trainer.save_checkpoint")  # which the other ranks wait in

        def raise_failure() -> None:
            if failure is not None:
                raise failure

        on_rank_zero(raise_failure)  # rank 0 alone writes, but all ranks must end


def _with_rows(get_metrics: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """The metrics of a progress bar, those of ``val`` with the rows that they were measured on."""

    def counted(trainer: pl.Trainer, module: pl.LightningModule) -> dict[str, Any]:
        n_rows = getattr(module, "evaluated", {}).get("val")
        over = "" if n_rows is None else f" over {n_rows:,} rows"
        metrics = get_metrics(trainer, module)
        return {f"{name}{over if name.startswith('val/') else ''}": value for name, value in metrics.items()}

    return counted
