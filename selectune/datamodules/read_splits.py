"""From a data set to the splits of a task: dev off train, then ``max_train_rows``, then the pool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from selectune.common.errors import DataError
from selectune.common.seeds import stage_seed
from selectune.data.pool import Pool, check_one_type
from selectune.data.sources import DataSource
from selectune.data.splits import DEV_ROWS, dev_rows, even_sample, name_splits, split_off, stratified_sample

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
    found = data.find()
    used, origins = _checked(data, found, _roles(data, list(found.splits)))
    labels = data.read_labels(used["train"], {role: used[role] for role in used if role != "train"})

    classes = labels.get("train") if data.has_classes else None
    classes = found.domains if found.domains is not None else classes
    train = np.arange(len(used["train"]))
    parts: dict[str, tuple[str, np.ndarray]] = {}
    # without an official split the held-out rows are the same for every seed
    for role, seed in (("test", 0), ("dev", stage_seed(data.seed, "dev"))):
        if role in used:
            parts[role] = role, np.arange(len(used[role]))
        elif len(train) < 2:
            raise DataError(f"{found.described} has too few rows to split a '{role}' split off; name one.")
        else:
            train, part = split_off(classes, train, dev_rows(len(train)), seed)
            parts[role] = "train", part
    if (segments := _segments(data, found, used, parts | {"train": ("train", train)})) is not None:
        return segments
    if data.max_train_rows is not None and data.max_train_rows < len(train):
        there, seed = classes[train] if classes is not None else None, stage_seed(data.seed, "rows")
        if found.domains is not None:
            train = train[even_sample(found.domains[train], data.max_train_rows, seed)]
        else:
            train = train[stratified_sample(there, len(train), data.max_train_rows, seed)]
    parts["train"] = "train", train
    parts |= {role: (role, np.arange(len(used[role]))) for role in data.held_out[1:]}
    for name, limit in {"dev": data.max_dev_rows, **dict.fromkeys(data.held_out, data.max_eval_rows)}.items():
        role, rows = parts[name]
        if limit is not None and limit < len(rows):
            parts[name] = role, np.sort(np.random.default_rng(0).permutation(rows)[:limit])

    splits = {name: used[role].select(rows) for name, (role, rows) in parts.items()}
    numbers = {name: labels[role][rows] for name, (role, rows) in parts.items()} if labels else {}
    return Loaded(splits, numbers, _pool(data, found, splits["train"], origins["train"][train]))


def _pool(
    data: SelectionDataModule, found: DataSource, split: Dataset, first: np.ndarray, last: np.ndarray | None = None
) -> Pool:
    """The train split as a pool, its rows made of the given rows of the source."""
    domains = None if found.domains is None else found.domains[first]
    if found.places is not None:
        first, last = found.places[first], None if last is None else found.places[last]
    return Pool(
        split, data.text_columns, found.described, first, found.revision, data.label_column, last, domains,
        found.domain_names,
    )  # fmt: skip


def _segments(
    data: SelectionDataModule, found: DataSource, used: dict[str, Dataset], parts: dict[str, tuple[str, np.ndarray]]
) -> Loaded | None:
    """The splits of a task that cuts its texts anew; of a pool that is sampled, texts are cut in a seeded order."""
    limits = {"train": data.max_train_rows, "dev": data.max_dev_rows or DEV_ROWS, "test": data.max_eval_rows}
    splits: dict[str, Dataset] = {}
    pool: Pool | None = None
    for name, (role, rows) in parts.items():
        seed = stage_seed(data.seed, "rows") if name == "train" else 0
        order = rows if limits[name] is None else np.random.default_rng(seed).permutation(rows)
        groups = [order]
        if found.domains is not None:  # texts of one domain are not joined with another's
            groups = [order[found.domains[order] == domain] for domain in range(len(found.domain_names))]
        made = data.cut(used[role], groups, limits[name])
        if made is None:
            return None
        splits[name], first, last = made
        if name == "train":
            pool = _pool(data, found, splits[name], first, last)
    assert pool is not None
    return Loaded(splits, {}, pool)


def _roles(data: SelectionDataModule, there: list[str]) -> dict[str, str]:
    """Which splits of a data set serve as what; further held-out ones serve as nothing else."""
    more = data.more_test_splits
    for name in more:
        if name not in there:
            raise DataError(f"There is no split '{name}'; it has {', '.join(there)}. Mend data.more_test_splits.")
        if name in (data.train_split, data.dev_split, data.test_split) or more.count(name) > 1:
            raise DataError(f"One split cannot serve twice, but data.more_test_splits names '{name}' as well; drop it.")
    names = name_splits([name for name in there if name not in more], data.train_split, data.dev_split, data.test_split)
    roles = {role: name for role, name in vars(names).items() if name is not None}
    return roles | dict(zip(data.held_out[1:], more))


def _checked(
    data: SelectionDataModule, found: DataSource, roles: dict[str, str]
) -> tuple[dict[str, Dataset], dict[str, np.ndarray]]:
    """The splits by role, with the task's rows and columns alone, and the positions of these rows in the source."""
    used, origins = {}, {}
    columns = [*data.text_columns, *([data.label_column] if data.label_column else [])]
    for role, name in roles.items():
        where = f"The split '{name}' of {found.described}"
        split, origins[role] = data.clean(found.splits[name], where)
        if data.label_column and data.label_column not in split.column_names:
            there = ", ".join(split.column_names)
            raise DataError(f"{where} has no column '{data.label_column}' (it has {there}); mend data.label_column.")
        if data.label_column:
            check_one_type(split, data.label_column, where)
            split = data.with_labels(split, where)
        used[role] = split.select_columns([*columns, *(c for c in data.side_columns if c in split.column_names)])
    return used, origins
