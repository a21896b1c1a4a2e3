"""A data set as a library's user has it: a name, files of one task, or rows in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import uuid4

import numpy as np

from selectune.common.errors import DataError, EmptyDataError
from selectune.data.data_files import FileFormat, error_summary, kind_of, load_file, without_blank_lines
from selectune.data.labels import labels_of
from selectune.data.sources import DataSource, find_data

if TYPE_CHECKING:
    import pandas as pd
    from datasets import Dataset, DatasetDict

    Given: TypeAlias = str | list[str] | Dataset | DatasetDict | pd.DataFrame
else:
    Given = str | list[str]  # of which a config can hold these

FORMS = "a name, a list of files, a Dataset or DatasetDict of `datasets`, or a pandas DataFrame"


def load_data(
    given: Given,
    config: str | None = None,
    root: str | Path | None = None,
    local_name: str | None = None,
    revision: str | None = None,
    how: FileFormat | None = None,
) -> DataSource:
    """Load a data set in any of its forms.

    Args:
        given: a name as `find_data` takes it; files, whose rows are joined in their order to one split ``train``;
            a ``DatasetDict``, whose splits keep their names; a ``Dataset`` or data frame, which is a split ``train``.
        config: of a data set by its name; see `find_data`, as for all other arguments.
        root: likewise.
        local_name: likewise.
        revision: likewise.
        how: separator and encoding of files.

    Raises:
        DataError: it is of another form, cannot be read, or files or columns of it do not agree.
    """
    if isinstance(given, str):
        return find_data(given, config, root, local_name, revision, how)
    named = {"config_name": config, "local_name": local_name, "revision": revision}
    if of_a_name := [option for option, value in named.items() if value is not None]:
        raise DataError(
            f"data.{of_a_name[0]} is of a data set by its name, but data.dataset is {title_of(given)}; leave it out.",
            option=f"data.{of_a_name[0]}",
        )
    places: dict[str, np.ndarray] = {}
    if isinstance(given, list | tuple):
        joined, places["train"] = _joined(given, how or FileFormat())
        splits, described = {"train": joined}, "files:" + " + ".join(map(_name, given))
    else:
        splits, described = _in_memory(given), f"memory:{type(given).__name__}"
    train = splits.get("train") or next(iter(splits.values()))
    return DataSource(splits, f"{described} ({len(train):,} rows)", places=places)


def title_of(given: Any) -> str:
    """A data set in the words of a message: its name, its first file, or its class."""
    if isinstance(given, str):
        return given
    if isinstance(given, list | tuple):
        return f"{given[0]} and {len(given) - 1} more" if len(given) > 1 else ", ".join(map(str, given))
    return f"the {type(given).__name__}"


def _name(file: str) -> str:
    return Path(file).name


def _joined(files: Sequence[Any], how: FileFormat) -> tuple[Dataset, np.ndarray]:
    """Files of the same columns as one split, in their order, and where its rows stand in all of the files, int64."""
    from datasets import concatenate_datasets

    if not files:
        raise EmptyDataError("data.dataset is an empty list; name at least one file.", option="data.dataset")
    for file in files:
        if not isinstance(file, str) or (kind_of(file) is None and not Path(file).is_file()):
            raise DataError(f"data.dataset lists {str(file)[:80]!r}, which is no file; a list may name files alone.")
    parts, places, before = [], [], 0
    for file in files:
        read = load_file(Path(file), how)
        left, lines = without_blank_lines(read)
        parts.append(left["train"])
        places.append(before + lines.get("train", np.arange(len(read["train"]))))
        before += len(read["train"])
    columns = parts[0].column_names
    for file, part in zip(files, parts):
        if set(part.column_names) != set(columns):
            raise DataError(
                f"{file} has the columns {', '.join(part.column_names)}, but {files[0]} has {', '.join(columns)}; make "
                "them alike."
            )
    parts = [_plain(part) for part in parts]
    for column in columns:
        if _differs(parts, column):
            parts = [_with_texts(part, column) for part in parts]
    parts = [part.select_columns(columns) for part in parts]
    try:
        return concatenate_datasets(parts), np.concatenate(places)
    except ValueError as error:  # of features that cannot be aligned
        column = next(name for name in columns if len({str(part.features[name]) for part in parts}) > 1)
        kinds = " and ".join(sorted({str(getattr(part.features[column], "dtype", "lists")) for part in parts}))
        raise DataError(f"The files {title_of(files)} hold {kinds} in column '{column}'; make them alike.") from error


def _differs(parts: Sequence[Dataset], column: str) -> bool:
    """Whether files hold single values of several types in a column, as all values of a csv file are texts."""
    from datasets import ClassLabel, Value

    features = [part.features[column] for part in parts]
    return len({str(one) for one in features}) > 1 and all(isinstance(one, Value | ClassLabel) for one in features)


def _with_texts(split: Dataset, column: str) -> Dataset:
    """The split, the values of a column as texts: of classes their names, of a missing one none."""
    from datasets import Value

    # NaN, a missing number of a file, differs from itself
    texts = [None if value is None or value != value else str(value) for value in labels_of(split, column)]
    key = uuid4().hex[:16]  # one that `datasets` makes would take seconds
    return split.remove_columns(column).add_column(column, texts, new_fingerprint=key, feature=Value("string"))


def _plain(split: Dataset) -> Dataset:
    """The split, its texts all of one Arrow type, as files of several kinds have them otherwise."""
    from datasets import Features, Value

    features = split.features.copy()
    large = [name for name, feature in features.items() if getattr(feature, "dtype", "") == "large_string"]
    return split.cast(Features(features | {name: Value("string") for name in large})) if large else split


def _in_memory(given: Any) -> dict[str, Dataset]:
    """Rows in memory as splits by name, without the format that a user set for reading them."""
    import pandas as pd
    from datasets import Dataset, DatasetDict

    if isinstance(given, pd.DataFrame):
        return {"train": _of_frame(given)}
    if isinstance(given, Dataset):
        return {"train": given.with_format(None)}
    if not isinstance(given, DatasetDict):
        raise DataError(f"data.dataset is a {type(given).__name__}, but must be {FORMS}.", option="data.dataset")
    if not given:
        raise EmptyDataError("data.dataset is a DatasetDict without a split; it must have one.", option="data.dataset")
    return {str(name): split.with_format(None) for name, split in given.items()}


def _of_frame(frame: pd.DataFrame) -> Dataset:
    """The rows of a data frame, without its index."""
    import pyarrow as pa
    from datasets import Dataset

    names = list(frame.columns)
    if unnamed := [name for name in names if not isinstance(name, str)]:
        raise DataError(f"The data frame has a column {unnamed[0]!r}, but names of columns must be texts; rename it.")
    if twice := [name for name in names if names.count(name) > 1]:
        raise DataError(f"The data frame has {names.count(twice[0])} columns '{twice[0]}'; rename all but one.")
    try:
        return Dataset.from_pandas(frame, preserve_index=False)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(
            f"The data frame cannot be read ({error_summary(error)}); let each column hold values of one type, or drop "
            "those that are not needed."
        ) from error
