"""The data module that all tasks share: splits, and selection as a preprocessing stage of the train split."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from selectune.common.errors import DataError
from selectune.common.memory import give_memory_back
from selectune.common.ranks import world
from selectune.data.pool import Pool
from selectune.data.texts import Texts, as_texts, concatenate, find_target
from selectune.data.tokens import TokenizedRows, check_length, load_tokenizer, tokenize
from selectune.data.windows import BatchRows
from selectune.datamodules.dataloaders import Loaders
from selectune.datamodules.read_splits import load_splits, rows_to_predict
from selectune.lightning_modules.scorers.settings import ScorerSettings
from selectune.selection.manifest import Selection
from selectune.selection.request import BudgetAsked, Length, SelectionRequest, cached_tokens
from selectune.selection.stage import earlier_selection, ledger_of, select_in_library
from selectune.selectors.anchored import checked_by_target

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from selectune.costs.record import Part
    from selectune.data.sources import ModelSource


class SelectionDataModule(Loaders):
    """Splits of a data set, of which the train split is a pool that a selector may select from.

    The order is: ``dev`` is split off train, ``max_train_rows`` are sampled, these are the pool, the selector keeps its
    budget. Validation and held-out rows are never selected from. `TaskData` documents the arguments.
    """

    def model_tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of the model that is trained."""
        if self.tokenizer is None:
            assert self.trainer is not None, "the data module belongs to no Trainer yet"
            module: Any = self.trainer.lightning_module
            self.tokenizer = load_tokenizer(module.source.folder)
        return self.tokenizer

    def check_length(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Refuse a `max_length` that does not fit a model or a text; see `selectune.data.tokens.check_length`."""
        check_length(tokenizer, self.max_length, len(self.text_columns))

    def load(self, source: ModelSource | None = None) -> None:
        """Find the data, check it and split it; every rank does so by itself, and the first call only.

        Args:
            source: the model that is trained, whose tokenizer cuts texts into segments; default the Trainer's.

        Raises:
            DataError: something about the data is not as the task needs it.
            BudgetError: the pool has fewer rows than are to be kept.
        """
        if source is not None and self.tokenizer is None:
            self.tokenizer = load_tokenizer(source.folder)
        if not self.splits and self.unlabelled:
            self.pool = rows_to_predict(self)
            self.splits = {"test": self.pool.dataset}
            trainer: Any = self.trainer
            self.take_labels_of(source or trainer.lightning_module.source)
        if not self.splits:
            splits, labels, pool, split_off = load_splits(self)
            self.budget.of(len(pool), 2**62)
            self.splits, self.labels, self.pool, self.split_off = splits, labels, pool, split_off
            give_memory_back()

    def tokenized(self, split: str, tokenizer: PreTrainedTokenizerBase) -> TokenizedRows:
        """A split's tokens; those of the pool are kept in the cache, where rank 0 puts them."""
        if split == "train":
            return cached_tokens(self.pool, tokenizer, self.max_length)
        self.check_length(tokenizer)
        rows = Pool(self.splits[split], self.text_columns, "", np.zeros(0))
        return tokenize(rows.texts, len(rows), tokenizer, self.max_length)

    def encode(self, split: str, tokenizer: PreTrainedTokenizerBase) -> BatchRows:
        """A split as the model reads it, in training and evaluation."""
        return self.tokenized(split, tokenizer)

    def encoded(self, split: str) -> BatchRows:
        """A split as the model that is trained reads it, made once."""
        if split not in self.tokens:
            self.tokens[split] = replace(self.encode(split, self.model_tokenizer()), multiple=self.pad_to)
        return self.tokens[split]

    def request(
        self,
        scorer: ScorerSettings | None = None,
        part: Part = "fit",
        outer: SelectionDataModule | None = None,
        length: Length = Length(),  # noqa: B008
    ) -> SelectionRequest | None:
        """Request to the selection stage; None where nothing is selected.

        Args:
            scorer: settings of the scoring model.
            part: of the run that this data belongs to.
            outer: the top-level data, loaded, where this is a warm-up's.
            length: of the training on what is selected.

        Raises:
            DataError: the target cannot be loaded.
        """
        if self.selector is None and self.selection is None:
            return None
        target, selector = None, self.selector
        if selector is not None and self.trusted is not None and outer is None:
            selector = checked_by_target(selector)
        if selector is not None and selector.requires_target:
            default = (self.trusted_texts() or "dev") if outer is None else "train"
            target = find_target(
                self.target or default,
                lambda: self._dev(f"dev of {self.pool.source}"),
                None if outer is None else outer.pool,
                self.root,
                self.seed,
                self.max_target_rows,
            )
        return SelectionRequest(
            pool=self.pool,
            selector=selector,
            budget=self.budget,
            seed=self.seed,
            training=self,
            labelled=outer or self,
            max_length=self.max_length,
            part=part,
            labels=self.labels.get("train"),
            label_names=tuple(self.label_names) if self.has_classes else None,
            prior=self.prior,
            target=target,
            earlier=None if self.selection is None else Path(self.selection).expanduser(),
            scorer=scorer or ScorerSettings(),
            length=length,
        )

    def trusted_texts(self) -> Texts | None:
        """The rows of `trusted`, as they are loaded; None where there are none.

        Raises:
            DataError: the rows are pairs of texts.
        """
        if self.trusted is None:
            return None
        if len(self.text_columns) > 1:
            raise DataError(
                "data.trusted takes rows of one text, but these are pairs; leave it out.", option="data.trusted"
            )
        texts = as_texts(self.trusted)[0]
        if isinstance(self.trusted, str) and self.trusted in self.find().splits:
            here = (self.dataset, self.config_name, self.revision, self.local_name)
            texts = Texts(
                *here, split=self.trusted, separator=self.file_format.separator, encoding=self.file_format.encoding
            )
        return replace(texts, text_column=texts.text_column or self.text_columns[0])

    def known_good(self) -> Pool | None:
        """Rows that are known to be good: those of `trusted`, else of `target` where it names texts; else None.

        Raises:
            DataError: they cannot be loaded, or the rows are pairs of texts.
        """
        if (trusted := self.trusted_texts()) is not None:
            return concatenate([trusted], self.root, self.seed, self.text_columns[0])
        if self.target is None or self.target in ("dev", "train"):
            return None
        return find_target(self.target, lambda: self._dev("dev"), None, self.root, self.seed, self.max_target_rows)

    def _dev(self, source: str) -> Pool:
        rows = self.splits["dev"]
        return Pool(rows, self.text_columns, source, np.arange(len(rows)))

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

    def to_predict(self) -> Self:
        """A copy whose held-out rows are those to predict, which need no label.

        They are the rows of the split `test_split` or ``test``, or all rows of a data set of one split.
        """
        other = self.without_selection()
        other.unlabelled, other.more_test_splits, other.splits, other.tokens = True, [], {}, {}
        return other

    def trained_on(self, rows: np.ndarray, source: ModelSource) -> Self:
        """A copy for a training of its own, on some rows of the pool, which selects nothing."""
        other = self.without_selection()
        other.tokenizer, other.tokens, other.trainer = load_tokenizer(source.folder), {}, None
        other._only = np.sort(rows)
        return other

    def observing(
        self,
        observed: np.ndarray,
        trained: np.ndarray | None,
        source: ModelSource,
        of: Literal["train", "dev"] = "train",
    ) -> Self:
        """A copy for a training of its own, whose validations go over some rows of the pool, or over some of ``dev``.

        Args:
            observed: ids of the rows that are validated on; in a batch, rows are positions among these.
            trained: ids of the rows that are trained on; None trains on ``dev``.
            source: the model that is trained.
            of: the split that is validated on.
        """
        split = "dev" if trained is None else "train"
        other = self.trained_on(np.arange(len(self.splits["dev"])) if trained is None else trained, source)
        assert other.tokenizer is not None
        judged, learnt = (self.tokenized(name, other.tokenizer) for name in (of, split))
        other.tokens = {"train": learnt, "dev": judged.take(observed)}
        other.labels = self.labels | {"train": self.labels[split], "dev": self.labels[of][observed]}
        return other

    def fingerprint_of(self, split: str) -> str:
        """Hash of the content of a split."""
        rows = self.splits[split]
        return Pool(rows, self.text_columns, "", np.arange(len(rows)), label_column=self.label_column).fingerprint

    def training_key(self) -> list[Any]:
        """Settings that a training on rows of the pool depends on, beside its rows, their texts and labels."""
        return [type(self).__name__, self.max_length, self.batch_size, self.seed, self.head_class.__name__]

    # Lightning calls these, in this order.

    def prepare_data(self) -> None:
        """Make the selection, where the data module is used as a library in one process."""
        if self.selector is not None and self.selection is None and self.selected is None:
            self.load()
            trainer: Any = self.trainer
            steps_of = trainer.accumulate_grad_batches * self.batch_size
            request = self.request(length=Length.of(trainer.max_epochs, trainer.max_steps, steps_of))
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
            if self.whole and split not in self.splits and split not in self.tokens:
                continue
            if (n_rows := len(self.encoded(split))) < world()[1]:
                raise DataError(f"The {split} split has {n_rows} row(s) for {world()[1]} processes; use fewer.")
