"""From a data set to the splits of a task: dev off train, then ``max_train_rows``, then the pool."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from selectune.common.errors import DataError, EmptyDataError
from selectune.common.seeds import stage_seed
from selectune.data.labels import with_other_labels
from selectune.data.pool import Pool, check_column, check_one_type
from selectune.data.review import Review
from selectune.data.sources import DataSource
from selectune.data.splits import DEV_ROWS, SHARE, even_sample, name_splits, other_rows, stratified_sample
from selectune.datamodules.task import TaskData

if TYPE_CHECKING:
    from datasets import Dataset


class Splits(dict[str, "Dataset"]):
    """Splits by the name of their role."""

    def __missing__(self, name: str) -> Dataset:
        """Refuse to read rows that were not split off the pool."""
        raise DataError(
            f"This needs rows of '{name}', but all rows are the pool; give a DatasetDict with the splits train and "
            "validation, or another target."
        )


def load_splits(data: TaskData) -> tuple[dict[str, Dataset], dict[str, np.ndarray], Pool, frozenset[str]]:
    """Splits by name, their labels as numbers, the train split as a pool, and the names of those split off it.

    Raises:
        DataError: something about the data is not as the task needs it.
    """
    source = data.find()
    used, origins, places = _checked(data, source)
    labels = data.read_labels(used)

    classes = labels.get("train") if data.has_classes else None
    classes = source.domains if source.domains is not None else classes
    train = np.arange(len(used["train"]))
    parts: dict[str, tuple[str, np.ndarray]] = {}  # of each split: the role that it is taken from, and the rows of it
    # without an official split the held-out rows are the same for every seed
    for role, seed in (("test", 0), ("dev", stage_seed(data.seed, "dev"))):
        if role in used:
            parts[role] = role, np.arange(len(used[role]))
        elif data.whole:
            continue
        elif len(train) < 2:
            raise DataError(f"{source.described} has too few rows to split a '{role}' split off; name one.")
        else:
            size = min(max(1, int(len(train) * SHARE)), DEV_ROWS)
            parts[role] = "train", stratified_sample(classes, train, size, seed)
            taken = [rows for of, rows in parts.values() if of == "train"]
            train = other_rows(len(used["train"]), *taken)

    if (segments := _segments(data, source, used, parts | {"train": ("train", train)})) is not None:
        splits, first, last = segments
        numbers: dict[str, np.ndarray] = {}
    else:
        train = _sample(data, source, classes, train)
        parts |= {"train": ("train", train)} | {role: (role, np.arange(len(used[role]))) for role in data.held_out[1:]}
        of_dev = data.max_eval_rows if data.choose_on_test else data.max_dev_rows
        for name, limit in {"dev": of_dev, **dict.fromkeys(data.held_out, data.max_eval_rows)}.items():
            role, rows = parts.get(name, ("", np.zeros(0)))
            if limit is not None and limit < len(rows):
                parts[name] = role, _some(rows, limit)
        splits = Splits({name: used[role].select(rows) for name, (role, rows) in parts.items()})
        numbers = {name: labels[role][rows] for name, (role, rows) in parts.items()} if labels else {}
        first, last = origins["train"][train], None

    domains = None if source.domains is None else source.domains[first]
    if places is not None:
        first, last = places[first], None if last is None else places[last]
    pool = Pool(
        splits["train"], data.text_columns, source.described, first, source.revision, data.label_column, last, domains,
        source.domain_names,
    )  # fmt: skip
    if data.review is not None:
        pool, labelled = _reviewed(data, pool, numbers.get("train"))
        splits["train"] = pool.dataset
        numbers |= {} if labelled is None else {"train": labelled}
    return splits, numbers, pool, frozenset(role for role, (of, _) in parts.items() if of == "train") - {"train"}


def rows_to_predict(data: TaskData) -> Pool:
    """The rows that are predicted, with their positions in the source: a test split, or all rows of a single one.

    Raises:
        DataError: there is no such split, or something about its texts is not as the task needs it.
    """
    source = data.find()
    names = list(source.splits)
    name = data.test_split or ("test" if "test" in names or len(names) > 1 else names[0])
    if name not in names:
        raise DataError(
            f"{source.described} has no split '{name}' to predict; name one in data.test_split: {', '.join(names)}.",
            option="data.test_split",
        )
    split, rows = data.clean(source.splits[name], f"The split '{name}' of {source.described}")
    if data.max_eval_rows is not None and data.max_eval_rows < len(rows):
        some = _some(np.arange(len(rows)), data.max_eval_rows)
        split, rows = split.select(some), rows[some]
    columns = [*data.text_columns, *(column for column in data.side_columns if column in split.column_names)]
    rows = source.places[name][rows] if name in source.places else rows
    return Pool(split.select_columns(columns), data.text_columns, source.described, rows, source.revision)


def _some(rows: np.ndarray, limit: int) -> np.ndarray:
    """A sample of rows of ``dev`` or of a held-out split, the same for every seed, ascending."""
    return np.sort(np.random.default_rng(0).permutation(rows)[:limit])


def _reviewed(data: TaskData, pool: Pool, labels: np.ndarray | None) -> tuple[Pool, np.ndarray | None]:
    """The pool and the numbers of its labels, as a review leaves them.

    Warns:
        UserWarning: how many rows were dropped and relabelled.
    """
    assert data.review is not None
    review = Review.read(data.review, pool)
    where, n_rows, relabelled = f"The review {review.file}", len(pool), 0
    if len(review.relabelled):
        written, numbers = data.new_labels(review.labels, where)
        assert labels is not None
        assert data.label_column is not None
        differs = labels[review.relabelled] != numbers
        relabelled = int(differs.sum())
        rows, new = review.relabelled[differs], [label for label, other in zip(written, differs) if other]
        pool = pool.with_labels(with_other_labels(pool.dataset, data.label_column, rows, new))
        labels = labels.copy()
        labels[rows] = numbers[differs]
    if len(review.dropped):
        left = other_rows(n_rows, review.dropped)
        if not len(left):
            raise EmptyDataError(f"{where} drops all {n_rows:,} rows of the pool; keep some.", option="data.review")
        pool, labels = pool.take(left), None if labels is None else labels[left]
    counts = {"dropped": len(review.dropped), "relabelled": relabelled, "kept": len(review.kept)}
    pool = replace(pool, review={"file": str(review.file), "hash": review.hash, "rows_before": n_rows, **counts})
    warnings.warn(
        f"{where} dropped {len(review.dropped):,} of {n_rows:,} rows and relabelled {relabelled:,}.", stacklevel=2
    )
    return pool, labels


def _checked(data: TaskData, source: DataSource) -> tuple[dict[str, Dataset], dict[str, np.ndarray], np.ndarray | None]:
    """The splits by role, with the task's rows and columns alone, and the positions of these rows in the source's.

    Third are the places of the source's train rows in their own data set, where these are others.
    """
    more, names = data.more_test_splits, list(source.splits)
    for name in more:
        if name not in names:
            message = f"There is no split '{name}'; it has {', '.join(names)}. Check data.more_test_splits."
            raise DataError(message, option="data.more_test_splits")
        if name in (data.train_split, data.dev_split, data.test_split) or more.count(name) > 1:
            message = f"One split cannot serve twice, but data.more_test_splits names '{name}' as well; drop it."
            raise DataError(message, option="data.more_test_splits")
    others = [name for name in names if name not in more]  # a further held-out split serves as nothing else
    roles = name_splits(others, data.train_split, data.dev_split, data.test_split)
    if data.choose_on_test:
        if data.dev_split is not None or "test" not in roles:
            raise DataError(
                "data.choose_on_test takes a held-out split of the data set as dev too; leave data.dev_split out, and "
                f"name the split in data.test_split: {source.described} has {', '.join(names)}.",
                option="data.choose_on_test",
            )
        roles["dev"] = roles["test"]

    used, origins = {}, {}
    for role, name in (roles | dict(zip(data.held_out[1:], more))).items():
        where = f"The split '{name}' of {source.described}"
        split, origins[role] = data.clean(source.splits[name], where)
        columns = [*data.text_columns, *(column for column in data.side_columns if column in split.column_names)]
        if data.label_column:
            check_column(split, data.label_column, where, "data.label_column")
            check_one_type(split, data.label_column, where)
            split = data.with_labels(split, where)
            columns.insert(len(data.text_columns), data.label_column)
        used[role] = split.select_columns(columns)
    return used, origins, source.places.get(roles["train"])


def _segments(
    data: TaskData, source: DataSource, used: dict[str, Dataset], parts: dict[str, tuple[str, np.ndarray]]
) -> tuple[dict[str, Dataset], np.ndarray, np.ndarray | None] | None:
    """The splits of a task that cuts its texts anew, and the first and last source row of each row to train on.

    Texts of a pool that is sampled are cut in a seeded order.
    """
    limits = {"train": data.max_train_rows, "dev": data.max_dev_rows or DEV_ROWS, "test": data.max_eval_rows}
    splits = Splits()
    for name, (role, rows) in parts.items():
        seed = stage_seed(data.seed, "rows") if name == "train" else 0
        order = rows if limits[name] is None else np.random.default_rng(seed).permutation(rows)
        groups = [order]
        if source.domains is not None:  # texts of one domain are not joined with another's
            groups = [order[source.domains[order] == domain] for domain in range(len(source.domain_names))]
        segments = data.cut(used[role], groups, limits[name])
        if segments is None:
            return None
        splits[name], first, last = segments
    return splits, first, last


def _sample(data: TaskData, source: DataSource, classes: np.ndarray | None, train: np.ndarray) -> np.ndarray:
    """At most ``max_train_rows`` of the rows to train on: even over data sets, else stratified by class."""
    size, seed = data.max_train_rows, stage_seed(data.seed, "rows")
    if size is None or size >= len(train):
        return train
    if source.domains is not None:
        return train[even_sample(source.domains[train], size, seed)]
    return stratified_sample(classes, train, size, seed)
