"""The data module that all tasks share: splits, and selection as a preprocessing stage of the train split."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from selectune.common.errors import BudgetError, DataError
from selectune.common.memory import give_memory_back
from selectune.common.ranks import world
from selectune.data.data_files import FileFormat
from selectune.data.pool import Pool
from selectune.data.sources import find_data
from selectune.data.texts import Texts, find_target
from selectune.data.tokens import BatchRows, TokenizedRows, check_length, load_tokenizer, tokenize
from selectune.datamodules.read_splits import load_splits
from selectune.datamodules.task import TaskData
from selectune.lightning_modules.scorers.settings import ScorerSettings
from selectune.selection.manifest import Selection
from selectune.selection.request import BudgetAsked, SelectionRequest, cached_tokens
from selectune.selection.stage import earlier_selection, ledger_of, select_in_library
from selectune.selectors.base import Selector

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

    from selectune.costs.record import Part
    from selectune.data.sources import DataSource, ModelSource
from selectune.common import checks
from selectune.selectors.checking import check_selector


class SelectionDataModule(TaskData):
    """Splits of a data set, of which the train split is a pool that a selector may choose from.

    The order is: ``dev`` is split off train, ``max_train_rows`` are sampled, these are the pool, the selector keeps its
    budget. Validation and held-out rows are never selected from.

    Args:
        dataset: ``docstrings`` (the embedded corpus), a hub name, a folder in the hub's layout, or one csv, tsv, json,
            jsonl or parquet file.
        config_name: the hub's configuration of the data set.
        revision: of the hub's data set, e.g. ``refs/convert/parquet``.
        root: folder of local copies that is looked into first; default ``SELECTUNE_DATA``.
        local_name: what the data set's folder in the root is called, where not by its own name.
        separator: of the columns of csv files, one character such as ``;``, or ``tab``; default the comma, in ``.tsv``
            files the tab.
        encoding: of csv and json files, e.g. ``latin-1`` or ``utf-16``; default UTF-8.
        train_split: name of the split to train on.
        dev_split: of the split that chooses the checkpoint; default a validation split that is not the reported one,
            else a tenth of train, at most 1,000 rows.
        test_split: of the split that figures come from; default ``test``, else ``validation``, else a tenth of train.
        max_train_rows: sample the train split down to so many rows.
        max_dev_rows: sample ``dev`` down to so many rows.
        max_eval_rows: sample the held-out split down to so many rows.
        max_length: tokens that a row is cut to, special ones included.
        batch_size: rows of a training batch, over all ranks.
        max_batch_tokens: padded tokens of a batch on one rank; a training batch over it is split into micro-batches.
        selector: chooses the rows to train on; default all.
        keep: how much to keep, as a fraction of the rows, over 0 and at most 1.
        keep_rows: how much to keep, in rows.
        keep_tokens: how much to keep, in tokens.
        selection: an earlier selection to use instead: a run, or its ``selection`` folder.
        target: the rows that a selector compares the pool with, whose labels it does not see: ``dev`` (default); in a
            warm-up ``train`` (default there), exactly the rows of the top-level data before its own selection; or other
            texts, by name or as `Texts`, of which several count alike, whatever their sizes (but for `Nearest`, whose
            rows of the target take turns).
        max_target_rows: sample the target down to so many rows.
        seed: of splits, samples, shuffles and selector; default ``seed_everything``.
        num_workers: processes that make batches; 0 makes them in the training process.
    """

    def __init__(
        self,
        dataset: str,
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
        selector: Selector | None = None,
        keep: float | None = None,
        keep_rows: int | None = None,
        keep_tokens: int | None = None,
        selection: str | None = None,
        target: str | Texts | list[str | Texts] | None = None,
        max_target_rows: int | None = None,
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
        self.batch_size, self.max_batch_tokens = batch_size, max_batch_tokens
        self.selector, self.budget = selector, BudgetAsked(keep, keep_rows, keep_tokens)
        self.selection, self._seed, self.num_workers = selection, seed, num_workers
        self.target, self.max_target_rows = target, max_target_rows
        self.selected: Selection | None = None
        self._only: np.ndarray | None = None  # rows to train on, selected or not
        self.tokenizer: PreTrainedTokenizerBase | None = None
        self.pool: Pool
        self.splits: dict[str, Dataset] = {}
        self.labels: dict[str, np.ndarray] = {}
        self.tokens: dict[str, BatchRows] = {}
        self.more_test_splits: list[str] = []  # evaluated beside the held-out split, never selected from
        check_arguments(self)

    # The preprocessing stage.

    def find(self) -> DataSource:
        """The data set."""
        return find_data(
            self.dataset, self.config_name, self.root, self.local_name, self.revision, how=self.file_format
        )

    @property
    def seed(self) -> int:
        """Of everything random in here."""
        from selectune.common.seeds import current_seed

        return self._seed if self._seed is not None else current_seed()

    def model_tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of the model that is trained."""
        if self.tokenizer is None:
            assert self.trainer is not None, "the data module belongs to no Trainer yet"
            module: Any = self.trainer.lightning_module
            self.tokenizer = load_tokenizer(module.source.folder)
        return self.tokenizer

    def check_length(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Refuse rows that may be longer than a model takes, or that are cut to nothing but special tokens.

        Raises:
            DataError: `max_length` is over what the tokenizer says of its model, or below what a text needs.
        """
        check_length(tokenizer, self.max_length, len(self.text_columns))

    def load(self, source: ModelSource | None = None) -> None:
        """Find the data, check it and split it; every rank does so by itself, and the first call only.

        Args:
            source: the model that is trained, whose tokenizer cuts texts into segments; default the Trainer's.

        Raises:
            DataError: something about the data is not as the task needs it.
            BudgetError: fewer rows are there than are to be kept.
        """
        if source is not None and self.tokenizer is None:
            self.tokenizer = load_tokenizer(source.folder)
        if not self.splits:
            loaded = load_splits(self)
            self.budget.of(len(loaded.pool), 2**62)
            self.splits, self.labels, self.pool = loaded.splits, loaded.labels, loaded.pool
            give_memory_back()

    def texts_of(self, split: str) -> Any:
        """A function from a slice to the split's texts, for `tokenize`."""
        data = Pool(self.splits[split], self.text_columns, "", np.zeros(0))
        return lambda rows: data.texts(rows)

    def tokenized(self, split: str, tokenizer: PreTrainedTokenizerBase) -> TokenizedRows:
        """A split's tokens; those of the pool are kept in the cache, where rank 0 puts them."""
        if split == "train":
            return cached_tokens(self.pool, tokenizer, self.max_length)
        self.check_length(tokenizer)
        return tokenize(self.texts_of(split), len(self.splits[split]), tokenizer, self.max_length)

    def request(
        self,
        scorer: ScorerSettings | None = None,
        part: Part = "fit",
        outer: SelectionDataModule | None = None,
    ) -> SelectionRequest | None:
        """What is asked of the selection stage; None where nothing is selected.

        Args:
            scorer: settings of the scoring model.
            part: whose data this is.
            outer: the top-level data, loaded, where this is a warm-up's.

        Raises:
            DataError: the target cannot be had.
        """
        if self.selector is None and self.selection is None:
            return None
        target = None
        if self.selector is not None and self.selector.requires_target:
            dev = self.splits["dev"]
            target = find_target(
                self.target or ("dev" if outer is None else "train"),
                Pool(dev, self.text_columns, f"dev of {self.pool.source}", np.arange(len(dev))),
                None if outer is None else outer.pool,
                self.root,
                self.seed,
                self.max_target_rows,
            )
        return SelectionRequest(
            pool=self.pool,
            selector=self.selector,
            budget=self.budget,
            seed=self.seed,
            training=self,
            labelled=outer or self,
            max_length=self.max_length,
            part=part,
            labels=self.labels.get("train"),
            label_names=tuple(getattr(self, "label_names", ())) if self.has_classes else None,
            target=target,
            earlier=None if self.selection is None else Path(self.selection).expanduser(),
            scorer=scorer or ScorerSettings(),
        )

    def with_selection(self, selection: Selection) -> Self:
        """A copy that trains on the selected rows."""
        other = copy(self)
        other.selected = selection
        return other

    def without_selection(self) -> Self:
        """A copy that selects nothing."""
        other = copy(self)
        other.selector = other.selection = other.selected = None
        other.budget = BudgetAsked()
        return other

    def trained_on(self, rows: np.ndarray, source: ModelSource) -> Self:
        """A copy for a training of its own, on some rows of the pool, which selects nothing."""
        other = self.without_selection()
        other.tokenizer, other.tokens, other.trainer = load_tokenizer(source.folder), {}, None
        other._only = np.sort(rows)
        return other

    def training_key(self) -> list[Any]:
        """What a training on rows of the pool depends on, beside its rows, their texts and labels."""
        return [type(self).__name__, self.max_length, self.batch_size, self.seed, self.head_class.__name__]

    def encode(self, split: str, tokenizer: PreTrainedTokenizerBase) -> BatchRows:
        """A split as the model reads it, in training and evaluation."""
        return self.tokenized(split, tokenizer)

    def encoded(self, split: str) -> BatchRows:
        """A split as the model that is trained reads it, made once."""
        if split not in self.tokens:
            self.tokens[split] = self.encode(split, self.model_tokenizer())
        return self.tokens[split]

    # What Lightning calls, in its order.

    def prepare_data(self) -> None:
        """Make the selection, where the data module is used as a library in one process."""
        if self.selector is not None and self.selection is None and self.selected is None:
            self.load()
            request = self.request()
            assert request is not None
            self.selected = select_in_library(request, self.trainer)

    def setup(self, stage: str) -> None:
        """Tokenise what the stage needs, for the model that is trained."""
        self.load()
        if self.selection is not None and self.selected is None:
            request = self.request()
            assert request is not None
            self.selected = earlier_selection(request, ledger_of(self.trainer))
        for split in {"fit": ("train", "dev"), "validate": ("dev",)}.get(stage, self.held_out):
            if (n_rows := len(self.encoded(split))) < world()[1]:
                raise DataError(f"The {split} split has {n_rows} row(s) for {world()[1]} processes; use fewer.")

    @property
    def held_out(self) -> tuple[str, ...]:
        """The splits that are evaluated in the end: ``test``, then ``test/<name>`` of each further one."""
        return ("test", *(f"test/{name}" for name in self.more_test_splits))

    @property
    def train_rows(self) -> np.ndarray:
        """Row ids that are trained on, ascending."""
        if self._only is not None:
            return self._only
        return self.selected.rows if self.selected is not None else np.arange(len(self.pool))


def check_arguments(data: SelectionDataModule) -> None:
    """Refuse arguments that cannot be, or not together.

    Raises:
        BudgetError: of the budget.
        DataError: of a limit or a length.
        SelectionError: of the selector.
        UserError: of the seed.
    """
    if data.selector is not None:
        check_selector(data.selector)
    given = data.budget.given
    for name in ("keep_rows", "keep_tokens"):
        checks.at_least(f"data.{name}", getattr(data.budget, name), 1, BudgetError)
    data.budget.of(2**62, 2**62)
    if data.selector is None:
        if given and data.selection is None:
            raise BudgetError(f"data.{given[0]} is given without data.selector; name a selector, or leave it out.")
    elif data.selector.sets_own_size and given:
        raise BudgetError(f"The selector fixes its own bounds, so data.{given[0]} must be left out.")
    elif not data.selector.sets_own_size and not given and data.selection is None:
        raise BudgetError("data.selector needs a budget; give data.keep, data.keep_rows or data.keep_tokens.")
    limits = ("max_train_rows", "max_dev_rows", "max_eval_rows", "max_target_rows")
    for name in (*limits, "batch_size", "max_batch_tokens"):
        checks.at_least(f"data.{name}", getattr(data, name), 1, DataError)
    checks.at_least("data.max_length", data.max_length, 2, DataError)  # the least that a token is predicted from
    checks.at_least("data.num_workers", data.num_workers, 0, DataError)
    checks.seed("data.seed", data._seed)
