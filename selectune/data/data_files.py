"""Reads data sets from files, folders and the hub, with `datasets`; csv files by a reader of our own.

Text files, and those of csv and json, may be compressed by gzip; their names then end in ``.gz``.
"""

from __future__ import annotations

import codecs
import glob
import gzip
import logging
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import numpy as np

from selectune.common.errors import DataError, EmptyDataError, MissingDataError

if TYPE_CHECKING:
    from datasets import Dataset

READERS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".txt": "text", ".parquet": "parquet"}
# Kinds of files that are told from names of the hub, and why they are not read.
OTHER_KINDS = {
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "a workbook"),
    **dict.fromkeys((".gz", ".bz2", ".xz", ".zst"), "compressed"),
    **dict.fromkeys((".zip", ".tar", ".tgz", ".7z", ".rar"), "an archive"),
    **dict.fromkeys((".pkl", ".pickle", ".joblib", ".pt", ".pth"), "a pickle, which can run code when it is read"),
    **dict.fromkeys((".text", ".md"), "a text without columns"),
    **dict.fromkeys((".arrow", ".feather", ".h5", ".hdf5", ".npy", ".npz", ".db", ".sqlite"), "of another kind"),
}
USUAL_SPLITS = {"train", "training", "validation", "valid", "val", "dev", "test", "testing", "eval", "evaluation"}
ONLY_EMPTY = {"keep_default_na": False, "na_values": [""]}  # of a csv that `datasets` reads itself
# Settings that leave the reading of files to us: where they are, and how a csv file is written.
_KINDS = "csv, tsv, json, jsonl, txt or parquet"
_GZIP = b"\x1f\x8b"  # how such a file begins
PLAIN = {"name", "version", "data_dir", "data_files", "description", "sep", "delimiter", "encoding"}


@dataclass(frozen=True)
class FileFormat:
    r"""Format of text files: separator and encoding.

    Args:
        separator: of the columns of csv files, one character, or ``tab``; default the comma, of ``.tsv`` the tab.
        encoding: of csv, json and txt files, as Python names it; default UTF-8.

    Raises:
        DataError: the separator is no single character, or there is no such encoding.
    """

    separator: str | None = None
    encoding: str | None = None

    def __post_init__(self) -> None:
        separator = {"tab": "\t", "\\t": "\t"}.get(self.separator or "", self.separator)
        if separator is not None and (len(separator) != 1 or separator in '"\r\n'):
            raise DataError(f"data.separator is {separator!r}, but must be one character, such as ';', or tab.")
        object.__setattr__(self, "separator", separator)
        if self.encoding is not None:
            try:
                known = codecs.lookup(self.encoding)
                "".encode(self.encoding)  # there are codecs of bytes too, such as zip
            except LookupError:
                raise DataError(
                    f"There is no encoding {self.encoding}; name another in data.encoding, such as utf-8, cp1252, "
                    "latin-1 or utf-16."
                ) from None
            object.__setattr__(self, "encoding", "utf-8-sig" if known.name == "utf-8" else known.name)

    def check(self, kind: str, name: str) -> None:
        """Refuse options that a kind of files (``csv``, ``json``, ``text``, ``parquet``) does not have."""
        for option, kinds in (("separator", ("csv",)), ("encoding", ("csv", "json", "text"))):
            if getattr(self, option) is not None and kind not in kinds:
                raise DataError(f"data.{option} is for {' and '.join(kinds)} files, but {name} is not; leave it out.")


def kind_of(path: str | Path) -> str | None:
    """Reader of a file by the end of its name, with or without ``.gz``; None where it has none.

    A parquet file is compressed by itself, so one in gzip is of no kind.
    """
    name = Path(path).name.lower()
    kind = READERS.get(Path(name.removesuffix(".gz")).suffix)
    return None if kind == "parquet" and name.endswith(".gz") else kind


