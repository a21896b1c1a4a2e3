"""A review of a pool: rows that someone looked at and said to drop, to keep, or to give another label.

It is a file with the columns ``row_id``, ``action`` (``drop``, ``keep`` or ``relabel``) and ``label``, such as
``findings.parquet`` with a column ``action`` added; other columns are ignored.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selectune.common.errors import DataError
from selectune.data.labels import class_label
from selectune.data.row_files import KINDS

if TYPE_CHECKING:
    from selectune.data.pool import Pool

ACTIONS = ("drop", "keep", "relabel")
OPTION = "data.review"
Line = dict[str, Any]


@dataclass(frozen=True)
class Review:
    """The decisions of a review, on rows of the pool as it was before.

    Args:
        file: that they were read from.
        hash: of its content.
        dropped: row ids, ascending.
        kept: row ids, ascending.
        relabelled: row ids, ascending.
        labels: of these rows, as they are written in the file.
    """

    file: Path
    hash: str
    dropped: np.ndarray
    kept: np.ndarray
    relabelled: np.ndarray
    labels: list[Any]

    @classmethod
    def read(cls, path: str, pool: Pool) -> Review:
        """Read a review of a pool.

        Args:
            path: of a parquet, csv or jsonl file.
            pool: as it was when it was diagnosed.

        Raises:
            DataError: the file is missing or cannot be read, lacks a column, is of another pool (where it says of
                which), or has a row outside the pool, an unknown action, or lines that contradict each other.
        """
        file = Path(path).expanduser()
        if not file.is_file():
            raise _mistake(f"There is no review {file}; check {OPTION} (relative paths start at {Path.cwd()}).", file)
        if file.suffix.lower() not in KINDS:
            raise _mistake(f"A review is a {', '.join(KINDS)} file, but {OPTION} names {file}; convert it.", file)
        lines, columns, fingerprint = _lines(file)
        for column in ("row_id", "action"):
            if column not in columns:
                actions = " (drop, keep, relabel or nothing)" if column == "action" else ""
                raise _mistake(f"The review {file} has no column '{column}'; add it{actions}.", file)
        if fingerprint is not None and fingerprint != pool.fingerprint:
            raise _mistake(
                f"The review {file} is of another pool, with fingerprint {fingerprint[:12]}, while this pool has "
                f"{len(pool):,} rows of {pool.source} with fingerprint {pool.fingerprint[:12]}; use the data, seed and "
                "data.max_train_rows that were diagnosed.",
                file,
            )
        decisions = _decisions(lines, len(pool), file)
        of = {action: sorted(row for row in decisions if decisions[row][0] == action) for action in ACTIONS}
        dropped, kept, relabelled = (np.array(of[action], dtype=np.int64) for action in ACTIONS)
        content_hash = hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()
        return cls(file, content_hash, dropped, kept, relabelled, [decisions[row][1] for row in of["relabel"]])


def _mistake(message: str, file: Path, row: int | None = None) -> DataError:
    return DataError(message, option=OPTION, path=file, rows=[] if row is None else [row])


def _lines(file: Path) -> tuple[list[Line], list[str], str | None]:
    """The lines of a file, its columns, and the fingerprint of the pool that it is of, where it has one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if file.suffix.lower() == ".parquet":
            table = pq.read_table(file)
            named = [name for name in ("row_id", "action", "label") if name in table.column_names]
            fingerprint = (table.schema.metadata or {}).get(b"pool_fingerprint")
            return table.select(named).to_pylist(), named, None if fingerprint is None else fingerprint.decode()
        text = file.read_bytes().decode("utf-8-sig")
        if file.suffix.lower() == ".csv":
            reader = csv.DictReader(io.StringIO(text, newline=""))
            return list(reader), list(reader.fieldnames or []), None
        lines = [json.loads(line) for line in text.split("\n") if line.strip()]
        if not all(isinstance(line, dict) for line in lines):
            raise ValueError("a line is no object")
        return lines, list(dict.fromkeys(name for line in lines for name in line)), None
    except (OSError, ValueError, csv.Error, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise _mistake(f"The review {file} cannot be read ({reason}); correct it.", file) from error


def _decisions(lines: list[Line], n_rows: int, file: Path) -> dict[int, tuple[str, Any]]:
    """Action and new label of each row that has an action."""
    decisions: dict[int, tuple[str, Any]] = {}
    for line in lines:
        if (given := _value(line.get("action"))) is None:
            continue
        action = str(given).lower()
        row, label = _value(line.get("row_id")), None
        if not isinstance(row, int) or not 0 <= row < n_rows:
            raise _mistake(f"The review {file} has the row_id {row!r}, but the pool has rows 0 to {n_rows - 1}.", file)
        if action not in ACTIONS:
            known = ", ".join(ACTIONS)
            raise _mistake(f"The review {file} has the action {action!r} for row {row}; use one of {known}.", file, row)
        if action == "relabel" and (label := _value(line.get("label"))) is None:
            raise _mistake(f"The review {file} relabels row {row} without a label; write one.", file, row)
        if decisions.setdefault(row, (action, label)) != (action, label):
            message = f"Lines of the review {file} contradict each other on row {row}; make them agree."
            raise _mistake(message, file, row)
    return decisions


def _value(given: object) -> int | str | None:
    """A field of a line, as labels are compared; None where it is empty."""
    try:
        return class_label(given)
    except TypeError:
        return str(given)
