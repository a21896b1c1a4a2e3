"""``predictions.parquet``: what a model says of every row of the held-out split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from selectune.distributed import on_rank_zero, world
from selectune.paths import atomic_file


def write_predictions(path: Path, batches: list[dict[str, Any]], module: Any, datamodule: Any) -> Path:
    """Gather all ranks' predictions and write them by row id.

    Args:
        path: the file.
        batches: this rank's answers of `FineTuner.predict_step`.
        module: whose head says what a prediction is called.
        datamodule: whose held-out split was predicted.

    Returns:
        The file.
    """
    mine = [(batch["rows"], batch["predictions"].numpy()) for batch in batches]
    everyone: list[Any] = [mine]
    if world()[1] > 1:
        everyone = [None] * world()[1]
        torch.distributed.all_gather_object(everyone, mine)

    def write() -> Path:
        import pyarrow as pa
        import pyarrow.parquet as pq

        parts = [part for answers in everyone for part in answers]
        rows = np.concatenate([rows for rows, _ in parts])
        predictions = np.concatenate([values for _, values in parts])
        order = np.argsort(rows)
        columns = {"row_id": rows[order], **module.head.columns(predictions[order])}
        with atomic_file(path) as partial:
            pq.write_table(pa.table(columns), partial)
        return path

    return on_rank_zero(write)
