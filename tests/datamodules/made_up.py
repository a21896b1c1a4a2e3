"""Small classification data sets, and a Trainer for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pyarrow as pa
import pyarrow.parquet as pq

from tests.conftest import sentences


def write(folder: Path, **splits: dict[str, list]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in splits.items():
        pq.write_table(pa.table(content), folder / f"{name}.parquet")
    return folder


def split(n: int, seed: int, **more: list) -> dict[str, list]:
    texts, labels = sentences(n, seed)
    return {"text": texts, "label": labels, **more}


def trainer(**settings: Any) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, **settings,
    )  # fmt: skip
