"""The contract of every selector: arrays in, row ids out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from selectune.common import checks
from selectune.common.errors import BudgetError
from selectune.selectors.blocks import blocks
from selectune.selectors.ordering import ranked, rounded, smallest

# of every pool; ``domain`` where it is of several data sets, ``label`` and ``class_prior`` where rows have classes
ALWAYS = frozenset({"n_tokens", "input_tokens", "text_hash", "domain", "label", "class_prior"})


@dataclass(frozen=True)
class Budget:
    """Size of a selection, in ``rows`` or in ``tokens`` (of the scoring tokenizer), or in neither.

    Neither is right only for a rule that fixes its own bounds, such as ``Absolute``. ``counted`` names the signal that
    counts a row's tokens: ``n_tokens``, or ``input_tokens``, special ones included.
    """

    rows: int | None = None
    tokens: int | None = None
    counted: str = "n_tokens"

    @classmethod
    def of(
        cls,
        n_rows: int,
        n_tokens: int,
        keep: float | None = None,
        keep_rows: int | None = None,
        keep_tokens: int | None = None,
    ) -> Budget:
        """Budget for a pool of this size, from ``data.keep``, ``data.keep_rows`` or ``data.keep_tokens``.

        ``keep`` is a fraction of the rows, 0 < keep <= 1, rounded to the nearest row.

        Raises:
            BudgetError: more than one is given, or one lies outside the pool or comes to no row.
        """
        options = {"keep": keep, "keep_rows": keep_rows, "keep_tokens": keep_tokens}
        given = [f"data.{name}" for name, value in options.items() if value is not None]
        if len(given) > 1:
            raise BudgetError(f"The budget is given twice, by {' and '.join(given)}; keep one of them.")
        for unit, value, most in (("rows", keep_rows, n_rows), ("tokens", keep_tokens, n_tokens)):
            if value is not None and not 0 < value <= most:
                raise BudgetError(
                    f"data.keep_{unit} is {value}, but the pool has {most} {unit}; ask for 1 to {most}.",
                    option=f"data.keep_{unit}",
                )
        if keep is None:
            return cls(rows=keep_rows, tokens=keep_tokens)
        checks.share("data.keep", keep, BudgetError)
        rows = int(n_rows * keep + 0.5)
        if rows < 1:
            message = f"data.keep is {keep:g}, which comes to no row of {n_rows}; keep more."
            raise BudgetError(message, option="data.keep")
        return cls(rows=rows)

    @property
    def is_set(self) -> bool:
        """Whether rows or tokens are given."""
        return self.rows is not None or self.tokens is not None


class Signals(Mapping[str, np.ndarray]):
    """Named arrays of a pool, one row each, in the order of the row ids: all that selectors see of it.

    Every pool has ``n_tokens`` (int64, special tokens excluded), ``input_tokens`` (with them, as a model reads the row)
    and ``text_hash`` (uint64, of the text alone); a pool of several data sets also has ``domain`` (int32), the number
    of each row's data set; one whose rows have classes has ``label``, the number of each row's class, and
    may have ``class_prior``, the share that this class has where the model will be used.

    Args:
        arrays: each of shape (n_rows,) or (n_rows, width); memory maps are fine.
        row_ids: of these rows in the whole pool, int64, shape (n_rows,), where they are a part of it, as in a `Chain`.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], row_ids: np.ndarray | None = None) -> None:
        self._arrays, self._row_ids = dict(arrays), row_ids
        lengths = {name: len(values) for name, values in self._arrays.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"signals of one pool must have the same number of rows, not {lengths}")

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    @property
    def n_rows(self) -> int:
        """Rows of the pool."""
        return len(self._arrays["text_hash"])

    @property
    def row_ids(self) -> np.ndarray:
        """Ids of these rows in the whole pool, by which diagnostics and messages name them, shape (n_rows,)."""
        return np.arange(self.n_rows) if self._row_ids is None else self._row_ids

    def take(self, rows: np.ndarray, names: Iterable[str] | None = None) -> Signals:
        """Some of the rows, with all signals or with those of some names that there are."""
        wanted = self.keys() if names is None else self.keys() & set(names)
        return Signals({name: self._arrays[name][rows] for name in wanted}, self.row_ids[rows])

    def tie_keys(self, seed: int, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """`tie_keys` of every row, or of some, uint64, shape (n_rows,)."""
        return tie_keys(self._arrays["text_hash"][rows], seed)


def tie_keys(text_hash: np.ndarray, seed: int) -> np.ndarray:
    """hash(seed, text) of rows by the hash of their text, uint64: the order among rows of equal score."""
    keys, mixed = np.asarray(text_hash).astype(np.uint64), _mix(np.uint64(seed % 2**64))
    for block in blocks(len(keys)):
        keys[block] = _mix(keys[block] ^ mixed)
    return keys


def _mix(x: np.ndarray | np.uint64) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea & Flood 2014), a bijection of 64-bit words."""
    with np.errstate(over="ignore"):
        z = np.asarray(x, dtype=np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            z ^= z >> np.uint64(shift)
            z *= np.uint64(factor)
        z ^= z >> np.uint64(31)
        return np.asarray(z)


def unit_interval(words: np.ndarray) -> np.ndarray:
    """64-bit words as float64 in [0, 1): their upper 53 bits, which are all that a float64 holds."""
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def uniforms(seed: int, text_hash: np.ndarray, samples: int, step: int) -> np.ndarray:
    """Draws in [0, 1) from hash(seed, text, sample, step), float64, shape (n_rows * samples,), row by row."""
    keys = tie_keys(text_hash, seed)
    places = _mix(np.arange(samples, dtype=np.uint64) * np.uint64(2**32) + np.uint64(step))
    return unit_interval(_mix(keys[:, None] ^ places).ravel())


@dataclass(frozen=True)
class Picked:
    """The answer of a selector.

    Args:
        rows: unique row ids, int64, shape (n_picked,), ascending.
        scores: the score of every row of the pool, float64, shape (n_rows,), none of them NaN (but see
            `Selector.leaves_unscored`); each selector documents its own.
        diagnostics: anything worth a line in the manifest, as JSON types; row ids in it are those of `Signals.row_ids`.
        flops: of the selector's arithmetic, a multiply-add being two; sorting and comparing are none. None when
            unknown.
        flops_method: how they were counted, such as ``"2 d a distance (analytic)"``.
    """

    rows: np.ndarray
    scores: np.ndarray
    diagnostics: dict[str, Any] = field(default_factory=dict)
    flops: float | None = 0
    flops_method: str = ""


class Selector(ABC):
    """Selects rows of a pool by its signals: a pure function, with no model, no files and no ranks.

    The properties may be overridden by class attributes: ``requires = frozenset({"embedding"})``.
    """

    @property
    def requires(self) -> frozenset[str]:
        """Names of the pool's signals that `select` reads, beside those that every pool has."""
        return frozenset()

    @property
    def requires_target(self) -> frozenset[str]:
        """Names of the target's signals that `select` reads; empty when it needs no target."""
        return frozenset()

    @property
    def sets_own_size(self) -> bool:
        """Whether the selector fixes its own bounds and so takes no budget."""
        return False

    @property
    def collective(self) -> bool:
        """Whether all ranks call `select`, with their ``group``, to share its work; else rank 0 alone does."""
        return False

    @property
    def leaves_unscored(self) -> bool:
        """Whether rows dropped before scoring get the score NaN; no other score may be NaN."""
        return False

    @abstractmethod
    def select(self, pool: Signals, target: Signals | None, budget: Budget, seed: int) -> Picked:
        """Pick rows of the pool.

        On several ranks, a `collective` selector also gets ``group``, their group of `torch.distributed`.

        Args:
            pool: signals of the pool; `Picked.rows` are positions in it.
            target: signals of the target, when `requires_target` names some.
            budget: how much to keep.
            seed: of every random choice and of the order among ties.

        Raises:
            BudgetError: a budget that is missing or over the pool.
            DataError: no target where one is needed; signals that are not finite, or embeddings that are zero, too.
        """


