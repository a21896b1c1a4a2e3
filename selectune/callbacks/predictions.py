"""Write predictions and the metrics of each held-out row, so that runs can be compared on the same rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np

from selectune.common.files import atomic_file
from selectune.common.ranks import gather, on_rank_zero


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

    def on_test_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        """Collect the metrics of a batch's rows."""
        if outputs and batch["split"] == "test":
            self._batches.append({"row_id": np.asarray(batch["rows"]), **outputs})

    def on_test_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Write the rows of all ranks."""
        if pl_module.head.row_metrics:
            write_predictions(self.file, self._batches)
        self._batches = []


def write_predictions(path: Path, batches: list[dict[str, Any]]) -> Path:
    """Write all ranks' predictions (results of `FineTuner.predict_step`) by row id; returns the path."""
    of_ranks = gather(batches)  # rows of a split are spread over the ranks, but rank 0 writes

    def write() -> Path:
        import pyarrow as pa
        import pyarrow.parquet as pq

        tables = [pa.table(columns) for batches in of_ranks for columns in batches]
        with atomic_file(path) as partial:
            pq.write_table(pa.concat_tables(tables).sort_by("row_id"), partial)
        return path

    return on_rank_zero(write)
