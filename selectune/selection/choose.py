"""Run a selector: go through the stages around it (`Chain`, `DomainScreen`, `Search`), read its signals, let it select.

A selector is a pure function. What narrows the pool before it or trains models is done here, on all ranks, and charged.
"""

from __future__ import annotations

import hashlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from selectune.common.errors import CheckpointError, SelectionError, first_few
from selectune.common.memory import give_memory_back
from selectune.common.ranks import broadcast, on_all_ranks, on_rank_zero, process_group, world
from selectune.costs.record import Stage
from selectune.costs.waiting import alone
from selectune.selection.manifest import describe
from selectune.selection.matched_budget import matched_budget
from selectune.selection.request import SelectionRequest
from selectune.selection.trainings import Trainings
from selectune.selectors.band_search import Proxy, Search
from selectune.selectors.base import ALWAYS, Budget, Picked, Selector, Signals
from selectune.selectors.baselines import Random
from selectune.selectors.chain import Chain
from selectune.selectors.checking import checked_select
from selectune.selectors.domain_screen import DomainScreen
from selectune.signals.compute import compute_signals, read_notes, read_signals
from selectune.signals.definitions import Rows, ScoringModel
from selectune.signals.dynamics import TRAINED_FOR

T = TypeVar("T")
S = TypeVar("S")


@dataclass
class Stages(ABC, Generic[S]):
    """Goes through the stages of a selector, down to selectors that read signals.

    Where these signals come from and what each step costs is up to a subclass: a run computes and charges
    (`Chooser`), a forecast extrapolates and estimates.

    Args:
        request: the selection that is asked for.
        scoring: the model that scores.

    Attributes:
        rows: the whole pool.
        screened: row ids that a pre-screen of data sets left, where there was one.
        messages: warnings of the selectors, each once.
    """

    request: SelectionRequest
    scoring: ScoringModel
    rows: Rows = field(init=False)
    screened: np.ndarray | None = field(default=None, init=False)
    messages: list[str] = field(default_factory=list, init=False)

    @abstractmethod
    def signals(self, selector: Selector, pool: Signals) -> S:
        """The signals that a selector reads, of a pool that has those of every pool alone."""

    @abstractmethod
    def select(self, selector: Selector, signals: S, budget: Budget) -> Picked:
        """The rows that a selector picks by its signals."""

    @abstractmethod
    def proxy(self, row_ids: np.ndarray, settings: Proxy) -> float | None:
        """The metric on ``dev`` of a proxy run on some rows; None where it is not run."""

    def choose(self, selector: Selector, rows: Rows, budget: Budget) -> Picked:
        """The rows that a selector picks from the whole pool, at what that costs.

        Raises:
            UserError: whatever a stage refuses.
        """
        self.rows = rows
        return self._choose(selector, Signals(rows.always), budget)

    def _choose(self, selector: Selector, pool: Signals, budget: Budget) -> Picked:
        noted: dict[str, Any] = {}
        if isinstance(selector, Chain):
            return selector.link(pool, budget, self._choose)
        if isinstance(selector, DomainScreen):
            return self._screen(selector, pool)
        if isinstance(selector, Random) and selector.match is not None:
            run, by = Path(selector.match), selector.by
            budget, noted = self._warned(lambda: matched_budget(run, by, pool["input_tokens"]), on_rank_zero)
        signals, rule = self.signals(selector, pool), getattr(selector, "rule", None)
        if isinstance(rule, Search):
            return self._search(selector, rule, signals, budget, pool.row_ids)
        picked = self.select(selector, signals, budget)
        return replace(picked, diagnostics=picked.diagnostics | noted)

    def _screen(self, screen: DomainScreen, pool: Signals) -> Picked:
        """The rows of the nearest data sets, of which a sample alone is scored."""
        seed, names = self.request.seed, self.rows.pool.domain_names
        signals = self.signals(screen, pool.take(screen.sampled(pool, seed)))
        picked = screen.of_pool(self.select(screen, signals, Budget()), pool, seed)
        self.screened = pool.row_ids[picked.rows]
        distances = {names[number]: distance for number, distance in picked.diagnostics["distances"].items()}
        kept = [names[number] for number in picked.diagnostics["kept_domains"]]
        return replace(picked, diagnostics={"distances": distances, "kept": kept})

    def _search(self, selector: Selector, search: Search, signals: S, budget: Budget, row_ids: np.ndarray) -> Picked:
        """The band whose proxy run scores best on ``dev``, of equally good ones the first; the middle one without runs.

        The ``row_ids`` of the selector's rows in the whole pool are those that proxies train on.
        """
        metric, mode = self.request.training.monitor
        tried: list[Picked] = []
        bands: list[dict[str, Any]] = []
        for rule in search.candidates():
            placed: Any = copy(selector)
            placed.rule = rule
            picked = self.select(placed, signals, budget)
            value = self.proxy(row_ids[picked.rows], search.proxy)
            tried.append(picked)
            bands.append({"position": rule.position, metric: value, "rows": len(picked.rows)})
        values = [band[metric] for band in bands]
        best = len(bands) // 2 if None in values else int(np.argmax(values) if mode == "max" else np.argmin(values))
        noted = {"metric": metric, "bands": bands, "position": bands[best]["position"]}
        return replace(tried[best], diagnostics=tried[best].diagnostics | {"search": noted})

    def _warned(self, work: Callable[[], T], on_ranks: Callable[[Callable[[], Any]], Any]) -> T:
        """The result of some work on some ranks; the texts of its user warnings are kept on all of them."""

        def caught() -> tuple[T, list[str]]:
            with warnings.catch_warnings(record=True) as given:
                warnings.simplefilter("always")
                result = work()
            return result, sorted({str(one.message) for one in given if issubclass(one.category, UserWarning)})

        result, messages = on_ranks(caught)
        self.messages += [message for message in messages if message not in self.messages]
        return result


