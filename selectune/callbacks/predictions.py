"""Write predictions and the metrics of each held-out row, so that runs can be compared on the same rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np

from selectune.common.ranks import gather, on_rank_zero
from selectune.data.row_files import write_rows


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


def write_predictions(path: Path, batches: list[dict[str, Any]], row_ids: np.ndarray | None = None) -> Path:
    """Write all ranks' predictions (results of `FineTuner.predict_step`) by row id; returns the path.

    Args:
        path: a csv, jsonl or parquet file, by the end of its name.
        batches: of this rank.
        row_ids: of the rows that are counted in the batches, where they are other than their positions; ascending.
    """
    of_ranks = gather(batches)  # rows of a split are spread over the ranks, but rank 0 writes

    def write() -> Path:
        import pyarrow as pa

        tables = [pa.table(columns) for batches in of_ranks for columns in batches]
        table = pa.concat_tables(tables).sort_by("row_id")
        if row_ids is not None:
            table = table.set_column(0, "row_id", pa.array(row_ids[table["row_id"].to_numpy()]))
        return write_rows(path, table)

    return on_rank_zero(write)
