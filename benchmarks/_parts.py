"""Parts of a data set that share no text, the same on every machine."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def place_of(text: str) -> float:
    """A place from 0 up to 1, by the hash of a text's words in lower case."""
    return hashlib.blake2b(" ".join(text.casefold().split()).encode(), digest_size=8).digest()[0] / 256


def write(rows: dict[str, list[Any]], file: Path) -> None:
    """Columns as a parquet file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(rows), file)
