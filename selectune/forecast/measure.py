"""A few real batches of scoring, timed, and the memory that batches take."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import torch

from selectune.costs.flops import FlopModel, UnfitFlopsError
from selectune.costs.meters import finish_kernels, peak_cuda, peak_rss
from selectune.data.batches import plan_batches
from selectune.forecast.plans import Work
from selectune.signals.definitions import Rows, ScoringModel

if TYPE_CHECKING:
    from selectune.lightning_modules.scorers.base import Scorer
import math

from selectune.forecast import plans
from selectune.lightning_modules.scorers.language import LanguageScorer, load_language_model
from selectune.lightning_modules.scorers.probe import EntropyProbe, UnfitProbeError, fit_flops, fit_probe, fit_rows
from selectune.signals.probe import refuse_masking
from selectune.signals.store import Definition

SECONDS = 15.0  # for each network and each training
ROWS = 1024  # that are scored, at most
CPU_TOKENS = 2048  # of a batch that is timed on a CPU, where larger ones are no faster


@dataclass
class Memory:
    """Peak memory of what is done inside, as if its batches were so many times larger.

    Args:
        scale: batches that will come over those that are timed.
    """

    scale: float = 1.0
    peak_rss: int = 0
    peak_cuda: int | None = None

    def __enter__(self) -> Memory:
        self._before, self._highest = psutil.Process().memory_info().rss, peak_rss()
        return self

    def __exit__(self, *error: object) -> None:
        highest = peak_rss()
        now = psutil.Process().memory_info().rss
        # a peak of before, as of loading a model, is none of the batches
        grown = max(0, (highest if highest > self._highest else now) - self._before)
        self.peak_rss = max(highest, int(self._before + grown * self.scale))
        self.peak_cuda = peak_cuda()


@dataclass
class Scored:
    """What was measured of scoring.

    Args:
        rows: row ids that were scored, ascending.
        values: their signals by name.
        seconds: of the batches that were timed.
        flops: of these; None when unknown.
        tokens: padded, of these.
        model: FLOPs of a padded row, None when unknown.
        product: FLOPs at each token of a text.
        method: how they were counted, or why not.
        start_s: seconds until the first batch.
        memory: that it took.
    """

    rows: np.ndarray
    values: dict[str, np.ndarray]
    seconds: float
    flops: float | None
    tokens: int
    model: FlopModel | None
    product: float
    method: str
    start_s: float
    memory: Memory


def time_scoring(scorer: Scorer, start_s: float, rows: Rows, scoring: ScoringModel, device: torch.device) -> Scored:
    """Score rows of all lengths, until there are enough of them or the time is up.

    Args:
        scorer: of one network.
        start_s: seconds that it took to make it.
        rows: the whole pool.
        scoring: precision and token budget.
        device: to score on.
    """
    began = time.perf_counter()
    scorer = scorer.to(device)
    model, product, method = None, 0.0, ""
    try:
        model, product = scorer.flops()
        method = model.method
    except UnfitFlopsError as error:
        method = str(error)
    start_s += time.perf_counter() - began

    lengths = rows.tokens.lengths
    sample = np.argsort(-lengths, kind="stable")[np.linspace(0, len(lengths) - 1, min(ROWS, len(lengths))).astype(int)]
    most = scoring.max_batch_tokens if device.type == "cuda" else min(CPU_TOKENS, scoring.max_batch_tokens)
    batches = [sample[part] for part in plan_batches(lengths[sample], most)]
    order = np.random.default_rng(0).permutation(len(batches))  # so that those that are timed have all lengths
    parts: list[tuple[np.ndarray, dict[str, np.ndarray]]] = []
    seconds, flops, tokens = 0.0, 0.0, 0
    half = torch.bfloat16 if scoring.precision == "bf16" else None
    with Memory(scoring.max_batch_tokens / most) as memory:
        for i in [order[0], *order]:  # the first one is slow, and done twice
            batch = _scoring_batch(rows, batches[i], scoring, device)
            finish_kernels()
            began = time.perf_counter()
            with torch.inference_mode(), torch.autocast(device.type, half, enabled=half is not None):
                found = scorer.predict_step(batch, 0)
            finish_kernels()
            if not parts:
                parts.append((batches[i], found))
                continue
            seconds += time.perf_counter() - began
            n_rows, length = batch["input_ids"].shape
            tokens += n_rows * length
            if model is not None:
                flops += model.of_batch(n_rows, length) * scorer.passes(batch)
                flops += int((~batch["special"]).sum()) * product
            if len(parts) > 1 or i != order[0]:
                parts.append((batches[i], found))
            if seconds > SECONDS and len(parts) >= min(3, len(batches)):
                break
    ids = np.concatenate([part for part, _ in parts])
    by_row = np.argsort(ids)
    values = {name: np.concatenate([found[name] for _, found in parts])[by_row] for name in scorer.wanted}
    known = flops if model is not None else None
    return Scored(ids[by_row], values, seconds, known, tokens, model, product, method, start_s, memory)


def _scoring_batch(rows: Rows, ids: np.ndarray, scoring: ScoringModel, device: torch.device) -> dict[str, Any]:
    batch: dict[str, Any] = dict(rows.tokens.padded(ids, int(scoring.tokenizer.pad_token_id or 0)))
    if rows.labels is not None:
        batch["labels"] = torch.from_numpy(rows.labels[ids])
    batch = {name: values.to(device) for name, values in batch.items()}
    return batch | {"rows": ids, "index": 0, "text_hash": rows.pool.text_hash[ids]}


TRIED_POSITIONS = 4096


@dataclass(frozen=True)
class Probe:
    """A probe that is not fitted yet.

    Args:
        probe: of random weights; it takes the time of a fitted one.
        exact: what was measured of the exact entropies that it learns.
        work: until it is fitted and checked.
        seconds: the same.
    """

    probe: EntropyProbe
    exact: Scored
    work: plans.Work
    seconds: float


def probe_of(
    definitions: list[Definition], rows: Rows, scoring: ScoringModel, device: torch.device
) -> Probe | str | None:
    """The probe of a pass; None where none is asked for, and why where entropies will be exact all the same.

    Raises:
        UserError: the estimator is one that a probe cannot stand in for.
    """
    if not any(definition.arguments.get("head") == "probe" for definition in definitions):
        return None
    refuse_masking(scoring)
    began = time.perf_counter()
    try:
        fit, held_out = fit_rows(rows.pool.text_hash, rows.n_tokens)
    except UnfitProbeError as error:
        return f"Entropies will be computed exactly, as {error}."
    network = load_language_model(scoring.source, scoring.estimator)
    scorer = LanguageScorer(network, ["generative_entropy"], scoring.estimator)
    exact = time_scoring(scorer, time.perf_counter() - began, rows, scoring, device)
    read = plans.Work()
    for ids in (fit, held_out):
        some = rows.tokens.take(ids)
        read += plans.scoring(some, scoring.max_batch_tokens, exact.model, exact.product, scorer.passes_of)
    width = int(network.config.hidden_size) * len(scoring.layers)
    probe = EntropyProbe(width, math.log(network.config.vocab_size)).requires_grad_(False)
    positions = [int(rows.n_tokens[ids].sum()) for ids in (fit, held_out)]
    fitted = float(fit_flops(width, positions[0]))

    states = torch.from_numpy(np.random.default_rng(0).normal(size=(TRIED_POSITIONS, width))).float().to(device)
    began = time.perf_counter()
    fit_probe(states, states[:, 0].abs(), 1.0, 0, epochs=1)
    fit_s = (time.perf_counter() - began) * fitted / fit_flops(width, TRIED_POSITIONS, 1)
    seconds = rated(read, exact.seconds, exact.flops, exact.tokens) + exact.start_s + fit_s
    return Probe(probe, exact, read + plans.Work(flops=fitted + probe.flops() * positions[1]), seconds)


def rated(work: Work, seconds: float, flops: float | None, tokens: int) -> float:
    """Seconds of work at the speed of a sample: by FLOPs, or by padded tokens where FLOPs are unknown.

    Args:
        work: that is to come.
        seconds: of the sample.
        flops: of the sample.
        tokens: padded, of the sample.
    """
    if flops and work.flops is not None:
        return seconds * work.flops / flops
    return seconds * work.padded_tokens / tokens if tokens else 0.0
