"""Say after a fit what the selection saved."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl

from selectune.callbacks.cost_ledger import CostLedger
from selectune.ledger import read_ledger
from selectune.savings import Saving, compute_saving


class Savings(pl.Callback):
    """Computes the saving from the ledger of a `CostLedger` callback when a fit ends.

    ``saving`` holds it then, and ``saving.json`` in the ledger's folder, if it has one.
    """

    saving: Saving | None = None

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compute and write the saving, on rank 0, after the ranks' records are all there."""
        trainer.strategy.barrier("savings")
        if trainer.global_rank == 0:
            self.refresh(trainer)

    def refresh(self, trainer: pl.Trainer) -> None:
        """Compute and write the saving from what the ledger holds by now."""
        costs: Any = next((callback for callback in trainer.callbacks if isinstance(callback, CostLedger)), None)  # type: ignore[attr-defined]
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        if costs is None or not hasattr(datamodule, "pool"):
            return
        batches: Any = trainer.fit_loop.epoch_loop.batch_progress.total
        path = costs.ledger.path
        lengths = datamodule.tokens["train"].input_tokens
        rows = datamodule.train_rows
        self.saving = compute_saving(
            read_ledger(path) if path else costs.ledger.records,
            kept_rows=len(rows),
            pool_rows=len(lengths),
            kept_tokens=int(lengths[rows].sum()),
            pool_tokens=int(lengths.sum()),
            epochs=batches.processed / max(1, int(trainer.num_training_batches)),
        )
        if path:
            self.saving.write(path.parent)
