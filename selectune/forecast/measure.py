"""A few real batches of scoring, timed, and the memory that batches take."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import torch

from selectune.costs.flops import FlopModel, UnfitFlopsError
from selectune.costs.meters import finish_kernels, peak_cuda, peak_rss
from selectune.data.batches import plan_batches
from selectune.forecast import plans
from selectune.lightning_modules.scorers.language import LanguageScorer, load_language_model
from selectune.lightning_modules.scorers.probe import EntropyProbe, UnfitProbeError, fit_flops, fit_probe, fit_rows
from selectune.signals.definitions import Rows, ScoringModel
from selectune.signals.probe import refuse_masking

if TYPE_CHECKING:
    from selectune.lightning_modules.scorers.base import Scorer
    from selectune.signals.store import Definition

SECONDS = 15.0  # for each network and each training
ROWS = 1024  # that are scored, at most
CPU_TOKENS = 2048  # of a batch that is timed on a CPU, where larger ones are no faster
TRIED_POSITIONS = 4096  # that a probe is fitted on


def scaled_seconds(work: plans.Work, seconds: float, flops: float | None, tokens: int) -> float:
    """Seconds of work at the speed of a sample: by FLOPs, or by padded tokens where FLOPs are unknown.

    `seconds`, `flops` and (padded) `tokens` are those of the sample.
    """
    if flops and work.flops is not None:
        return seconds * work.flops / flops
    return seconds * work.padded_tokens / tokens if tokens else 0.0


@dataclass
class Memory:
    """Peak memory inside the context, if its batches were `scale` times larger."""

    scale: float = 1.0
    peak_rss: int = 0
    peak_cuda: int | None = None

    def __enter__(self) -> Memory:
        self._before, self._highest = psutil.Process().memory_info().rss, peak_rss()
        return self

    def __exit__(self, *error: object) -> None:
        highest = peak_rss()
        now = psutil.Process().memory_info().rss
        # A peak from before, as of loading a model, is not due to the batches.
        grown = max(0, (highest if highest > self._highest else now) - self._before)
        self.peak_rss = max(highest, int(self._before + grown * self.scale))
        self.peak_cuda = peak_cuda()


@dataclass
class Scored:
    """Rows that were scored, their signals by name, and the cost of the batches that were timed."""

    rows: np.ndarray  # row ids, ascending
    values: dict[str, np.ndarray]
    seconds: float  # of the timed batches, as are the following two
    flops: float | None  # None when unknown
    tokens: int  # padded
    model: FlopModel | None  # of a padded row; None when unknown
    product: float  # FLOPs at each token of a text
    method: str  # how the FLOPs were counted, or why not
    start_s: float  # seconds until the first batch
    memory: Memory


def time_scoring(scorer: Scorer, start_s: float, rows: Rows, scoring: ScoringModel, device: torch.device) -> Scored:
    """Score rows of a pool, of all lengths, until there are enough of them or the time is up.

    `start_s` are the seconds that it took to make the scorer.
    """
    began = time.perf_counter()
    scorer = scorer.to(device)
    model, product = None, 0.0
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
    half = torch.bfloat16 if scoring.precision == "bf16" else None
    parts: list[tuple[np.ndarray, dict[str, np.ndarray]]] = []
    seconds, flops, tokens = 0.0, 0.0, 0
    with Memory(scoring.max_batch_tokens / most) as memory:
        for place, i in enumerate([order[0], *order]):  # the first one is slow, and done twice
            batch = _scoring_batch(rows, batches[i], scoring, device)
            finish_kernels()
            began = time.perf_counter()
            with torch.inference_mode(), torch.autocast(device.type, half, enabled=half is not None):
                values = scorer.predict_step(batch, 0)
            finish_kernels()
            if place == 0:
                continue
            seconds += time.perf_counter() - began
            n_rows, length = batch["input_ids"].shape
            tokens += n_rows * length
            if model is not None:
                flops += model.of_batch(n_rows, length) * scorer.passes(batch)
                flops += int((~batch["special"]).sum()) * product
            parts.append((batches[i], values))
            if seconds > SECONDS and len(parts) >= min(3, len(batches)):
                break
    ids = np.concatenate([part for part, _ in parts])
    by_row = np.argsort(ids)
    values = {name: np.concatenate([values[name] for _, values in parts])[by_row] for name in scorer.wanted}
    known = None if model is None else flops
    return Scored(ids[by_row], values, seconds, known, tokens, model, product, method, start_s, memory)


def _scoring_batch(rows: Rows, ids: np.ndarray, scoring: ScoringModel, device: torch.device) -> dict[str, Any]:
    batch: dict[str, Any] = dict(rows.tokens.padded(ids, int(scoring.tokenizer.pad_token_id or 0)))
    if rows.labels is not None:
        batch["labels"] = torch.from_numpy(rows.labels[ids])
    batch = {name: values.to(device) for name, values in batch.items()}
    return batch | {"rows": ids, "index": 0, "text_hash": rows.pool.text_hash[ids]}


@dataclass(frozen=True)
class Probe:
    """A probe that is not fitted yet, with its cost until it is fitted and checked."""

    probe: EntropyProbe  # of random weights; it takes the time of a fitted one
    exact: Scored  # the exact entropies that it learns
    work: plans.Work
    seconds: float


def probe_of(
    definitions: list[Definition], rows: Rows, scoring: ScoringModel, device: torch.device
) -> Probe | str | None:
    """The probe of a pass; None where none is asked for, and the reason where entropies will be exact all the same.

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
    seconds = scaled_seconds(read, exact.seconds, exact.flops, exact.tokens) + exact.start_s + fit_s
    return Probe(probe, exact, read + plans.Work(flops=fitted + probe.flops() * positions[1]), seconds)
