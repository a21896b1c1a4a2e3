"""``predictions.parquet``: what a model says of every row of the held-out split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from selectune.distributed import on_rank_zero, world
from selectune.paths import atomic_file


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