@dataclass
class Chooser(Stages[tuple[Signals, Signals | None]]):
    """Chooses rows of a pool, on all ranks alike: computes the signals that are missing, and charges the ledger.

    Args:
        trainings: what trains models and what is charged.

    Attributes:
        scalars: every scalar signal that was used, by name, float64, shape (n_pool,), NaN where it was not computed.
        notes: what was noted when signals were computed, by name.
        compared: row ids in the pool, their embeddings and those of the target, where a selector compared them.
    """

    trainings: Trainings
    scalars: dict[str, np.ndarray] = field(default_factory=dict, init=False)
    notes: dict[str, Any] = field(default_factory=dict, init=False)
    compared: tuple[np.ndarray, np.ndarray, np.ndarray] | None = field(default=None, init=False)

    def signals(self, selector: Selector, pool: Signals) -> tuple[Signals, Signals | None]:
        """The signals of a pool and of the target, computed where the cache lacks them."""
        whole = pool.n_rows == len(self.rows)
        ours = self.computed(selector.requires, self.rows if whole else self.rows.take(pool.row_ids), noted=True)
        for name, values in ours.items():
            if values.ndim == 1 and name not in ALWAYS:
                if whole:
                    self.scalars[name] = values  # the memory map itself, as pools are large
                else:
                    known = self.scalars.get(name, np.nan)
                    self.scalars[name] = np.broadcast_to(known, len(self.rows)).astype(np.float64)  # a copy to write to
                    self.scalars[name][pool.row_ids] = values
        if not selector.requires_target:
            return ours, None
        target = self.request.target
        assert target is not None
        rows = Rows(target, self.request.tokenized(target, self.scoring.tokenizer))
        theirs = self.computed(selector.requires_target, rows)
        compares = "embedding" in selector.requires & selector.requires_target
        if compares and not isinstance(selector, DomainScreen):  # which sees a sample alone
            self.compared = pool.row_ids, ours["embedding"], theirs["embedding"]
        return ours, theirs

    def computed(self, names: frozenset[str], rows: Rows, noted: bool = False) -> Signals:
        """The signals of some rows, computed where the cache lacks them, and charged; `noted` keeps their notes.

        Raises:
            UserError: a signal needs labels that there are none of, or has values that are not finite.
        """
        labels_of(rows.labels, names)
        work = self.trainings
        for name in self.scoring.with_sources(names):
            if self.scoring.kind(name) == "trained":
                work.observe(self.scoring.define(name, rows.pool), rows, self.scoring)
                give_memory_back()  # what the training has needed
        computed = compute_signals(names, rows, self.scoring, work.trainer_for, work.ledger, self.request.part)
        if noted:
            self.notes |= on_rank_zero(lambda: read_notes(computed))
        signals = read_signals(computed, rows)
        for name, values in signals.items():
            # vectors are checked by the selectors that read them
            if values.ndim > 1 or values.dtype.kind != "f" or np.isfinite(values).all():
                continue
            bad = np.flatnonzero(~np.isfinite(values))
            ids = signals.row_ids[bad]
            raise CheckpointError(
                f"{name} of {len(bad):,} of {len(values):,} rows is not finite (rows {first_few(ids, 3)}): the weights "
                f"of {self.scoring.source.described} are damaged, or {self.scoring.precision} is too coarse for them; "
                "name another scorer.checkpoint, or scorer.precision 32.",
                option="scorer.checkpoint",
                rows=ids.tolist(),
            )
        return signals

    def select(self, selector: Selector, signals: tuple[Signals, Signals | None], budget: Budget) -> Picked:
        """The rows that a selector picks, on rank 0 or on all ranks together, charged as ``select`` or ``solve``."""
        pool, target = signals
        seed, group = self.request.seed, process_group() if selector.collective else None
        # A name for this choice in the ledger, other than that of any other choice in the run.
        digest = hashlib.blake2b(repr((describe(selector), budget, seed)).encode(), digest_size=8)
        digest.update(pool["text_hash"].tobytes())
        ledger, part, work = self.trainings.ledger, self.request.part, f"choice-{digest.hexdigest()}"

        def pick() -> Picked:
            with ledger.stage("select", part, work) as cost:
                picked = checked_select(selector, pool, target, budget, seed, group)
                examples = pool.n_rows if world()[0] == 0 else 0  # where all ranks choose, they choose among the same
                if picked.flops == 0:
                    cost.add(examples=examples, method="no arithmetic")
                else:
                    cost.move_to("solve")
                    method = picked.flops_method or "not counted: the selector does not know"
                    cost.add(examples=examples, flops=picked.flops, method=method)
            return picked

        if selector.collective:
            return self._warned(pick, lambda picked: broadcast(on_all_ranks(picked)))
        return self._warned(pick, lambda picked: alone(picked, ledger, "select", part, work, _stage_of))

    def proxy(self, row_ids: np.ndarray, settings: Proxy) -> float:
        """The metric on ``dev`` of a small training on some rows, see `Trainings.proxy`."""
        return self.trainings.proxy(row_ids, settings)


def _stage_of(picked: tuple[Picked, list[str]]) -> Stage:
    """The stage that a choice is charged to."""
    return "select" if picked[0].flops == 0 else "solve"


def labels_of(labels: Sequence[int] | np.ndarray | None, names: frozenset[str]) -> np.ndarray | None:
    """Labels for signals that need them.

    Raises:
        SelectionError: there are none, or they are no classes, but a signal needs them.
    """
    if labels is None and "label_loss" in names:
        raise SelectionError("label_loss needs labels, which this task has none of; use the signal loss instead.")
    given = None if labels is None else np.asarray(labels)
    of_classes = sorted(names & TRAINED_FOR.keys())
    if of_classes and (given is None or given.dtype.kind not in "iu"):
        raise SelectionError(
            f"{of_classes[0]} needs rows with classes, which this task has none of; use another signal."
        )
    return given
