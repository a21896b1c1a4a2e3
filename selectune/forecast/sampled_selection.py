"""The cost of a selection and the rows that it will keep, forecast from a sample of the pool."""

from __future__ import annotations

import functools
import time
import warnings
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from selectune.common.files import default_cache
from selectune.costs.record import Total
from selectune.forecast.extrapolate import extrapolated, on_sample
from selectune.forecast.ledger import EstimatedCosts
from selectune.forecast.measure import Effort, Scored, time_probe, time_scoring, usual
from selectune.lightning_modules.scorers.probe import UnfitProbeError
from selectune.selection.choose import Stages, labels_of
from selectune.selectors.band_search import Proxy
from selectune.selectors.base import Budget, Picked, Selector, Signals, first_of, tie_keys, unit_interval
from selectune.selectors.checking import checked_select
from selectune.selectors.clustering import default_prototypes, kmeans, kmeans_flops
from selectune.selectors.ordering import ranked
from selectune.selectors.transport.backends import POT_CELLS
from selectune.signals.definitions import Rows
from selectune.signals.derived import derived_signal, semantic_entropy, text_signal
from selectune.signals.dynamics import TRAINED_FOR
from selectune.signals.forward import make_scorer, networks_of
from selectune.signals.probe import refuse_masking
from selectune.signals.store import Definition, SignalStore

TRIED_ROWS = 4096  # of k-means
SEED = 0
NO_DYNAMICS = "Which rows a training will tell apart is not known: random ones are taken."
NO_PROXY = "Which band a search will keep is not known: the middle one is taken."


@dataclass
class _Known:
    """Signals that a selector reads, of all rows of a pool or of a sample alone.

    Args:
        pool: the signals that every pool has, of all rows.
        signals: of the sample, or of all rows where there is none.
        sample: positions in the pool.
        target: signals of a sample of the target.
        target_share: rows of the target over those of its sample.
    """

    pool: Signals
    signals: Signals
    sample: np.ndarray | None
    target: Signals | None
    target_share: float = 1.0