def refuse_other_kinds(path: Path) -> None:
    """Refuse a file, or what is named like one, of a kind that is not read.

    Raises:
        DataError: it is one.
    """
    kind = OTHER_KINDS.get(path.suffix.lower())
    if kind is None and not path.is_file():
        return
    if not path.exists():
        raise DataError(f"There is no file {path}, and one of its kind is not read; name a {_KINDS} file.")
    raise DataError(
        f"{path} is {kind or 'a file of a kind that its name does not say'}, and not read; save its rows as a {_KINDS} "
        "file, and name that in data.dataset."
    )


def load_file(path: Path, how: FileFormat) -> dict[str, Dataset]:
    """One file as a split ``train``; DataError where it does not exist, is empty, or cannot be read."""
    if not path.is_file():
        raise DataError(f"There is no file {path}; check data.dataset (relative paths start at {Path.cwd()}).")
    if path.stat().st_size == 0:
        raise EmptyDataError(f"The file {path} is empty; data.dataset needs one with a header and rows.")
    if (kind := kind_of(path)) is None:
        refuse_other_kinds(path)
    assert kind is not None
    how.check(kind, path.name)
    return {"train": _load_split(kind, [str(path)], how, path)}


def load_folder(folder: Path, how: FileFormat) -> dict[str, Dataset]:
    """A folder in the hub's layout; ``<split>.parquet`` is a split of that name.

    `datasets` finds splits by keywords, so it would join MNLI's ``validation_matched`` and ``validation_mismatched``.
    """
    files: dict[str, list[str]] = {}
    for file in sorted(folder.glob("*.parquet")):
        files.setdefault(re.sub(r"-\d{5}-of-\d{5}$", "", file.stem), []).append(str(file))
    unusual = set(files) - USUAL_SPLITS
    if "train" in files and unusual and all(re.fullmatch(r"(?!train)\w+", name) for name in unusual):
        how.check("parquet", str(folder))
        return {name: _load_split("parquet", of_split, how, folder) for name, of_split in files.items()}
    return load_named(str(folder), how, folder=folder)


def load_named(
    path: str, how: FileFormat, config: str | None = None, revision: str | None = None, folder: Path | None = None
) -> dict[str, Dataset]:
    """The splits that `datasets` finds under a name of the hub, or in a folder.

    Those of a folder are read one by one, as types may differ. A description that comes with the data (its
    ``README.md``) decides types and format, where there is one.
    """
    where = folder or (f"{path}/{config}" if config else path)
    datasets = _quiet_datasets()
    try:
        with TemporaryDirectory() as nowhere:  # in the cache it would find the types of an earlier reading
            cache = nowhere if folder else None
            builder = datasets.load_dataset_builder(path, config, revision=revision, cache_dir=cache)
        kind = builder.name
        if kind in READERS.values():
            how.check(kind, str(where))
        if folder is not None and kind in READERS.values() and builder.info.features is None:
            given, default = builder.config, type(builder.config)()
            names = [field.name for field in fields(given)]
            if {name for name in names if getattr(given, name) != getattr(default, name)} <= PLAIN:
                separator = getattr(given, "sep", ",")  # the description's, unless an option says otherwise
                separator = how.separator or (separator if separator != "," else None)
                how = FileFormat(separator, how.encoding or getattr(given, "encoding", None))
                files = given.data_files.items()
                return {str(split): _load_split(kind, list(of_split), how, folder) for split, of_split in files}
        options: dict[str, Any] = {"sep": how.separator, "encoding": how.encoding}
        options = {option: value for option, value in options.items() if value is not None}
        options |= ONLY_EMPTY if kind == "csv" else {}
        return dict(datasets.load_dataset(path, config, revision=revision, **options))
    except Exception as error:
        raise _data_error(error, where, hub=folder is None) from error


