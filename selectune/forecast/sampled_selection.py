"""The cost of a selection and the rows that it will keep, forecast from a sample of the pool."""

from __future__ import annotations

import time
import warnings
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from selectune.common.files import default_cache
from selectune.costs.record import Stage
from selectune.forecast import plans
from selectune.forecast.extrapolate import lent, looks_at_vectors, on_sample
from selectune.forecast.ledger import Tally
from selectune.forecast.measure import Probe, Scored, probe_of, rated, time_scoring
from selectune.selection.choose import Stages, labels_of
from selectune.selection.request import SelectionRequest
from selectune.selectors.band_search import Proxy, Search
from selectune.selectors.base import Budget, Picked, Selector, Signals, first_of, ranked
from selectune.selectors.checking import checked_select
from selectune.selectors.clustering import default_prototypes, kmeans, kmeans_flops, prototype_entropy
from selectune.selectors.transport.backends import POT_CELLS
from selectune.signals.definitions import Rows, ScoringModel
from selectune.signals.derived import text_signal
from selectune.signals.forward import make_scorer, networks_of
from selectune.signals.store import SignalStore

TRIED_ROWS = 4096  # of k-means
SEED = 0


@dataclass
class _Known:
    """Signals of some rows: of all of them, or of the sample alone; and which those are."""

    signals: Signals
    sample: np.ndarray | None
    target: Signals | None
    target_share: float = 1.0


