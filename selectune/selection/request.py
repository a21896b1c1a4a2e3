"""The request of a data module to the selection stage, frozen: the stage never reaches back into the data module."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from selectune.common.files import default_cache
from selectune.common.ranks import on_rank_zero
from selectune.data.class_prior import ClassPrior
from selectune.data.pool import Pool
from selectune.data.tokens import TokenizedRows, check_length, tokenize, tokenizer_hash
from selectune.lightning_modules.scorers.settings import ScorerSettings
from selectune.selection.manifest import describe
from selectune.selectors.base import Budget, Selector

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from selectune.costs.record import Part
    from selectune.data.sources import ModelSource


class Trainable(Protocol):
    """The part of a data module by which a selection trains models on its rows: scorers, and proxies of a search."""

    @property
    def pool(self) -> Pool:
        """The rows that may be trained on."""

    @property
    def seed(self) -> int:
        """The seed of everything random in it."""

    @property
    def monitor(self) -> tuple[str, str]:
        """The metric on ``dev`` that is compared, and ``max`` or ``min`` of it."""

    def trained_on(self, rows: np.ndarray, source: ModelSource) -> Any:
        """A data module of its own, for a training on some rows of the pool."""

    def observing(self, observed: np.ndarray, trained: np.ndarray | None, source: ModelSource) -> Any:
        """A data module of its own, for a training on rows of the pool or on ``dev``, validated on rows of the pool."""

    def fingerprint_of(self, split: str) -> str:
        """Hash of the content of a split."""

    def training_key(self) -> list[Any]:
        """Everything that such a training depends on beside its rows, their texts and labels."""


@dataclass(frozen=True)
class BudgetAsked:
    """The budget as the user gave it: a share of the rows, rows, or tokens; at most one of them.

    Args:
        keep: over 0, at most 1.
        keep_rows: at least 1.
        keep_tokens: at least 1.
    """

    keep: float | None = None
    keep_rows: int | None = None
    keep_tokens: int | None = None

    @property
    def given(self) -> list[str]:
        """Names of those that are given."""
        return [name for name, value in asdict(self).items() if value is not None]

    def of(self, n_rows: int, n_tokens: int) -> Budget:
        """The budget in a pool of so many rows and tokens.

        Raises:
            BudgetError: it is given twice, nothing, or more than the pool.
        """
        return Budget.of(n_rows, n_tokens, self.keep, self.keep_rows, self.keep_tokens)


@dataclass(frozen=True)
class Length:
    """Length of the training that a selection is for; the first limit that is reached ends it.

    Args:
        epochs: passes over the rows that are kept; None for no such limit.
        row_visits: rows of all steps; None likewise.
    """

    epochs: int | None = None
    row_visits: int | None = None

    @classmethod
    def of(cls, max_epochs: int | None, max_steps: int, rows_of_step: int) -> Length:
        """The length by the limits of a Trainer, of which -1 is none."""
        epochs = None if max_epochs in (None, -1) else max_epochs
        return cls(epochs, None if max_steps < 0 else max_steps * rows_of_step)

    def visits(self, n_rows: float) -> float | None:
        """Rows that are trained on, each as often as it is, where so many are kept; None without a limit."""
        limits = [] if self.epochs is None else [self.epochs * n_rows]
        limits += [] if self.row_visits is None else [float(self.row_visits)]
        return min(limits, default=None)


@dataclass(frozen=True)
class SelectionRequest:
    """A selection that is asked for.

    Args:
        pool: the rows to select from.
        selector: selects; None takes the earlier selection as it is.
        budget: how much to keep.
        seed: of the selector, and of the order among equal scores.
        training: trains proxies on rows of the pool.
        labelled: trains the scoring model on labelled rows: the same, but the top-level data in a warm-up.
        max_length: tokens that rows are cut to.
        part: of the run that the selection serves.
        labels: numbers of classes, or numbers, of the rows, shape (n_rows,).
        label_names: names of the classes, where labels are classes.
        prior: shares of the classes where the model will be used, where labels are classes.
        target: the rows to compare the pool with, if the selector compares it.
        earlier: a run, or its ``selection`` folder, whose selection is used instead.
        scorer: settings of the scoring model.
        length: of the training.
    """

    pool: Pool
    selector: Selector | None
    budget: BudgetAsked
    seed: int
    training: Trainable
    labelled: Trainable
    max_length: int
    part: Part = "fit"
    labels: np.ndarray | None = None
    label_names: tuple[str, ...] | None = None
    prior: ClassPrior | None = None
    target: Pool | None = None
    earlier: Path | None = None
    scorer: ScorerSettings = field(default_factory=ScorerSettings)
    length: Length = Length()

    def tokenized(self, pool: Pool, tokenizer: PreTrainedTokenizerBase) -> TokenizedRows:
        """Tokens of the pool, or of the target; see `cached_tokens`."""
        return cached_tokens(pool, tokenizer, self.max_length)

    @property
    def described(self) -> dict[str, Any]:
        """The selector, budget, seed, target and class prior, as a manifest holds them."""
        target = None
        if self.target is not None:
            target = {name: getattr(self.target, name) for name in ("source", "revision", "fingerprint")}
        budget = asdict(self.budget)
        asked = {"selector": describe(self.selector), "budget": budget, "seed": self.seed, "target": target}
        return asked | {"prior": None if self.prior is None else self.prior.described}


def cached_tokens(pool: Pool, tokenizer: PreTrainedTokenizerBase, max_length: int) -> TokenizedRows:
    """Tokens of a pool, kept in the cache, where rank 0 puts them.

    Raises:
        DataError: `max_length` is over what the tokenizer's model takes.
    """
    check_length(tokenizer, max_length, len(pool.text_columns))
    key = f"{pool.fingerprint[:16]}-{tokenizer_hash(tokenizer)[:16]}-{max_length}"
    folder = default_cache() / "tokens" / key

    def fill() -> None:
        tokenize(pool.texts, len(pool), tokenizer, max_length, folder)

    on_rank_zero(fill)
    return tokenize(pool.texts, len(pool), tokenizer, max_length, folder)
