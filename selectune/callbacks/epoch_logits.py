"""Collect the logits of all validated rows, epoch by epoch."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import numpy as np

from selectune.common.ranks import gather, world


class EpochLogits(pl.Callback):
    """Collects the logits of the rows that a classifier is validated on, after each of its validations.

    Each rank validates rows of its own; rank 0 puts them together.
    """

    def __init__(self) -> None:
        self._batches: list[tuple[np.ndarray, np.ndarray]] = []
        self._validations: list[np.ndarray] = []

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        """Collect a batch."""
        self._batches.append((np.asarray(batch["rows"]), outputs["predictions"].float().cpu().numpy()))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the rows of all ranks in order.

        Raises:
            RuntimeError: a row was validated twice or not at all.
        """
        batches = [batch for of_rank in gather(self._batches) for batch in of_rank]
        self._batches = []
        if world()[0] != 0:
            return
        rows, logits = (np.concatenate(parts) for parts in zip(*batches))
        if not np.array_equal(np.sort(rows), np.arange(len(rows))):
            raise RuntimeError("the validated rows are not a permutation of the split's rows")
        ordered = np.empty_like(logits)
        ordered[rows] = logits
        self._validations.append(ordered)

    def logits(self) -> np.ndarray:
        """All of them, float32, shape (n_rows, n_validations, n_classes); on rank 0 alone."""
        return np.stack(self._validations, axis=1)
