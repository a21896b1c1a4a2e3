"""From a data set to the splits of a task: dev off train, then ``max_train_rows``, then the pool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from selectune.distributed import stage_seed
from selectune.errors import DataError
from selectune.pool import Pool, check_texts
from selectune.sources import DataSource, find_data
from selectune.splits import SplitNames, dev_rows, name_splits, split_off, stratified_sample

if TYPE_CHECKING:
    from datasets import Dataset

    from selectune.datamodules.base import SelectionDataModule


@dataclass(frozen=True)
class Loaded:
    """The splits ``train``, ``dev`` and ``test``, their labels as numbers, and the train split as a pool."""

    splits: dict[str, Dataset]
    labels: dict[str, np.ndarray]
    pool: Pool


def load_splits(data: SelectionDataModule) -> Loaded:
    """Find a data module's data, check it and split it.

    Raises:
        DataError: something about the data is not as the task needs it.
    """
    found = find_data(data.dataset, data.config_name, data.root, data.local_name, data.revision)
    names = name_splits(list(found.splits), data.train_split, data.dev_split, data.test_split)
    used = _checked(data, found, names)
    labels = data.read_labels(used["train"], {role: used[role] for role in used if role != "train"})

    train = np.arange(len(used["train"]))
    parts: dict[str, tuple[str, np.ndarray]] = {}
    # without an official split the held-out rows are the same for every seed
    for role, seed in (("test", 0), ("dev", stage_seed(data.seed, "dev"))):
        if role in used:
            parts[role] = role, np.arange(len(used[role]))
        elif len(train) < 2:
            raise DataError(f"{found.described} has too few rows to split a '{role}' split off; name one.")
        else:
            train, part = split_off(labels.get("train"), train, dev_rows(len(train)), seed)
            parts[role] = "train", part
    if data.max_train_rows is not None and data.max_train_rows < len(train):
        classes = labels["train"][train] if labels else None
        train = train[stratified_sample(classes, len(train), data.max_train_rows, stage_seed(data.seed, "rows"))]
    parts["train"] = "train", train
    if data.max_eval_rows is not None and data.max_eval_rows < len(parts["test"][1]):
        role, rows = parts["test"]
        parts["test"] = role, np.sort(np.random.default_rng(0).permutation(rows)[: data.max_eval_rows])

    splits = {name: used[role].select(rows) for name, (role, rows) in parts.items()}
    numbers = {name: labels[role][rows] for name, (role, rows) in parts.items()} if labels else {}
    pool = Pool(splits["train"], data.text_columns, found.described, train, found.revision, data.label_column)
    return Loaded(splits, numbers, pool)


def _checked(data: SelectionDataModule, found: DataSource, names: SplitNames) -> dict[str, Dataset]:
    """The splits that are there, by role, with the task's columns alone."""
    used = {}
    columns = [*data.text_columns, *([data.label_column] if data.label_column else [])]
    for role, name in vars(names).items():
        if name is None:
            continue
        where, split = f"The split '{name}' of {found.described}", found.splits[name]
        check_texts(split, data.text_columns, where)
        if data.label_column and data.label_column not in split.column_names:
            there = ", ".join(split.column_names)
            raise DataError(f"{where} has no column '{data.label_column}' (it has {there}); mend data.label_column.")
        used[role] = split.select_columns(columns)
    return used