def lowest(scores: np.ndarray, pool: Signals, budget: Budget, seed: int) -> np.ndarray:
    """The rows of the lowest scores that meet the budget, ties by key, sorted by row id.

    For a budget in rows only those that tie at the bound are put in an order. Scores may be whole numbers.
    """
    if budget.tokens is None and budget.rows is not None:
        check_budget(budget, pool["n_tokens"])
        values = scores if scores.dtype.kind in "iu" else rounded(scores)
        bound = np.partition(values, budget.rows - 1)[budget.rows - 1]
        if not np.isnan(bound):
            below, at_bound = np.flatnonzero(values < bound), np.flatnonzero(values == bound)
            by_key = smallest(pool.tie_keys(seed, at_bound), budget.rows - len(below))  # then by row id
            return np.sort(np.concatenate([below, at_bound[by_key]])).astype(np.int64)
    return first_of(ranked(scores, pool.tie_keys(seed)), budget, pool["n_tokens"])


def first_of(order: np.ndarray, budget: Budget, n_tokens: np.ndarray) -> np.ndarray:
    """The first rows of an order that meet the budget, sorted by row id.

    In tokens: rows in order up to and including the one that reaches the budget, none skipped.

    Raises:
        BudgetError: there is no budget, or it is over the pool.
    """
    sizes = n_tokens[order]
    check_budget(budget, sizes)
    filled, needed = cumulative_sizes(sizes, budget)
    return np.sort(order[: np.searchsorted(filled, needed, side="left")]).astype(np.int64)


def cumulative_sizes(n_tokens: np.ndarray, budget: Budget) -> tuple[np.ndarray, int]:
    """Sizes of the first 0, 1, ..., N rows, int64, shape (N + 1,), and the size asked for; in rows or in tokens."""
    if budget.tokens is not None:  # int64, as a large pool holds more tokens than an int32 does
        return np.concatenate([[0], np.cumsum(n_tokens, dtype=np.int64)]), budget.tokens
    return np.arange(len(n_tokens) + 1), budget.rows or 0


def check_budget(budget: Budget, n_tokens: np.ndarray, of: str = "This selector") -> None:
    """Raise a BudgetError for a budget that is missing, 0, or over a pool of rows of so many tokens.

    ``of`` is the selector or rule that needs it, for the message.
    """
    if not budget.is_set:
        message = f"{of} needs a budget; give data.keep, data.keep_rows or data.keep_tokens."
        raise BudgetError(message, option="data.keep")
    if budget.tokens is None:
        unit, asked, whole = "rows", budget.rows or 0, len(n_tokens)
    else:
        unit, asked, whole = "tokens", budget.tokens, int(np.sum(n_tokens, dtype=np.int64))
    if not 0 < asked <= whole:
        raise BudgetError(f"The budget is {asked} {unit}, but the pool has {whole}; ask for 1 to {whole}.")