@dataclass
class Selecting(Stages):
    """Forecasts a selection.

    Args:
        request: whose rows.
        scoring: the scoring model; its weights are there.
        tally: what is charged.
        device: that scores.
        notes: what a reader should know.
        proxies: rows and settings of the proxy runs that a search will make, which the caller charges.
        screened: row ids that a pre-screen of data sets leaves, where there is one.
        messages: warnings of the selectors, each once.
    """

    request: SelectionRequest
    scoring: ScoringModel
    tally: Tally
    device: torch.device
    notes: list[str] = field(default_factory=list)
    proxies: list[tuple[np.ndarray, Proxy]] = field(default_factory=list)
    screened: np.ndarray | None = None
    messages: list[str] = field(default_factory=list)
    _known: dict[int, _Known] = field(default_factory=dict)
    _charging: bool = True

    def tie_seed(self) -> int:
        """The request's."""
        return self.request.seed

    def one(self, selector: Selector, rows: Rows, budget: Budget, ids: np.ndarray) -> Picked:
        """The rows that a selector will pick, as far as a sample tells."""
        if id(selector) not in self._known:
            self._known[id(selector)] = self._look(selector, rows)
        known, rule = self._known[id(selector)], getattr(selector, "rule", None)
        if not isinstance(rule, Search):
            return self._pick(selector, known, rows, budget)
        tried = []
        for placed in rule.candidates():
            band: Any = copy(selector)
            band.rule = placed
            tried.append(self._pick(band, known, rows, budget))
        if self._charging:
            self.proxies += [(picked.rows, rule.proxy) for picked in tried]
            self.notes.append("Which band a search will keep is not known: the middle one is taken.")
        return tried[len(tried) // 2]

    def again(self, selector: Selector, rows: Rows, budget: Budget) -> Picked:
        """What would be kept at another budget; nothing is charged."""
        self._charging = False
        try:
            return self.choose(selector, rows, budget)
        finally:
            self._charging = True

    def _look(self, selector: Selector, rows: Rows) -> _Known:
        """The signals that a selector reads."""
        signals, sample = self._signals(selector, selector.requires, rows)
        if not selector.requires_target:
            return _Known(signals, sample, None)
        pool = self.request.target
        assert pool is not None
        others = Rows(pool, self.request.tokenized(pool, self.scoring.tokenizer))
        target, some = self._signals(selector, selector.requires_target, others)
        return _Known(signals, sample, target, 1.0 if some is None else len(others) / len(some))

    def _signals(self, selector: Selector, names: frozenset[str], rows: Rows) -> tuple[Signals, np.ndarray | None]:
        wanted = [self.scoring.define(name, rows.pool) for name in self.scoring.with_sources(names)]
        forward = [definition for definition in wanted if definition.kind == "forward"]
        store = SignalStore(default_cache())
        if there := sorted(each.name for each in wanted if store.folder(each).is_dir()):
            self.notes.append(
                f"Of the signals, {', '.join(there)} lie in the cache already, so the next run is spared them; they "
                "are charged here as in every saving."
            )
        labels = labels_of(rows.labels, names)
        rows = Rows(rows.pool, rows.tokens, labels)
        always = rows.always
        text = {each.name: self._text(each.name, rows) for each in wanted if each.kind == "text"}
        found = [self._forward(definitions, rows) for definitions in networks_of(forward, self.scoring)]
        if not found:
            return Signals(text | always), None
        sample = found[0].rows
        for scored in found[1:]:
            sample = np.intersect1d(sample, scored.rows)
        values = {name: v[np.isin(scored.rows, sample)] for scored in found for name, v in scored.values.items()}
        if any(definition.kind == "derived" for definition in wanted):
            values["semantic_entropy"] = self._semantic(values["embedding"], sample, rows)
        values = {name: v for name, v in values.items() if name in names}
        if looks_at_vectors(selector, values):
            return Signals(values | {name: v[sample] for name, v in (text | always).items()}), sample
        features = [np.log1p(rows.n_tokens), *(v for name, v in text.items() if v.ndim == 1)]
        return Signals(lent(np.stack(features, axis=1), sample, values, SEED) | text | always), None

    def _forward(self, definitions: list[Any], rows: Rows) -> Scored:
        scoring, names = self.scoring, [definition.name for definition in definitions]
        probe = probe_of(definitions, rows, scoring, self.device)
        if isinstance(probe, str):
            self.notes.append(probe)
        ready = probe if isinstance(probe, Probe) else None
        if ready:
            method = "probe: three forward passes a visit, AdamW"
            self.tally.charge(
                "tune_scorer", self.request.part, ready.work, ready.seconds, method, ready.exact.memory, parallel=True
            )
            self.notes.append("The entropy probe is taken to agree well enough to serve.")
        began = time.perf_counter()
        scorer = make_scorer(names, scoring, ready.probe if ready else None)
        found = time_scoring(scorer, time.perf_counter() - began, rows, scoring, self.device)
        work = plans.scoring(rows.tokens, scoring.max_batch_tokens, found.model, found.product, scorer.passes_of)
        seconds = rated(work, found.seconds, found.flops, found.tokens) + found.start_s
        self.tally.charge("score", self.request.part, work, seconds, found.method, found.memory, parallel=True)
        if ready:
            both = np.intersect1d(found.rows, ready.exact.rows)
            found.values = {name: v[np.isin(found.rows, both)] for name, v in found.values.items()}
            found.values |= {n: v[np.isin(ready.exact.rows, both)] for n, v in ready.exact.values.items()}
            found.rows = both
        return found

    def _text(self, name: str, rows: Rows) -> np.ndarray:
        began = time.perf_counter()
        values, flops, method = text_signal(name, rows, self.scoring)
        self.tally.charge(
            "solve", self.request.part, plans.Work(len(rows), flops=flops), time.perf_counter() - began, method
        )
        return values

    def _semantic(self, embeddings: np.ndarray, sample: np.ndarray, rows: Rows) -> np.ndarray:
        """Among prototypes of the sample; what those of the whole pool will cost is charged."""
        n_rows, width = len(rows), embeddings.shape[1]
        k, keys = default_prototypes(n_rows), rows.pool.text_hash[sample]
        flops = float(kmeans_flops(n_rows, width, k) + 4 * width * k * n_rows + 5 * k * n_rows)
        many = np.resize(embeddings.astype(np.float64), (min(n_rows, TRIED_ROWS), width))
        many += np.random.default_rng(SEED).normal(scale=1e-3 * many.std(), size=many.shape)  # no copies
        began = time.perf_counter()
        kmeans(many, k, SEED, iterations=2)
        seconds = (time.perf_counter() - began) * flops / kmeans_flops(len(many), width, k, iterations=2)
        method = "k-means: 2 d a distance (analytic)"
        self.tally.charge("solve", self.request.part, plans.Work(n_rows, flops=flops), seconds, method)
        return prototype_entropy(embeddings, self.scoring.settings.semantic.seed, keys).entropies

    def _pick(self, selector: Selector, known: _Known, rows: Rows, budget: Budget) -> Picked:
        def select(signals: Signals, asked: Budget) -> tuple[Picked, float]:
            began = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                picked = checked_select(selector, signals, known.target, asked, self.request.seed)
            return picked, time.perf_counter() - began

        if known.sample is None:
            picked, seconds = select(known.signals, budget)
            flops, note = picked.flops, ""
        else:
            tried = on_sample(select, known.signals, budget, len(rows))
            flops, seconds = tried.flops, tried.seconds
            note = f"; {tried.note}"
            picked = _for_all(tried.picked, known.sample, rows, budget, self.request.seed)
        flops, seconds = None if flops is None else flops * known.target_share, seconds * known.target_share
        if self._charging:
            if repeated := self._repeats(selector, known, rows):
                flops, seconds = None if flops is None else flops * repeated, seconds * repeated
            work = plans.Work(len(rows), flops=flops)
            method = "no arithmetic" if flops == 0 else picked.flops_method + note
            stage: Stage = "select" if flops == 0 else "solve"
            self.tally.charge(stage, self.request.part, work, seconds, method, parallel=selector.collective)
        return picked

    def _repeats(self, selector: Selector, known: _Known, rows: Rows) -> int:
        """How often a solve is done on several ranks that could share it: a small one by each of them."""
        if not selector.collective or known.target is None:
            return 1
        cells = len(rows) * known.target.n_rows * known.target_share
        alone = getattr(selector, "backend", "auto") in ("auto", "pot") and cells <= POT_CELLS
        return self.tally.world_size if alone else 1


def _for_all(picked: Picked, sample: np.ndarray, rows: Rows, budget: Budget, seed: int) -> Picked:
    """Rows of the whole pool that are as long as those which were picked of a sample."""
    kept = np.zeros(len(sample))
    kept[picked.rows] = 1.0
    lengths = np.log1p(rows.n_tokens)[:, None]
    score = lent(lengths, sample, {"kept": kept}, SEED)["kept"]
    keys = Signals({"text_hash": rows.pool.text_hash}).tie_keys(seed)
    asked = budget if budget.is_set else Budget(rows=max(1, round(float(score.sum()))))
    chosen = first_of(ranked(-score, keys), asked, rows.n_tokens)
    return Picked(chosen, score, picked.diagnostics, picked.flops, picked.flops_method)
