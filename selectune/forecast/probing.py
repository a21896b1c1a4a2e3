"""What an entropy probe will cost before it can score."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import torch

from selectune.forecast import plans
from selectune.forecast.measure import Scored, time_scoring
from selectune.forecast.tally import rated
from selectune.lightning_modules.language_scorer import LanguageScorer, load_language_model
from selectune.probe import EntropyProbe, UnfitProbeError, fit_flops, fit_probe, fit_rows
from selectune.scoring.definitions import Rows, ScoringModel
from selectune.scoring.probing import refuse_masking
from selectune.signals import Definition

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
