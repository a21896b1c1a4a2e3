"""Reads csv files as texts: each field as it was written, and nothing but an empty field missing."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
import pyarrow as pa

from selectune.common.errors import DataError, EmptyDataError

if TYPE_CHECKING:
    from datasets import Dataset

SEPARATORS = {",": "','", ";": "';'", "\t": "tab", "|": "'|'"}  # each as the command line takes it
BATCH_ROWS, BATCH_CHARACTERS = 10_000, 1 << 26
END = "\0end of file\0"  # a line after the last one, which is a row of its own unless a quote was left open


@dataclass
class CsvConfig(datasets.BuilderConfig):
    """The format of the files; `datasets` makes it part of its cache's key, with the files and their times."""

    separator: str = ","
    encoding: str = "utf-8-sig"


class CsvBuilder(datasets.ArrowBasedBuilder):
    """Converts csv files to Arrow files in the cache of `datasets`, all columns strings.

    The csv reader of `datasets` guesses types and takes words such as ``null`` and ``NA`` for missing values.
    """

    BUILDER_CONFIG_CLASS = CsvConfig
    VERSION = "1.0.0"  # raise it where the same file is read otherwise, since converted files are kept

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo()

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        named = [file for part in self.config.data_files.values() for file in part]
        files = [(name, file) for name in named for file in dl_manager.iter_files([dl_manager.extract(name)])]
        return [datasets.SplitGenerator(name="train", gen_kwargs={"files": files})]

    def _generate_tables(self, files: list[tuple[str, str]]) -> Iterator[tuple[Any, pa.Table]]:
        columns: list[str] | None = None
        for number, (name, file) in enumerate(files):
            for part, table in enumerate(_tables(Path(file), name, self.config.separator, self.config.encoding)):
                columns = columns or table.column_names
                if set(table.column_names) != set(columns):
                    raise DataError(
                        f"{name} has the columns {', '.join(table.column_names)}, but other files of its split have "
                        f"{', '.join(columns)}; make them alike."
                    )
                yield f"{number}-{part}", table.select(columns)
        if columns is None:
            raise EmptyDataError(f"{files[0][0]} has no rows; a split must have at least one.")


def read_csv(files: Any, separator: str, encoding: str) -> Dataset:
    """One split from csv files, given as `datasets` takes them in ``data_files``.

    Raises:
        DataError: a file is empty, in another encoding, with another separator, or a line is broken.
    """
    builder = CsvBuilder(data_files={"train": files}, separator=separator, encoding=encoding)
    builder.download_and_prepare()
    return builder.as_dataset(split="train")


def _tables(path: Path, file: str, separator: str, encoding: str) -> Iterator[pa.Table]:
    """The rows of a file, which lies unpacked at a path, in tables of bounded size."""

    def table(rows: Sequence[Sequence[str]]) -> pa.Table:
        columns = {name: [row[place] or None for row in rows] for name, place in places.items()}
        return pa.table({name: pa.array(column, pa.string()) for name, column in columns.items()})

    limit = csv.field_size_limit(sys.maxsize)  # a text may be longer than the 128 KiB of the default
    try:
        with path.open(encoding=encoding, newline="") as handle:
            rows = _rows(file, handle, separator)
            places = _columns(file, next(rows), separator)
            batch: list[list[str]] = []
            characters = 0
            for row in rows:
                batch.append(row)
                characters += sum(map(len, row))
                if len(batch) == BATCH_ROWS or characters >= BATCH_CHARACTERS:
                    yield table(batch)
                    batch, characters = [], 0
            if batch:
                yield table(batch)
    except UnicodeError as error:
        raise _encoding_error(path, file, encoding) from error
    finally:
        csv.field_size_limit(limit)


def _rows(file: str, lines: Iterator[str] | Any, separator: str) -> Iterator[list[str]]:
    """The header and the rows, all of as many fields, blank lines left out."""
    reader = csv.reader(chain(lines, [END]), delimiter=separator)
    width, line = 0, 1
    for row in reader:
        if row == [END]:
            break
        if not width and any("\0" in name for name in row):
            raise DataError(f"{file} looks like UTF-16; set --data.encoding utf-16.")
        if row and row[-1].endswith(END):
            raise DataError(
                f"A quote that is opened in the row at line {line} of {file} is never closed; close it, or double a "
                "quote that belongs to the text."
            )
        width = width or len(row)
        if row and len(row) != width:
            raise DataError(
                f"The row at line {line} of {file} has {len(row)} field(s), but the header has {width}; put texts that "
                f"hold {SEPARATORS.get(separator, repr(separator))}, quotes or line breaks into double quotes, with "
                "each quote in them doubled."
            )
        if row:
            yield row
        line = reader.line_num + 1
    if not width:
        raise EmptyDataError(f"The file {file} is empty; data.dataset needs one with a header and rows.")


def _columns(file: str, header: Sequence[str], separator: str) -> dict[str, int]:
    """Position of each named column; a column without a name, as of row numbers, is left out."""
    names = [name.strip() for name in header]
    line = separator.join(names)
    other = max(SEPARATORS, key=line.count)
    if line.count(other) > line.count(separator):
        raise DataError(
            f"The header of {file}, {line[:80]!r}, looks as if columns were separated by {SEPARATORS[other]}; set "
            f"--data.separator {SEPARATORS[other]}."
        )
    places = {name: place for place, name in enumerate(names) if name}
    if twice := [name for name in places if names.count(name) > 1]:
        raise DataError(f"{file} has {names.count(twice[0])} columns '{twice[0]}'; rename all but one.")
    if not places:
        raise DataError(f"The first line of {file} names no column; it must be a header such as text,label.")
    return places


def _encoding_error(path: Path, file: str, encoding: str) -> DataError:
    """The error for a file that is in another encoding than it was read in."""
    line = None
    if encoding == "utf-8-sig":  # in UTF-16 lines do not end at a byte
        with path.open("rb") as handle:
            # a line with other bytes than those of UTF-8 loses them on the way to text and back
            bad = (i for i, raw in enumerate(handle, 1) if raw.decode("utf-8", "ignore").encode() != raw)
            line = next(bad, None)
    place, name = f"Line {line} of {file}" if line else file, encoding.removesuffix("-sig").upper()
    return DataError(
        f"{place} is not {name}; name its encoding, for instance --data.encoding cp1252 (Windows, "
        "western Europe) or latin-1."
    )
