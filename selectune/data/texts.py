"""Data sets that are named beside a task's own: the domains of a pool, and the targets that it is compared with."""

# No postponed annotations here: jsonargparse cannot evaluate those of a dataclass inside a union.
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selectune.common import checks
from selectune.common.errors import BadRowsError, DataError, EmptyDataError
from selectune.common.seeds import stage_seed
from selectune.data.data_files import FileFormat
from selectune.data.given import Given, load_data, title_of
from selectune.data.pool import Pool, check_texts, held_out_rows
from selectune.data.sources import DataSource
from selectune.data.splits import even_sample, other_rows

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass
class Texts:
    """The texts of one split of a data set.

    Args:
        dataset: as in `TaskData`: a name, a folder, a file, files of one kind of text, or rows in memory.
        config_name: the hub's configuration of the data set.
        revision: of the hub's data set.
        local_name: name of its folder in the root, where it differs from its own.
        text_column: of the text; default that of the data module, or ``text`` in a target.
        local_text_column: of the text in the folder in the root, where it is called otherwise there.
        split: that has the rows; default ``train``, or the only one there is.
        max_rows: sample them down to so many.
        held_out: leave out this share of the rows, by a hash of their text, for an evaluation with the same share.
        separator: of the columns of csv files, as in `TaskData`.
        encoding: of csv, json and txt files.
    """

    dataset: Given
    config_name: str | None = None
    revision: str | None = None
    local_name: str | None = None
    text_column: str | None = None
    local_text_column: str | None = None
    split: str | None = None
    max_rows: int | None = None
    held_out: float | None = None
    separator: str | None = None
    encoding: str | None = None

    def __post_init__(self) -> None:
        self.file_format = FileFormat(self.separator, self.encoding)
        checks.at_least(f"max_rows of {title_of(self.dataset)}", self.max_rows, 1, DataError)
        check_held_out(self.held_out, title_of(self.dataset))

    def load(self, root: str | None, seed: int, column: str) -> tuple["Dataset", np.ndarray, DataSource]:
        """The texts in a column of the given name, their positions in the split, and the data set.

        Raises:
            DataError: there is no such data set, split or column, or a row is without a text.
        """
        how = self.file_format
        try:
            source = load_data(self.dataset, self.config_name, root, self.local_name, self.revision, how=how)
        except DataError as error:  # what names them, a target or a domain, is known to the caller alone
            raise type(error)(str(error).replace("data.dataset", f"the name {title_of(self.dataset)!r}")) from error
        name = self.split or ("train" if len(source.splits) > 1 else next(iter(source.splits)))
        if name not in source.splits:
            raise DataError(
                f"{source.described} has no split '{name}'; it has {', '.join(source.splits)}. Name one in split."
            )
        own = column_in(source, self.text_column or column, self.local_text_column)
        split = source.splits[name]
        split, rows = with_text(split, own, f"The split '{name}' of {source.described}")
        split = split.select_columns([own])
        if own != column:
            split = split.rename_column(own, column)
        if self.held_out is not None:
            others = np.flatnonzero(~held_out_rows(split, column, self.held_out))
            if not len(others):
                raise DataError(f"All rows of {source.described} are held out; lower held_out.")
            described = f"{source.described}, {len(rows) - len(others):,} of them held out"
            split, rows, source = split.select(others), rows[others], replace(source, described=described)
        if self.max_rows is not None and self.max_rows < len(rows):
            order = np.random.default_rng(stage_seed(seed, "texts")).permutation(len(rows))
            some = np.sort(order[: self.max_rows])
            split, rows = split.select(some), rows[some]
        return split, source.places[name][rows] if name in source.places else rows, source


def column_in(source: DataSource, text_column: str, local_text_column: str | None) -> str:
    """Name of the text column of a data set, which may be called otherwise in the root than on the hub."""
    return local_text_column if local_text_column and source.described.startswith("local:") else text_column


def check_held_out(share: float | None, title: str) -> None:
    """Refuse a share of held-out rows that is none.

    Raises:
        DataError: it is not over 0 and under 1.
    """
    if share is not None and not 0 < share < 1:
        raise DataError(f"held_out of {title} is {share}, but a share must lie between 0 and 1.")


def with_text(split: "Dataset", column: str, where: str) -> "tuple[Dataset, np.ndarray]":
    """The rows of a split that have a text, and their positions in it.

    Raises:
        DataError: no row has one, or the column is no text.

    Warns:
        UserWarning: how many rows are left out.
    """
    try:
        check_texts(split, [column], where)
    except BadRowsError as bad:
        rows = other_rows(len(split), bad.rows)
        if not len(rows):
            raise
        warnings.warn(f"{where} has {len(bad.rows):,} rows without a text, which are left out.", stacklevel=2)
        return split.select(rows), rows
    return split, np.arange(len(split))


def as_texts(given: Any) -> list[Texts]:
    """The data sets of a config, as a list: each a name or a `Texts`."""
    parts = given if isinstance(given, list | tuple) else [given]
    return [Texts(part) if isinstance(part, str) else replace(part) for part in parts]


def concatenate(texts: Sequence[Texts], root: str | None, seed: int, column: str) -> Pool:
    """Several data sets as one pool, in their order, each of which is a domain."""
    from datasets import concatenate_datasets

    if not texts:
        raise EmptyDataError("A list of data sets is empty; name at least one.")
    splits, rows, sources = zip(*(part.load(root, seed, column) for part in texts))
    revisions = [source.revision or "none" for source in sources]
    names = [part.local_name or Path(title_of(part.dataset).removesuffix(".gz")).stem for part in texts]
    return Pool(
        concatenate_datasets([split.cast(splits[0].features) for split in splits]),
        (column,),
        " + ".join(source.described for source in sources),
        np.concatenate(rows),
        " + ".join(revisions) if any(source.revision for source in sources) else None,
        domains=np.repeat(np.arange(len(splits), dtype=np.int32), [len(split) for split in splits]),
        # with a number where two are called alike
        domain_names=tuple(name if names.count(name) == 1 else f"{name} ({i + 1})" for i, name in enumerate(names)),
    )


def find_target(
    target: Any, dev: Callable[[], Pool], outer: Pool | None, root: str | None, seed: int, max_rows: int | None
) -> Pool:
    """The rows that a pool is compared with; each of several targets is a domain of it.

    Args:
        target: ``dev``, ``train``, or other texts, see `as_texts`.
        dev: gives the rows that ``dev`` means.
        outer: the rows that ``train`` means, which only a warm-up has.
        root: folder of local copies.
        seed: of the sample.
        max_rows: sample them down to so many.

    Raises:
        DataError: they cannot be loaded.
    """
    if target == "dev":
        rows = dev()
    elif target != "train":
        rows = concatenate(as_texts(target), root, seed, "text")
    elif outer is not None:
        rows = replace(outer, source=f"train of {outer.source}", label_column=None)
    else:
        raise DataError(
            "data.target is train, which means the rows of the top-level data for a warm-up's; name dev, or other "
            "texts.",
            option="data.target",
        )
    if max_rows is None or max_rows >= len(rows):
        return rows
    domains = np.zeros(len(rows), dtype=np.int32) if rows.domains is None else rows.domains
    return rows.take(even_sample(domains, max_rows, stage_seed(seed, "target")))
