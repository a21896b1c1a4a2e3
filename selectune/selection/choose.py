"""From a selector to rows: the signals that it asks for, the stages around it, and its choice.

A selector is a pure function. What narrows the pool before it (`Chain`) or trains models (`Search`) is done here, on
all ranks, and charged.
"""

from __future__ import annotations

import hashlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from selectune.common.errors import CheckpointError, DataError, SelectionError
from selectune.common.ranks import broadcast, on_all_ranks, on_rank_zero, process_group, world
from selectune.selection.manifest import describe
from selectune.selection.matched_budget import matched_budget
from selectune.selection.trainings import Trainings
from selectune.selectors.band_search import Search
from selectune.selectors.base import ALWAYS, Budget, Picked, Selector, Signals
from selectune.selectors.baselines import ONE_DOMAIN, Random
from selectune.selectors.chain import Chain
from selectune.selectors.checking import checked_select
from selectune.selectors.domain_screen import DomainScreen
from selectune.signals.compute import compute_signals, read_notes, read_signals
from selectune.signals.definitions import Rows, ScoringModel

T = TypeVar("T")


class Stages(ABC):
    """Goes through the stages of a selector, down to those that are one selector on some rows.

    Args:
        screened: row ids that a pre-screen of data sets left, where there was one.
        messages: warnings of the selectors, each once.
    """

    screened: np.ndarray | None
    messages: list[str]

    @abstractmethod
    def tie_seed(self) -> int:
        """Of the order among equal scores."""

    @abstractmethod
    def one(self, selector: Selector, rows: Rows, budget: Budget, ids: np.ndarray) -> Picked:
        """The rows that a selector without stages picks."""

    def choose(self, selector: Selector, rows: Rows, budget: Budget, ids: np.ndarray | None = None) -> Picked:
        """The rows that a selector picks, and what that takes charged.

        Args:
            selector: any.
            rows: to choose from.
            budget: how much to keep.
            ids: what these rows are called in the whole pool; default they are it.

        Raises:
            UserError: whatever a stage refuses.
        """
        ids = np.arange(len(rows)) if ids is None else ids
        if isinstance(selector, Chain):
            first = self.choose(selector.prefilter, rows, selector.prefilter_budget(len(rows)), ids)
            left = rows.take(first.rows)
            selector.check_budget(budget, left.n_tokens)
            second = self.choose(selector.selector, left, budget, ids[first.rows])
            return selector.join(first, second, len(rows))
        if isinstance(selector, DomainScreen):
            return self._screen(selector, rows, ids)
        if isinstance(selector, Random) and selector.match is not None:
            return self._matched(selector, selector.match, rows, ids)
        return self.one(selector, rows, budget, ids)

    def _matched(self, selector: Random, run: str, rows: Rows, ids: np.ndarray) -> Picked:
        """Random rows at the budget of another run, which rank 0 reads."""

        def match() -> tuple[tuple[Budget, dict[str, Any]], list[str]]:
            return with_messages(lambda: matched_budget(Path(run), selector.by, rows.tokens.lengths))

        (budget, noted), messages = on_rank_zero(match)
        self.messages += [message for message in messages if message not in self.messages]
        picked = self.one(selector, rows, budget, ids)
        return replace(picked, diagnostics=picked.diagnostics | noted)

    def _screen(self, screen: DomainScreen, rows: Rows, ids: np.ndarray) -> Picked:
        """The rows of the nearest data sets, of which a sample alone is scored."""
        keys = Signals({"text_hash": rows.pool.text_hash}).tie_keys(self.tie_seed())
        domains = rows.pool.domains
        if domains is None:
            raise DataError(ONE_DOMAIN.format(name="DomainScreen"))
        some = screen.sampled(domains, keys)
        picked = self.one(screen, rows.take(some), Budget(), ids[some])
        kept, names = screen.of_pool(picked, domains, keys), rows.pool.domain_names
        self.screened = ids[kept.rows]
        told = picked.diagnostics
        named = {names[number]: distance for number, distance in told["distances"].items()}
        return replace(kept, diagnostics={"distances": named, "kept": [names[n] for n in told["kept_domains"]]})


