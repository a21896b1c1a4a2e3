"""The data module that all tasks share: splits, and selection as a preprocessing stage of the train split."""

from __future__ import annotations

from copy import copy
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from selectune.common.errors import DataError
from selectune.common.files import default_cache
from selectune.common.memory import give_memory_back
from selectune.common.ranks import on_rank_zero, world
from selectune.data.data_files import FileFormat
from selectune.data.pool import Pool
from selectune.data.sources import find_data
from selectune.data.texts import Texts, find_target
from selectune.data.tokens import BatchRows, TokenizedRows, load_tokenizer, tokenize, tokenizer_hash
from selectune.datamodules.read_splits import load_splits
from selectune.datamodules.task import TaskData
from selectune.selection.manifest import Selection
from selectune.selectors.base import Budget, Selector

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

    from selectune.data.sources import DataSource, ModelSource
    from selectune.lightning_modules.scorers.settings import ScorerSettings
from typing import TYPE_CHECKING

from selectune.common import checks
from selectune.common.errors import BudgetError
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
        self.selector, self.keep, self.keep_rows, self.keep_tokens = selector, keep, keep_rows, keep_tokens
        self.selection, self._seed, self.num_workers = selection, seed, num_workers
        self.target, self.max_target_rows = target, max_target_rows
        self.task: SelectionDataModule | None = None  # the top-level data, where this is a warm-up's
        self.scorer: ScorerSettings | None = None  # the CLI sets it; None means the defaults
        self.source: ModelSource | None = None  # that is trained; the CLI sets it, else the Trainer has it
        self.chosen: Selection | None = None
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
            source = self.source
            if source is None:
                assert self.trainer is not None, "the data module belongs to no Trainer yet"
                module: Any = self.trainer.lightning_module
                source = module.source
            self.tokenizer = load_tokenizer(source.folder)
        return self.tokenizer

    def check_length(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Refuse rows that may be longer than a model takes, or that are cut to nothing but special tokens.

        Raises:
            DataError: `max_length` is over what the tokenizer says of its model, or below what a text needs.
        """
        special = tokenizer.num_special_tokens_to_add(pair=len(self.text_columns) > 1)
        if self.max_length < special + len(self.text_columns):
            raise DataError(
                f"data.max_length is {self.max_length}, but {special} tokens are special ones, so nothing is left of a "
                f"text; give at least {special + len(self.text_columns)}."
            )
        if self.max_length > tokenizer.model_max_length:
            raise DataError(
                f"data.max_length is {self.max_length}, but {Path(tokenizer.name_or_path).name} takes at most "
                f"{tokenizer.model_max_length} tokens; lower it."
            )

    def load(self) -> None:
        """Find the data, check it and split it; every rank does so by itself, and the first call only.

        Raises:
            DataError: something about the data is not as the task needs it.
            BudgetError: fewer rows are there than are to be kept.
        """
        if not self.splits:
            loaded = load_splits(self)
            Budget.of(len(loaded.pool), 2**62, self.keep, self.keep_rows, self.keep_tokens)
            self.splits, self.labels, self.pool = loaded.splits, loaded.labels, loaded.pool
            give_memory_back()

    def budget(self, n_tokens: int) -> Budget:
        """The budget asked for, checked against the pool.

        Raises:
            BudgetError: it is missing, given twice, nothing, or more than the pool.
        """
        budget = Budget.of(len(self.pool), n_tokens, self.keep, self.keep_rows, self.keep_tokens)
        check_arguments(self)
        return budget

    def texts_of(self, split: str) -> Any:
        """A function from a slice to the split's texts, for `tokenize`."""
        data = Pool(self.splits[split], self.text_columns, "", np.zeros(0))
        return lambda rows: data.texts(rows)

    def tokenized(self, split: str, tokenizer: PreTrainedTokenizerBase) -> TokenizedRows:
        """A split's tokens; those of the pool are kept in the cache, where rank 0 puts them."""
        if split == "train":
            return self.tokenized_pool(self.pool, tokenizer)
        self.check_length(tokenizer)
        return tokenize(self.texts_of(split), len(self.splits[split]), tokenizer, self.max_length)

    def tokenized_pool(self, pool: Pool, tokenizer: PreTrainedTokenizerBase) -> TokenizedRows:
        """A pool's tokens, kept in the cache, where rank 0 puts them."""
        self.check_length(tokenizer)
        key = f"{pool.fingerprint[:16]}-{tokenizer_hash(tokenizer)[:16]}-{self.max_length}"
        folder = default_cache() / "tokens" / key

        def fill() -> None:
            tokenize(pool.texts, len(pool), tokenizer, self.max_length, folder)

        on_rank_zero(fill)
        return tokenize(pool.texts, len(pool), tokenizer, self.max_length, folder)

    @cached_property
    def target_pool(self) -> Pool:
        """The rows that a selector compares the pool with.

        Raises:
            DataError: they cannot be had.
        """
        return find_target(self)

    def trained_on(self, rows: np.ndarray, source: ModelSource) -> Self:
        """This data module for a training of its own, on some rows of the pool, which selects nothing."""
        other = copy(self)
        other.__dict__.pop("target_pool", None)
        other.selector = other.selection = other.keep = other.keep_rows = other.keep_tokens = None
        other.chosen, other.tokenizer, other.tokens, other.trainer = None, None, {}, None
        other.source, other._only = source, np.sort(rows)
        return other

    def training_key(self) -> list[Any]:
        """What a training on rows of the pool depends on, beside its rows, their texts and labels, and the head."""
        return []

    def encode(self, split: str, tokenizer: PreTrainedTokenizerBase) -> BatchRows:
        """A split as the model reads it, in training and evaluation."""
        return self.tokenized(split, tokenizer)

    # What Lightning calls, in its order.

    def prepare_data(self) -> None:
        """Make the selection, where the data module is used as a library in one process."""
        if self.selector is None or self.selection is not None or self.chosen is not None:
            return
        from selectune.selection.stage import select_in_library

        select_in_library(self)

    def setup(self, stage: str) -> None:
        """Tokenise what the stage needs, for the model that is trained."""
        self.load()
        if self.selection is not None and self.chosen is None:
            from selectune.selection.stage import ledger_of, use_selection

            use_selection(self, ledger_of(self.trainer))
        tokenizer = self.model_tokenizer()
        for split in {"fit": ("train", "dev"), "validate": ("dev",)}.get(stage, self.held_out):
            if split not in self.tokens:
                self.tokens[split] = self.encode(split, tokenizer)
            if len(self.tokens[split]) < world()[1]:
                raise DataError(
                    f"The {split} split has {len(self.tokens[split])} row(s) for {world()[1]} processes; use fewer."
                )

    @property
    def held_out(self) -> tuple[str, ...]:
        """The splits that are evaluated in the end: ``test``, then ``test/<name>`` of each further one."""
        return ("test", *(f"test/{name}" for name in self.more_test_splits))

    @property
    def train_rows(self) -> np.ndarray:
        """Row ids that are trained on, ascending."""
        if self._only is not None:
            return self._only
        return self.chosen.rows if self.chosen is not None else np.arange(len(self.pool))


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
    given = [name for name in ("keep", "keep_rows", "keep_tokens") if getattr(data, name) is not None]
    for name in ("keep_rows", "keep_tokens"):
        checks.at_least(f"data.{name}", getattr(data, name), 1, BudgetError)
    Budget.of(2**62, 2**62, data.keep, data.keep_rows, data.keep_tokens)
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
