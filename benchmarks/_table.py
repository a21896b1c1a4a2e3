"""Output of the benchmarks: rows in long form, one printed table, ``--csv`` and ``--check``."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from selectune.common.files import atomic_file

Record = TypeVar("Record")


class Row(NamedTuple):
    """One measured figure; the metric's name holds its unit, e.g. ``median_s``."""

    case: str
    variant: str
    metric: str
    value: float


def parser(doc: str) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark has; its help is the script's docstring."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--csv", type=Path, metavar="PATH", help="write the numbers too: case,variant,metric,value")
    made.add_argument("--check", action="store_true", help="exit with 1 when a bar is missed")
    return made


def finish(rows: Iterable[Row], missed: Iterable[str], options: argparse.Namespace) -> None:
    """Print the table, write the file that was asked for, tell the bars that were missed, and exit.

    Args:
        rows: what was measured.
        missed: a sentence for each bar that was missed.
        options: as `parser` gave them.
    """
    rows, missed = list(rows), list(missed)
    print(table(rows))
    if options.csv:
        write(rows, options.csv)
    for sentence in missed:
        print(f"missed: {sentence}", file=sys.stderr)
    sys.exit(1 if missed and options.check else 0)


def table(rows: list[Row]) -> str:
    """Cases and variants down, metrics across, in the order in which they come."""
    metrics = list(dict.fromkeys(row.metric for row in rows))
    lines = list(dict.fromkeys((row.case, row.variant) for row in rows))
    values = {(row.case, row.variant, row.metric): f"{row.value:,.4g}" for row in rows}
    cells = [["case", "variant", *metrics]]
    cells += [[*line, *(values.get((*line, metric), "") for metric in metrics)] for line in lines]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    text = [
        [cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))] for row in cells
    ]
    text.insert(1, ["-" * w for w in widths])
    return "\n".join("  ".join(row).rstrip() for row in text)


def write(rows: Iterable[Row], path: Path) -> None:
    """Write rows in long form."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Row._fields)
        writer.writerows(rows)


def read_records(kind: type[Record], file: Path | None) -> list[Record]:
    """The records of a data class, of strings and numbers, that a file holds; none where it is not there."""
    if file is None or not file.is_file():
        return []
    types: dict[Any, type] = {"str": str, "int": int, "float": float}
    named: Any = fields(kind)  # type: ignore[arg-type]
    with file.open(newline="") as handle:
        lines = list(csv.DictReader(handle))
    return [kind(**{field.name: types[field.type](line[field.name]) for field in named}) for line in lines]


def write_records(records: list[Any], file: Path) -> None:
    """Write records of one data class, a line each, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(file) as partial, partial.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, [field.name for field in fields(records[0])], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(record) for record in records)
