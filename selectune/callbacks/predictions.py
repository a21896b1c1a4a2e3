"""Keep what the held-out figures are made of, row by row, so that runs can be compared on the same rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch

from selectune.common.files import atomic_file
from selectune.common.ranks import on_rank_zero, world


class RowFigures(pl.Callback):
    """Writes ``test_scores.parquet`` when a model is tested: a row of each held-out row, with its head's `row_metrics`.

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
        if pl_module.head.row_metrics:
            write_predictions(self.file, self._batches)
        self._batches = []


def write_predictions(path: Path, batches: list[dict[str, Any]]) -> Path:
    """Gather all ranks' predictions and write them by row id.

    Args:
        path: the file.
        batches: this rank's answers of `FineTuner.predict_step`.

    Returns:
        The file.
    """
    everyone: list[Any] = [batches]
    if world()[1] > 1:
        everyone = [None] * world()[1]
        torch.distributed.all_gather_object(everyone, batches)

    def write() -> Path:
        import pyarrow as pa
        import pyarrow.parquet as pq

        tables = [pa.table(columns) for answers in everyone for columns in answers]
        with atomic_file(path) as partial:
            pq.write_table(pa.concat_tables(tables).sort_by("row_id"), partial)
        return path

    return on_rank_zero(write)