@dataclass
class Chooser(Stages):
    """Chooses rows of a pool, on all ranks alike.

    Args:
        scoring: the model that scores.
        trainings: what trains models and what is charged.
        scalars: every scalar signal that was used, by name, float64, shape (n_pool,), NaN where it was not computed.
        notes: what was noted when signals were computed, by name.
        messages: warnings of the selectors.
        screened: row ids that a pre-screen of data sets left, where there was one.
        compared: row ids in the pool, their embeddings and those of the target, where a selector compared them.
    """

    scoring: ScoringModel
    trainings: Trainings
    scalars: dict[str, np.ndarray] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    screened: np.ndarray | None = None
    compared: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    def tie_seed(self) -> int:
        """The request's."""
        return self.trainings.request.seed

    def one(self, selector: Selector, rows: Rows, budget: Budget, ids: np.ndarray) -> Picked:
        """The rows that a selector picks by its signals, or the best of those that it tries."""
        pool, target = self._signals(selector.requires, rows, ids), self._target(selector)
        compares = "embedding" in selector.requires & selector.requires_target
        if target is not None and compares and not isinstance(selector, DomainScreen):  # which sees a sample alone
            self.compared = ids, pool["embedding"], target["embedding"]
        rule = getattr(selector, "rule", None)
        if isinstance(rule, Search):
            return self._search(selector, rule, pool, target, budget)
        return self._pick(selector, pool, target, budget)

    def _signals(self, names: frozenset[str], rows: Rows, ids: np.ndarray) -> Signals:
        work = self.trainings
        computed = compute_signals(names, rows, self.scoring, work.trainer_for, work.ledger, work.part)
        self.notes |= on_rank_zero(lambda: read_notes(computed))
        signals = read_signals(computed, rows)
        n_pool = len(self.trainings.request.pool)
        check_finite(signals, self.scoring)
        for name, values in signals.items():
            if values.ndim == 1 and name not in ALWAYS:
                if len(rows) == n_pool:
                    self.scalars[name] = values  # the memory map itself, as pools are large
                else:
                    known = self.scalars.get(name, np.nan)
                    self.scalars[name] = np.broadcast_to(known, n_pool).astype(np.float64)  # a copy to write into
                    self.scalars[name][ids] = values
        return signals

    def _target(self, selector: Selector) -> Signals | None:
        work, target = self.trainings, self.trainings.request.target
        if not selector.requires_target:
            return None
        assert target is not None
        rows = Rows(target, work.request.tokenized(target, self.scoring.tokenizer))
        names = selector.requires_target
        computed = compute_signals(names, rows, self.scoring, work.trainer_for, work.ledger, work.part)
        signals = read_signals(computed, rows)
        check_finite(signals, self.scoring)
        return signals

    def _pick(self, selector: Selector, pool: Signals, target: Signals | None, budget: Budget) -> Picked:
        work = self.trainings

        name = _name_of_work(selector, pool, budget, work.request.seed)
        group = process_group() if selector.collective else None

        def pick() -> Picked:
            with work.ledger.stage("select", work.part, name) as cost:
                picked = checked_select(selector, pool, target, budget, work.request.seed, group)
                examples = pool.n_rows if world()[0] == 0 else 0  # where all ranks choose, they choose among the same
                if picked.flops == 0:
                    cost.add(examples=examples, method="no arithmetic")
                else:
                    cost.move_to("solve")
                    method = picked.flops_method or "not counted: the selector does not know"
                    cost.add(examples=examples, flops=picked.flops, method=method)
            return picked

        def heard() -> tuple[Picked, list[str]]:
            return with_messages(pick)

        picked, messages = broadcast(on_all_ranks(heard)) if selector.collective else on_rank_zero(heard)
        self.messages += [message for message in messages if message not in self.messages]
        return picked

    def _search(
        self, selector: Selector, search: Search, pool: Signals, target: Signals | None, budget: Budget
    ) -> Picked:
        """The band whose proxy run scores best on ``dev``; of equally good ones the first."""
        tried: list[tuple[float, Picked, dict[str, Any]]] = []
        metric, mode = self.trainings.request.training.monitor
        for rule in search.candidates():
            placed: Any = copy(selector)
            placed.rule = rule
            picked = self._pick(placed, pool, target, budget)
            value = self.trainings.proxy(picked.rows, search.proxy)
            tried.append((value, picked, {"position": rule.position, metric: value, "rows": len(picked.rows)}))
        values = [value if mode == "max" else -value for value, _, _ in tried]
        best = int(np.argmax(values))
        found = {"metric": metric, "bands": [told for _, _, told in tried], "position": tried[best][2]["position"]}
        picked = tried[best][1]
        return replace(picked, diagnostics=picked.diagnostics | {"search": found})


def check_finite(signals: Signals, scoring: ScoringModel) -> None:
    """Refuse signals of one number a row that are not finite; those of vectors are checked by who reads them.

    Raises:
        CheckpointError: some are not, which names the scoring model.
    """
    for name, values in signals.items():
        bad = np.flatnonzero(~np.isfinite(values)) if values.ndim == 1 and values.dtype.kind == "f" else ()
        if len(bad):
            rows = ", ".join(map(str, bad[:3])) + (", ..." if len(bad) > 3 else "")
            raise CheckpointError(
                f"{name} of {len(bad):,} of {len(values):,} rows is not finite (rows {rows}): the weights of "
                f"{scoring.source.described} are damaged, or {scoring.precision} is too coarse for them; name another "
                "scorer.checkpoint, or scorer.precision 32."
            )


def with_messages(work: Callable[[], T]) -> tuple[T, list[str]]:
    """The result of some work, and the texts of its user warnings, sorted, each once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = work()
    return result, sorted({str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)})


def labels_of(labels: Sequence[int] | np.ndarray | None, names: frozenset[str]) -> np.ndarray | None:
    """Labels for signals that need them.

    Raises:
        SelectionError: there are none, but a signal needs them.
    """
    if labels is None and "label_loss" in names:
        raise SelectionError("label_loss needs labels, which this task has none of; use the signal loss instead.")
    return None if labels is None else np.asarray(labels)


def _name_of_work(selector: Selector, pool: Signals, budget: Budget, seed: int) -> str:
    """A name for a choice in the ledger, other than that of any other choice in the run."""
    digest = hashlib.blake2b(repr((describe(selector), budget, seed)).encode(), digest_size=8)
    digest.update(pool["text_hash"].tobytes())
    return f"choice-{digest.hexdigest()}"