def without_blank_lines(splits: dict[str, Dataset]) -> tuple[dict[str, Dataset], dict[str, np.ndarray]]:
    """Splits without the blank lines of text files, and where the rows of such a split stand among all of its lines.

    Returns:
        The splits; and by the names of those with blank lines, the positions of their other rows, shape (n_rows,).
    """
    left = dict(splits)
    places = {}
    for name, split in splits.items():
        if split.info.builder_name != "text":
            continue
        filled = np.array([row for row, text in enumerate(split["text"]) if text.strip()], dtype=np.int64)
        if len(filled) < len(split):
            left[name], places[name] = split.select(filled), filled
    return left, places


def error_summary(error: BaseException) -> str:
    """Class and text of an error, in one line of at most 200 characters."""
    return shorten(f"{type(error).__name__}: {str(error).strip().rstrip('.')}", 200)


def _load_split(kind: str, files: list[str], how: FileFormat, where: Path) -> Dataset:
    """Files of one kind as one split, in the types that they have by themselves."""
    datasets = _quiet_datasets()
    paths = [glob.escape(file) for file in files]
    try:
        if kind != "parquet":
            _check_beginnings(files, how)
        if kind == "csv":
            from selectune.data.csv_reader import read_csv

            default = "\t" if all(file.lower().removesuffix(".gz").endswith(".tsv") for file in files) else ","
            return read_csv(paths, how.separator or default, how.encoding or "utf-8-sig")
        options = {"encoding": how.encoding} if how.encoding else {}
        if kind == "text":
            options = {"encoding": how.encoding or "utf-8-sig"}
        split = datasets.load_dataset(kind, data_files={"train": paths}, split="train", **options)
        if kind == "json":
            split.data.table.validate(full=True)  # the reader takes bytes that are no UTF-8
        return split
    except Exception as error:
        raise _data_error(error, where, hub=False) from error


def _check_beginnings(files: Sequence[str], how: FileFormat) -> None:
    """Refuse files that are called compressed and are not, and those in UTF-16 that are not said to be."""
    for file in files:
        compressed = file.lower().endswith(".gz")
        with open(file, "rb") as handle:
            if compressed and handle.read(len(_GZIP)) != _GZIP:
                raise DataError(f"{file} is not compressed by gzip, as its name says; rename it, or compress it.")
        if how.encoding is None:
            with gzip.open(file) if compressed else open(file, "rb") as handle:
                if handle.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
                    raise DataError(f"{file} is in UTF-16; set --data.encoding utf-16.")


def _quiet_datasets() -> Any:
    import datasets

    datasets.disable_progress_bars()
    for logger in ("huggingface_hub", "datasets"):  # the errors raised here say the same
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    return datasets


def _data_error(error: Exception, where: str | Path, hub: bool) -> DataError:
    """The error for data that cannot be read, in one sentence."""
    for known in (error, error.__cause__):
        if isinstance(known, DataError):
            return known
    cause = error_summary(error.__cause__ or error)
    if hub:
        return MissingDataError(
            f"The data set {where} was not found on this machine and could not be had from the hub ({cause}); check "
            "the name and the network, or put a copy into the folder that SELECTUNE_DATA names."
        )
    if empty := _empty_file(Path(where)):
        return EmptyDataError(f"{empty} has no rows; a split must have at least one.")
    if any(isinstance(part, UnicodeError) or "UTF8" in str(part) for part in (error, error.__cause__)):
        return DataError(f"{where} is not UTF-8; name its encoding, for instance --data.encoding cp1252 or utf-16.")
    if type(error).__name__ == "EmptyDatasetError" or (Path(where).is_dir() and not any(Path(where).iterdir())):
        return EmptyDataError(f"The folder {where} holds no {_KINDS} files; check data.dataset.")
    return DataError(f"The data in {where} could not be read ({cause}); check the files or data.dataset.")


def _empty_file(path: Path) -> Path | None:
    """A parquet file without rows below a path, which the reader cannot take."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for file in sorted(path.rglob("*.parquet")) if path.is_dir() else [path] if path.suffix == ".parquet" else []:
        with suppress(OSError, ValueError, pa.ArrowException):
            if pq.read_metadata(file).num_rows == 0:
                return file
    return None
