"""A pool: rows in an order that never changes, and the fingerprint of their content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from selectune.common.errors import BadRowsError, DataError, EmptyDataError
from selectune.common.memory import no_garbage_collection
from selectune.common.progress import progress

if TYPE_CHECKING:
    from datasets import Dataset

CHUNK_ROWS = 10_000


@dataclass(frozen=True)
class Pool:
    """Rows to select from. A row id is a position in it, for ever.

    Args:
        dataset: the rows.
        text_columns: the column of the text, or two of a pair.
        source: description of the data, e.g. ``local:ag_news (10,001 rows)``.
        revision: of the source, if it has one.
        source_rows: position of each row in the source's own train split, shape (n_rows,).
        label_column: the column of the label, if there is one; it belongs to the fingerprint.
        last_source_rows: where rows were joined of several source rows, the last of each, shape (n_rows,); then
            `source_rows` are the first.
        domains: where the rows are of several data sets, the number of each row's, int32, shape (n_rows,); then
            `source_rows` are positions in that one.
        domain_names: of these data sets, by number.
        review: where someone reviewed the rows: file, its hash, and how many were dropped, relabelled and kept by it.
    """

    dataset: Dataset
    text_columns: tuple[str, ...]
    source: str
    source_rows: np.ndarray
    revision: str | None = None
    label_column: str | None = None
    last_source_rows: np.ndarray | None = None
    domains: np.ndarray | None = None
    domain_names: tuple[str, ...] = ()
    review: dict[str, Any] | None = None

    def __len__(self) -> int:
        return len(self.dataset)

    def texts(self, rows: slice | Sequence[int] | np.ndarray | None = None) -> list[tuple[str, ...]]:
        """The texts of some rows (default all), one tuple a row with one entry a text column."""
        with no_garbage_collection():
            view = self._text_rows if rows is None else self._text_rows[rows]
            return list(zip(*(view[column] for column in self.text_columns)))

    @cached_property
    def _text_rows(self) -> Dataset:
        """The rows with their texts alone, so that no other column is read with them."""
        return self.dataset.select_columns(list(self.text_columns))

    def take(self, rows: np.ndarray) -> Pool:
        """Some of the rows, in the order given, as a pool of their own."""
        of_rows = {"source_rows": self.source_rows, "last_source_rows": self.last_source_rows, "domains": self.domains}
        known = {name: values[rows] for name, values in of_rows.items() if values is not None}
        taken = replace(self, dataset=self.dataset.select(rows), **known)
        taken.__dict__["_digests"] = self._digests[rows]  # they are known, so no text is hashed again
        return taken

    def with_labels(self, dataset: Dataset) -> Pool:
        """The same texts with other labels."""
        labelled = replace(self, dataset=dataset)
        labelled.__dict__["_digests"] = self._digests
        return labelled

    @cached_property
    def _digests(self) -> np.ndarray:
        """A 128-bit hash of every row's text, uint64, shape (n_rows, 2)."""
        digests = bytearray()
        with progress("Hashing texts", len(self) // CHUNK_ROWS + 1) as advance:
            for start in range(0, len(self), CHUNK_ROWS):
                for texts in self.texts(slice(start, start + CHUNK_ROWS)):
                    digests += digest_of(texts)
                advance()
        return as_digests(digests)

    @property
    def text_hash(self) -> np.ndarray:
        """Hash of every row's text, uint64, shape (n_rows,)."""
        return self._digests[:, 0]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the content: texts, labels and domains in their order. Files, formats and transforms do not enter."""
        digest = hashlib.blake2b(self._digests.tobytes(), digest_size=16)
        digest.update(str(len(self.text_columns)).encode())
        if self.label_column:
            # The fingerprint depends on these chunks, as each is hashed in its written form.
            for labels in _chunks_of(self.dataset, self.label_column):
                digest.update(repr(labels).encode())
        if self.domains is not None:
            digest.update(self.domains.astype("<i4").tobytes())
        return digest.hexdigest()


def _chunks_of(dataset: Dataset, column: str) -> Iterator[list[Any]]:
    """The values of a column, `CHUNK_ROWS` at a time, without those of the other columns."""
    alone = dataset.select_columns([column])
    for start in range(0, len(dataset), CHUNK_ROWS):
        with no_garbage_collection():
            values = list(alone[start : start + CHUNK_ROWS][column])
        yield values


def digest_of(texts: Sequence[str]) -> bytes:
    """The 128-bit hash of a row's texts, one a text column."""
    joined = b"\x1f".join(text.encode("utf-8", "surrogatepass") for text in texts)
    return hashlib.blake2b(joined, digest_size=16).digest()


def as_digests(digests: bytes | bytearray) -> np.ndarray:
    """Hashes of `digest_of` one after the other, as uint64, shape (n_rows, 2)."""
    return np.frombuffer(bytes(digests), dtype="<u8").reshape(-1, 2)


def held_out_rows(dataset: Dataset, column: str, share: float) -> np.ndarray:
    """Which rows of a data set are held out: about a share of them, by a hash of their text, bool, shape (n_rows,).

    A text that comes twice is held out twice or not at all, whatever else is there.

    Args:
        dataset: has at least one row.
        column: of the texts.
        share: over 0 and under 1.
    """
    digests = Pool(dataset, (column,), "", np.arange(len(dataset)))._digests
    return np.asarray(digests[:, 1] < np.uint64(share * 2**64))  # ties are broken by the first half


def text_hashes(texts: Sequence[str]) -> np.ndarray:
    """The `text_hash` that rows of these texts have in a pool, uint64, shape (n_texts,)."""
    return as_digests(b"".join(digest_of([text]) for text in texts))[:, 0]


def check_texts(dataset: Dataset, columns: Sequence[str], where: str) -> None:
    """Raise DataError for a split that is empty, lacks a column, or has rows without a text."""
    for column in columns:
        check_column(dataset, column, where)
    if len(dataset) == 0:
        raise EmptyDataError(f"{where} has no rows; a split must have at least one.")
    for column in columns:
        check_one_type(dataset, column, where)
        empty: list[int] = []
        for row, text in enumerate(chain.from_iterable(_chunks_of(dataset, column))):
            if text is not None and not isinstance(text, str):
                raise DataError(
                    f"{where} has no text but a value of type {type(text).__name__} in column '{column}' (row "
                    f"{row}); name another column, or store texts."
                )
            if text is None or not text.strip():
                empty.append(row)
        if empty:
            message = f"{where} has {len(empty)} row(s) without a text in column '{column}' (rows {{rows}}); "
            raise BadRowsError(message + "remove or fill them.", empty)


def check_column(dataset: Dataset, column: str, where: str, option: str | None = None) -> None:
    """Raise DataError for a split that lacks a column, which an option names."""
    if column not in dataset.column_names:
        columns, what_to_do = ", ".join(dataset.column_names), f"Set {option} to" if option else "Name"
        close = get_close_matches(column, dataset.column_names, 1)
        meant = f"; did you mean {close[0]}? It has {columns}." if close else f"; it has {columns}."
        raise DataError(f"{where} has no column '{column}'{meant} {what_to_do} one of them.")


def check_one_type(dataset: Dataset, column: str, where: str) -> None:
    """Raise DataError for a column of a json file that mixes types: its reader drops the text ``"null"``."""
    if type(dataset.features[column]).__name__ == "Json":
        raise DataError(f"{where} mixes texts and other values in column '{column}'; store all of them as texts.")
