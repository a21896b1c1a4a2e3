"""Keep what the held-out figures are made of, row by row, so that runs can be compared on the same rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np

from selectune.predictions import write_predictions


class RowFigures(pl.Callback):
    """Writes ``test_scores.parquet`` when a model is tested: a row of each held-out row, with its head's `row_figures`.

    A classifier has ``label`` and ``prediction``, numbers of classes; question answering ``em`` and ``f1``. Further
    held-out splits are left out, and so are heads whose metrics are not of rows.

    Args:
        file: to write.
    """

    def __init__(self, file: str | Path) -> None:
        self.file = Path(file)
        self._batches: list[dict[str, Any]] = []

    def on_test_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Take the figures of a batch."""
        if outputs and batch["split"] == "test":
            self._batches.append({"row_id": np.asarray(batch["rows"]), **outputs})

    def on_test_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Gather those of all ranks and write them by row id."""
        if pl_module.head.row_figures:
            write_predictions(self.file, self._batches)
        self._batches = []