@dataclass
class Selecting(Stages[_Known]):
    """Forecasts a selection from signals of a sample, as far as that tells, and charges what it will cost.

    Args:
        estimated: what is charged.
        notes: what a reader should know.
        proxies: row ids and settings of the proxy runs that a search will make, which the caller charges.
        observed: names and rows of the trainings whose course is a signal, which the caller charges.
        effort: the batches that are run.
    """

    estimated: EstimatedCosts
    notes: list[str] = field(default_factory=list)
    proxies: list[tuple[np.ndarray, Proxy]] = field(default_factory=list)
    observed: list[tuple[str, Rows]] = field(default_factory=list)
    effort: Effort = field(default_factory=usual)
    _known: dict[int, _Known] = field(default_factory=dict)

    def again(self, selector: Selector, budget: Budget) -> Picked:
        """Rows that would be kept at another budget; nothing is charged."""
        other = copy(self)
        other.estimated, other.notes = EstimatedCosts("cpu", 1), []  # which are thrown away, as are these:
        other.proxies, other.observed = [], []
        return other.choose(selector, self.rows, budget)

    def signals(self, selector: Selector, pool: Signals) -> _Known:
        """The signals of a sample of a pool and of the target, scored once for each selector."""
        # `again` walks the same selectors at other budgets of the last one, whose rows to choose from stay the same.
        if id(selector) not in self._known:
            rows = self.rows if pool.n_rows == len(self.rows) else self.rows.take(pool.row_ids)
            signals, sample = self._sampled(selector.requires, rows)
            target, share = None, 1.0
            if selector.requires_target:
                assert self.request.target is not None
                tokens = self.request.tokenized(self.request.target, self.scoring.tokenizer)
                others = Rows(self.request.target, tokens)
                target, some = self._sampled(selector.requires_target, others)
                share = 1.0 if some is None else len(others) / len(some)
            self._known[id(selector)] = _Known(pool, signals, sample, target, share)
        return self._known[id(selector)]

    def proxy(self, row_ids: np.ndarray, settings: Proxy) -> None:
        """Note a proxy run for the caller; which band it speaks for is not known."""
        self.proxies.append((row_ids, settings))
        self.notes.append(NO_PROXY)

    def select(self, selector: Selector, signals: _Known, budget: Budget) -> Picked:
        """The rows that a selector will pick; its time and FLOPs are charged for the whole pool and target."""
        known, pool, seed = signals, signals.pool, self.request.seed

        def timed(given: Signals, asked: Budget) -> tuple[Picked, float]:
            began = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                picked = checked_select(selector, given, known.target, asked, seed)
            return picked, time.perf_counter() - began

        if known.sample is None:
            picked, seconds = timed(known.signals, budget)
        else:
            picked, seconds = on_sample(timed, known.signals, budget, pool.n_rows)
            # rows of the pool that are as long as those which were picked of the sample
            kept = np.zeros(len(known.sample))
            kept[picked.rows] = 1.0
            score = extrapolated(np.log1p(pool["n_tokens"])[:, None], known.sample, {"kept": kept}, SEED)["kept"]
            asked = budget if budget.is_set else Budget(rows=max(1, round(float(score.sum()))))
            rows = first_of(ranked(-score, pool.tie_keys(seed)), asked, pool["n_tokens"])
            picked = replace(picked, rows=rows, scores=score)
        times = known.target_share
        if selector.collective and known.target is not None and getattr(selector, "backend", "auto") in ("auto", "pot"):
            # A solve that is too small to share is done by every rank.
            cells = pool.n_rows * known.target.n_rows * known.target_share
            times *= self.estimated.world_size if cells <= POT_CELLS else 1
        flops = None if picked.flops is None else picked.flops * times
        cost = Total(device_s=seconds * times, flops=flops, examples=pool.n_rows)
        self.estimated.charge("select" if flops == 0 else "solve", self.request.part, cost, selector.collective)
        return picked

    def _sampled(self, names: frozenset[str], rows: Rows) -> tuple[Signals, np.ndarray | None]:
        """Signals of a sample and its positions; of all rows, and None, where rows are not compared by vectors."""
        scoring = self.scoring
        wanted = [scoring.define(name, rows.pool) for name in scoring.with_sources(names)]
        store = SignalStore(default_cache())
        if cached := sorted(each.name for each in wanted if store.folder(each).is_dir()):
            self.notes.append(
                f"Of the signals, {', '.join(cached)} lie in the cache already, so the next run is spared them; they "
                "are charged here as in every saving."
            )
        rows = replace(rows, labels=labels_of(rows.labels, names))
        text: dict[str, np.ndarray] = {}
        for name in (each.name for each in wanted if each.kind == "text"):
            began = time.perf_counter()
            text[name], flops, _ = text_signal(name, rows, scoring)
            cost = Total(device_s=time.perf_counter() - began, flops=flops, examples=len(rows))
            self.estimated.charge("solve", self.request.part, cost)
        text |= self._observed(wanted, rows)
        of_all = Signals(text | rows.always, rows.row_ids)
        passes = networks_of([definition for definition in wanted if definition.kind == "forward"], scoring)
        scored = [one for definitions in passes for one in self._forward(definitions, rows)]
        if not scored:
            return of_all, None
        sample = functools.reduce(np.intersect1d, [one.rows for one in scored])
        values = {name: v[np.isin(one.rows, sample)] for one in scored for name, v in one.values.items()}
        derived = {definition.name for definition in wanted if definition.kind == "derived"}
        if "semantic_entropy" in derived:
            values["semantic_entropy"] = self._semantic(values["embedding"], sample, rows)
        if "class_probabilities" in derived:
            began = time.perf_counter()
            name, times = "class_probabilities", len(rows) / len(sample)
            values[name], spent, _ = derived_signal(name, values["embedding"], rows.take(sample), scoring)
            cost = Total(device_s=(time.perf_counter() - began) * times, flops=spent * times, examples=len(rows))
            self.estimated.charge("solve", self.request.part, cost)
        values = {name: v for name, v in values.items() if name in names}
        if any(v.ndim > 1 for v in values.values()):  # copies of a row would interfere with each other
            some = of_all.take(sample)
            return Signals(values | dict(some), some.row_ids), sample
        features = [np.log1p(rows.n_tokens), *(v for v in text.values() if v.ndim == 1)]
        whole = extrapolated(np.stack(features, axis=1), sample, values, SEED)
        return Signals(whole | dict(of_all), rows.row_ids), None

    def _observed(self, wanted: list[Definition], rows: Rows) -> dict[str, np.ndarray]:
        """Random numbers for signals of a training; the trainings are noted for the caller."""
        self.observed += [(each.name, rows) for each in wanted if each.kind == "trained"]
        names = [each.name for each in wanted if each.name in TRAINED_FOR]
        if names:
            self.notes.append(NO_DYNAMICS)
        return {name: unit_interval(tie_keys(rows.pool.text_hash, self.request.seed)) for name in names}

    def _forward(self, definitions: list[Any], rows: Rows) -> list[Scored]:
        """The signals of a pass, and after them the exact entropies that a probe of it learns."""
        scoring, part, device = self.scoring, self.request.part, torch.device(self.estimated.device)
        probe, exact = None, []
        if any(definition.arguments.get("head") == "probe" for definition in definitions):
            refuse_masking(scoring)
            try:
                probe, learned, cost = time_probe(rows, scoring, device, self.effort)
                self.estimated.charge("tune_scorer", part, cost, parallel=True)
                self.notes.append("The entropy probe is taken to agree well enough to serve.")
                exact = [learned]
            except UnfitProbeError as error:
                self.notes.append(f"Entropies will be computed exactly, as {error}.")
        began = time.perf_counter()
        scorer = make_scorer([definition.name for definition in definitions], scoring, probe)
        scored = time_scoring(scorer, began, rows, scoring, device, self.effort)
        self.estimated.charge("score", part, scored.cost_of(rows.tokens), parallel=True)
        return [scored, *exact]

    def _semantic(self, embeddings: np.ndarray, sample: np.ndarray, rows: Rows) -> np.ndarray:
        """Among prototypes of the sample; what those of the whole pool will cost is charged."""
        n_rows, width = len(rows), embeddings.shape[1]
        entropies = semantic_entropy(embeddings, rows.take(sample), self.scoring).entropies
        k = default_prototypes(n_rows)
        flops = float(kmeans_flops(n_rows, width, k) + 4 * width * k * n_rows + 5 * k * n_rows)
        many = np.resize(embeddings.astype(np.float64), (min(n_rows, TRIED_ROWS), width))
        many += np.random.default_rng(SEED).normal(scale=1e-3 * many.std(), size=many.shape)  # no copies
        began = time.perf_counter()
        kmeans(many, k, SEED, iterations=2)
        seconds = (time.perf_counter() - began) * flops / kmeans_flops(len(many), width, k, iterations=2)
        cost = Total(device_s=seconds, flops=flops, examples=n_rows)
        self.estimated.charge("solve", self.request.part, cost)
        return entropies
