"""The options that all tasks share, and what each task defines for itself."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import numpy as np

from selectune.common import checks
from selectune.common.errors import BudgetError, DataError
from selectune.common.seeds import current_seed
from selectune.data.class_prior import ClassPrior
from selectune.data.data_files import FileFormat
from selectune.data.given import Given, load_data, title_of
from selectune.data.pool import Pool, check_texts
from selectune.data.sources import DataSource
from selectune.data.texts import Texts
from selectune.data.windows import BatchRows
from selectune.selection.manifest import Selection
from selectune.selection.request import BudgetAsked
from selectune.selectors.base import Selector
from selectune.selectors.checking import check_selector

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

    from selectune.data.sources import ModelSource
    from selectune.lightning_modules.heads import Head


class TaskData(pl.LightningDataModule):
    """The options of a data module, and what a task overrides: its columns, rows, labels and head.

    Args:
        dataset: ``docstrings`` (the embedded corpus), a hub name, a folder in the hub's layout, or one csv, tsv, json,
            jsonl, txt (a text a line) or parquet file, all but the last also in gzip (``.csv.gz``); or a list of files
            of one task. In Python also a ``Dataset`` or ``DatasetDict`` of `datasets`, or a pandas data frame.
        config_name: the hub's configuration of the data set.
        revision: of the hub's data set, e.g. ``refs/convert/parquet``.
        root: folder of local copies that is looked into first; default ``SELECTUNE_DATA``.
        local_name: name of the data set's folder in the root, where it differs from its own.
        separator: of the columns of csv files, one character such as ``;``, or ``tab``; default the comma, in ``.tsv``
            files the tab.
        encoding: of csv, json and txt files, e.g. ``latin-1`` or ``utf-16``; default UTF-8.
        train_split: name of the split to train on.
        dev_split: name of the split that selects the checkpoint; default a validation split that is not reported, else
            a tenth of train, at most 1,000 rows.
        test_split: name of the split that is reported; default ``test``, else ``validation``, else a tenth of train.
        max_train_rows: sample the train split down to so many rows.
        max_dev_rows: sample ``dev`` down to so many rows.
        max_eval_rows: sample the held-out split down to so many rows.
        max_length: tokens that a row is cut to, special ones included.
        batch_size: rows of a training batch, over all ranks.
        max_batch_tokens: padded tokens of a batch on one rank that memory has room for; a training batch over it is
            computed in parts, all but the last of them twice. On a CPU passes are of 2,048 tokens at most.
        pad_to: pad batches to a multiple of so many tokens, of which ``max_length`` is one, so that few lengths occur
            (for what is compiled, or recorded, for each).
        selector: selects the rows to train on; default all.
        keep: how much to keep, as a fraction of the rows, over 0 and at most 1.
        keep_rows: how much to keep, in rows.
        keep_tokens: how much to keep, in tokens.
        selection: an earlier selection to use instead: a run, or its ``selection`` folder.
        target: the rows that a selector compares the pool with, whose labels it does not see: ``dev`` (default); in a
            warm-up ``train`` (default there), exactly the rows of the top-level data before its own selection; or other
            texts, by name or as `Texts`, of which several count alike, whatever their sizes (but for `Nearest`, whose
            rows of the target take turns).
        max_target_rows: sample the target down to so many rows.
        trusted: rows that are known to be good, which a diagnosis compares the pool with, and the default of ``target``
            for the rows that are fine-tuned on: the name of a split of the data set, or other texts as in ``target``.
        choose_on_test: let the held-out rows be ``dev`` as well, to choose the checkpoint as some papers do; the run
            warns that its metrics are too good.
        review: a parquet, csv or jsonl file that says which rows of the pool to ``drop``, to ``keep`` or to ``relabel``
            (columns ``row_id``, ``action``, and ``label``), such as a diagnosis's ``findings.parquet`` with a column
            ``action`` added. Row ids are those of the pool that was diagnosed; the pool is what the review leaves.
        seed: of splits, samples, shuffles and selector; default ``seed_everything``.
        num_workers: processes that make batches; 0 makes them in the training process.
    """

    def __init__(
        self,
        dataset: Given,
        config_name: str | None = None,
        revision: str | None = None,
        root: str | None = None,
        local_name: str | None = None,
        separator: str | None = None,
        encoding: str | None = None,
        train_split: str = "train",
        dev_split: str | None = None,
        test_split: str | None = None,
        max_train_rows: int | None = None,
        max_dev_rows: int | None = None,
        max_eval_rows: int | None = None,
        max_length: int = 128,
        batch_size: int = 32,
        max_batch_tokens: int = 16384,
        pad_to: int = 1,
        selector: Selector | None = None,
        keep: float | None = None,
        keep_rows: int | None = None,
        keep_tokens: int | None = None,
        selection: str | None = None,
        target: str | Texts | list[str | Texts] | None = None,
        max_target_rows: int | None = None,
        trusted: str | Texts | None = None,
        choose_on_test: bool = False,
        review: str | None = None,
        seed: int | None = None,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        self.prepare_data_per_node = False  # the selection and the cache are on a disk that all nodes share
        self.dataset, self.config_name, self.revision = dataset, config_name, revision
        self.root, self.local_name = root, local_name
        self.file_format = FileFormat(separator, encoding)
        self.train_split, self.dev_split, self.test_split = train_split, dev_split, test_split
        self.max_train_rows, self.max_dev_rows, self.max_eval_rows = max_train_rows, max_dev_rows, max_eval_rows
        self.max_length = max_length
        self.batch_size, self.max_batch_tokens, self.pad_to = batch_size, max_batch_tokens, pad_to
        self.selector, self.budget = selector, BudgetAsked(keep, keep_rows, keep_tokens)
        self.selection, self._seed, self.num_workers = selection, seed, num_workers
        self.target, self.max_target_rows, self.trusted = target, max_target_rows, trusted
        self.choose_on_test, self.review = choose_on_test, review
        self.selected: Selection | None = None
        self._only: np.ndarray | None = None  # rows to train on, selected or not
        self.loaded: DataSource | None = None  # the data set, where it was loaded before
        self.whole = False  # no held-out rows are split off the train split: all of it is the pool
        self.unlabelled = False  # there are rows to predict alone, see `SelectionDataModule.to_predict`
        self.tokenizer: PreTrainedTokenizerBase | None = None
        self.pool: Pool
        self.splits: dict[str, Dataset] = {}
        self.split_off: frozenset[str] = frozenset()  # held-out splits that were rows of ``train``
        self.labels: dict[str, np.ndarray] = {}
        self.tokens: dict[str, BatchRows] = {}
        self.more_test_splits: list[str] = []  # evaluated beside the held-out split, never selected from
        self._check_options()

    def _check_options(self) -> None:
        if self.selector is not None:
            check_selector(self.selector)
        for name in ("keep_rows", "keep_tokens"):
            checks.at_least(f"data.{name}", getattr(self.budget, name), 1, BudgetError)
        self.budget.of(2**62, 2**62)
        given = self.budget.given
        if self.selector is None:
            if given and self.selection is None:
                raise BudgetError(f"data.{given[0]} is given without data.selector; name a selector, or leave it out.")
        elif self.selector.sets_own_size and given:
            raise BudgetError(f"The selector fixes its own bounds, so data.{given[0]} must be left out.")
        elif not self.selector.sets_own_size and not given and self.selection is None:
            raise BudgetError("data.selector needs a budget; give data.keep, data.keep_rows or data.keep_tokens.")
        limits = ("max_train_rows", "max_dev_rows", "max_eval_rows", "max_target_rows")
        for name in (*limits, "batch_size", "max_batch_tokens", "pad_to"):
            checks.at_least(f"data.{name}", getattr(self, name), 1, DataError)
        if self.max_length % self.pad_to:
            raise DataError(
                f"data.max_length is {self.max_length}, which is no multiple of data.pad_to, {self.pad_to}; a row of "
                "that length would be padded beyond it.",
                option="data.pad_to",
            )
        checks.at_least("data.max_length", self.max_length, 2, DataError)  # the least that a token is predicted from
        checks.at_least("data.num_workers", self.num_workers, 0, DataError)
        checks.seed("data.seed", self._seed)

    @property
    def seed(self) -> int:
        """Seed of everything random in the data module."""
        return self._seed if self._seed is not None else current_seed()

    @property
    def title(self) -> str:
        """The data set in the words of a message."""
        return title_of(self.dataset)

    @property
    def held_out(self) -> tuple[str, ...]:
        """The splits that are evaluated in the end: ``test``, then ``test/<name>`` of each further one."""
        return ("test", *(f"test/{name}" for name in self.more_test_splits))

    def find(self) -> DataSource:
        """The data set."""
        return self.loaded or load_data(
            self.dataset, self.config_name, self.root, self.local_name, self.revision, how=self.file_format
        )

    # A task overrides these.

    head_class: type[Head]
    has_classes: bool = True  # labels are classes, so that samples are stratified and lost ones warned of
    label_names: Sequence[str] = ()  # of classes, by number
    prior: ClassPrior | None = None  # of classes, once they are known
    text_columns: tuple[str, ...]  # the column of the text, or the two of a pair
    label_column: str | None = None
    side_columns: tuple[str, ...] = ()  # are kept where a split has them

    @property
    def monitor(self) -> tuple[str, str]:
        """The metric on ``dev`` that selects the checkpoint, and ``max`` or ``min``; known before data is read."""
        return self.head_class.monitor, self.head_class.mode

    def clean(self, split: Dataset, where: str) -> tuple[Dataset, np.ndarray]:
        """The rows of a split that the task takes, and their positions in it; DataError where a text is missing."""
        check_texts(split, self.text_columns, where)
        return split, np.arange(len(split))

    def with_labels(self, split: Dataset, where: str) -> Dataset:
        """The split, its labels as they are compared and fingerprinted; DataError where one does not fit."""
        return split

    @abstractmethod
    def head(self) -> Head:
        """The head that learns this task."""

    def read_labels(self, splits: dict[str, Dataset]) -> dict[str, np.ndarray]:
        """Labels of ``train`` and all other splits as numbers, by name; nothing for a task without labels."""
        return {}

    def take_labels_of(self, source: ModelSource) -> None:
        """Take from an exported model what the labels of ``train`` would say of the task, to predict without them."""

    def new_labels(self, labels: list[Any], where: str) -> tuple[list[Any], np.ndarray]:
        """Labels of a review as the data set writes them, and as numbers.

        Raises:
            DataError: the task's rows have no labels, or not these.
        """
        raise DataError(
            f"{where} relabels rows, but the rows of {type(self).__name__} have no label that it could give; drop them "
            "instead.",
            option="data.review",
        )

    def cut(
        self, split: Dataset, groups: list[np.ndarray], limit: int | None
    ) -> tuple[Dataset, np.ndarray, np.ndarray] | None:
        """Rows of a split cut anew into rows of a pool, each with the first and last source row; None leaves them."""
        return None

    def extras(self, split: str, rows: np.ndarray) -> dict[str, Any]:
        """Entries that the task adds to a batch of rows of a split."""
        return {}

    def references(self) -> dict[str, float]:
        """Reference values on the held-out splits, by metric name."""
        return {}

    def constant_metrics(self) -> dict[str, float]:
        """Metrics of the best constant answer on the held-out split, by name; those where more is better."""
        return {}

    def warn_of_lost_classes(self, rows: np.ndarray) -> None:
        """Warn where the rows that are trained on lack a class."""
        if self.has_classes and "train" in self.labels:
            lost = sorted(set(self.labels["train"].tolist()) - set(self.labels["train"][rows].tolist()))
            if lost:
                names = ", ".join(self.label_names[number] if self.label_names else str(number) for number in lost)
                warnings.warn(f"The selection has no row of class(es) {names}.", stacklevel=2)
