"""Random rows: what every selector must beat, at the same rows, the same tokens or the same total cost."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np

from selectune.common.errors import BudgetError, DataError, SelectionError, UserError
from selectune.costs.record import add_up
from selectune.costs.saving import SELECTION
from selectune.costs.uninterrupted import unbroken
from selectune.selectors.base import Budget, Picked, Selector, Signals, first_of, ranked
from selectune.selectors.interval_rules import check_budget

ONE_DOMAIN = "{name} tells data sets apart, but the pool is made of one; give data.dataset as a list of several."


class Random(Selector):
    """Keep rows in a random order, hash(seed, text), until the budget is met.

    The order is that of the tie keys, so permuting the pool permutes the selection, and a smaller budget keeps a
    subset. Rows with the same text have the same key: they stand together, by row id.

    With ``match``, the budget is that of another run, and none is given:

    - ``rows``: as many rows as it kept;
    - ``tokens``: as many tokens as a model reads of its rows, special ones included, since they are trained on too;
    - ``cost``: as many of them as can be trained on for what its selection and its training cost together, in FLOPs:
      its tokens times 1 + selection / training, where the same number of epochs is trained; at most the pool. The
      padding of batches is not foreseen, so the costs are the same to a few per cent.

    Args:
        match: folder of a run over the same pool, which must be finished for ``cost``; or of its selection, for
            ``rows`` and ``tokens``.
        by: what is to be the same.
        even: as many rows of each of the pool's data sets, as far as they reach, whatever their sizes.

    Raises:
        UserError: a ``by`` that is not one of these, or one without a run to match.
    """

    def __init__(
        self, match: str | None = None, by: Literal["rows", "tokens", "cost"] = "rows", even: bool = False
    ) -> None:
        if by not in ("rows", "tokens", "cost"):
            raise UserError(f"Random can match a run by 'rows', 'tokens' or 'cost', not by {by!r}.")
        if match is None and by != "rows":
            raise UserError(f"Random has no run to match by {by}; name its folder in match, or leave out by.")
        self.match, self.by, self.even = match, by, even

    @property
    def sets_own_size(self) -> bool:
        """Whether it takes its size from another run."""
        return self.match is not None

    def select(self, pool: Signals, target: Signals | None, budget: Budget, seed: int) -> Picked:
        """Keep the rows of the smallest keys; ``scores`` are the keys over 2^64, in [0, 1).

        Raises:
            BudgetError: a budget that is missing, over the pool, or given beside ``match``.
            SelectionError: the run to match is missing, unfinished, or over a pool of another size.
            DataError: ``even``, but the pool is of one data set.

        Warns:
            UserWarning: the pool is too small to cost as much as the run to match.
        """
        matched: dict[str, Any] = {}
        if self.match is not None:
            if budget.is_set:
                raise BudgetError(
                    "Random takes its budget from the run that it matches; leave out data.keep, data.keep_rows and "
                    "data.keep_tokens, or match."
                )
            budget, matched = matched_budget(Path(self.match), self.by, pool)
        tokens = pool["n_tokens"] if self.match is None else pool["input_tokens"]
        check_budget(budget, tokens, "Random")
        keys = pool.tie_keys(seed)
        scores = (keys >> np.uint64(11)).astype(np.float64) * 2.0**-53  # the 53 bits that a float64 holds
        order = ranked(turns(domains_of(pool, "Random"), keys) if self.even else np.zeros(pool.n_rows), keys)
        rows = first_of(order, budget, tokens)
        return Picked(rows, scores, matched)


def domains_of(pool: Signals, name: str) -> np.ndarray:
    """Number of each row's data set, shape (n_rows,).

    Raises:
        DataError: the pool is of one data set.
    """
    if "domain" not in pool:
        raise DataError(ONE_DOMAIN.format(name=name))
    return pool["domain"]


def turns(domains: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """How many rows of its own domain stand before each row in the order of keys, int64, shape (n_rows,)."""
    before = np.empty(len(domains), dtype=np.int64)
    for domain in np.unique(domains):
        members = np.flatnonzero(domains == domain)
        before[members[np.lexsort((members, keys[members]))]] = np.arange(len(members))
    return before


def matched_budget(folder: Path, by: Literal["rows", "tokens", "cost"], pool: Signals) -> tuple[Budget, dict[str, Any]]:
    """The budget at which rows of the pool match a run, and what to note of it; see `Random`.

    Raises:
        SelectionError: the run is missing, unfinished, or over a pool of another size.
    """
    kept_rows, kept_tokens = _kept(folder, pool.n_rows)
    noted: dict[str, Any] = {"run": str(folder), "by": by, "rows": kept_rows, "input_tokens": kept_tokens}
    if by == "rows":
        return Budget(rows=kept_rows), {"matched": noted, "budget": {"rows": kept_rows}}
    tokens = kept_tokens
    if by == "cost":
        selection, training = _flops(folder)
        noted |= {"selection_flops": selection, "training_flops": training}
        in_pool = int(pool["input_tokens"].sum())
        tokens = int(kept_tokens * (1 + selection / training) + 0.5)
        if tokens > in_pool:
            warnings.warn(
                f"Random rows that cost as much as {folder} would be {tokens} tokens, but the pool has {in_pool}; all "
                "of it is kept, and costs less.",
                UserWarning,
                stacklevel=3,
            )
            tokens = in_pool
    return Budget(tokens=tokens), {"matched": noted, "budget": {"input_tokens": tokens}}


def _kept(folder: Path, n_rows: int) -> tuple[int, int]:
    """Rows that a run kept, and their tokens with the special ones, from its manifest."""
    places = (folder / "selection" / "manifest.json", folder / "manifest.json")
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        raise SelectionError(
            f"There is no selection in {folder} to match (selection/manifest.json); name the folder of a run that "
            "selected rows."
        )
    try:
        manifest = json.loads(file.read_text())
        pool_rows, rows, tokens = manifest["pool_rows"], manifest["n_rows"], manifest["budget"]["input_tokens"]
    except (ValueError, KeyError, TypeError) as error:
        raise SelectionError(f"{file} cannot be read ({error!r}); select again.") from error
    if pool_rows != n_rows:
        raise SelectionError(
            f"The run to match in {folder} chose from {pool_rows} rows, but this pool has {n_rows}; use the same data, "
            "seed and data.max_train_rows."
        )
    return rows, tokens


def _flops(run: Path) -> tuple[float, float]:
    """FLOPs of a run's selection and of its training, as if it had not been interrupted."""
    if not (run / "saving.json").is_file():
        raise SelectionError(f"{run} is not a finished run (it has no saving.json), so its cost cannot be matched.")
    records = [record for record in unbroken(run) if record.part == "fit"]
    selection = add_up(record for record in records if record.stage in SELECTION).flops
    training = add_up(record for record in records if record.stage == "train" and not record.cached).flops
    if selection is None or not training:
        raise SelectionError(f"The FLOPs of {run} are not known (cost.jsonl); match it by rows or by tokens.")
    return selection, training
