"""Files of rows that others read: csv, jsonl and parquet, by the end of their name."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

from selectune.common.errors import UserError
from selectune.common.files import atomic_file, check_folder

if TYPE_CHECKING:
    import pyarrow as pa

KINDS = (".csv", ".jsonl", ".parquet")


def check_row_file(given: str, option: str) -> Path:
    """The path of a file of rows that can be written.

    Raises:
        UserError: it is of another kind, a folder, or in one that cannot be written.
    """
    path = Path(given).expanduser()
    if path.suffix.lower() not in KINDS:
        ends = " or ".join(KINDS)
        raise UserError(f"{option} is {given!r}, but must end in {ends}; name another file.", option=option)
    if path.is_dir():
        raise UserError(f"{option} is {given}, which is a folder; name a file in it.", option=option)
    check_folder(str(path.parent), f"The folder of {option}")
    return path


def write_rows(path: Path, table: pa.Table) -> Path:
    """Write rows, whole or not at all, as the end of a file's name says; returns the path.

    In csv texts are in quotes, so that ``null`` is one, and a missing one is an empty field.
    """
    import pyarrow.parquet as pq
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as partial:
        kind = path.suffix.lower()
        if kind == ".parquet":
            pq.write_table(table, partial)
        elif kind == ".csv":
            Dataset(table).to_csv(str(partial), quoting=csv.QUOTE_NONNUMERIC)
        else:
            Dataset(table).to_json(str(partial), force_ascii=False, double_precision=15)
    return path
