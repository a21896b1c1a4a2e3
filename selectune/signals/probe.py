"""Fit the entropy probe of a pool on rank 0, check it there, and go back to exact entropies where it does not serve."""

from __future__ import annotations

import json
import math
import warnings
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selectune.common.errors import UserError
from selectune.common.files import write_json
from selectune.common.ranks import on_rank_zero
from selectune.costs.flops import UnfitFlopsError
from selectune.costs.ledger import Ledger, StageCost
from selectune.costs.record import Part
from selectune.costs.waiting import alone
from selectune.data.batches import plan_batches
from selectune.data.tokens import TokenizedRows
from selectune.lightning_modules.scorers.language import LanguageScorer, load_language_model
from selectune.lightning_modules.scorers.probe import (
    EntropyProbe,
    UnfitProbeError,
    check_probe,
    fit_flops,
    fit_probe,
    fit_rows,
    load_probe,
    save_probe,
)
from selectune.signals.definitions import Rows, ScoringModel
from selectune.signals.store import Definition, SignalStore

SEED = 0  # not the run's, so that runs of several seeds share their signals


def find_probe(
    definitions: list[Definition], rows: Rows, scoring: ScoringModel, store: SignalStore, ledger: Ledger, part: Part
) -> tuple[EntropyProbe | None, dict[str, Any], list[dict[str, Any]]]:
    """The probe for the signals of a pass, fitted on rank 0 unless the cache has it.

    Returns:
        The probe, on every rank, or None where entropies are computed exactly; what is to be noted with the signal;
        and what the fit cost.

    Raises:
        UserError: the estimator is one that a probe cannot stand in for.
    """
    definition = next((d for d in definitions if d.arguments.get("head") == "probe"), None)
    if definition is None:
        return None, {}, []
    refuse_masking(scoring)
    file = store.folder(definition).with_name(f"probe-{definition.key}.safetensors")
    outcome = file.with_suffix(".json")

    def decide() -> dict[str, Any]:
        if not outcome.is_file():
            with ledger.stage("tune_scorer", part, work) as cost:
                notes = _fit(file, rows, scoring, torch.device(ledger.device), cost)
            write_json(outcome, {"notes": notes, "costs": [ledger.records[-1].to_json()]})
        known: dict[str, Any] = json.loads(outcome.read_text())
        if known["notes"]["head"] == "exact":
            warnings.warn(f"Entropies are computed exactly, as {known['notes']['why']}.", stacklevel=2)
        return known

    work = f"probe-{definition.key}"
    fitted = on_rank_zero(outcome.is_file)
    known = on_rank_zero(decide) if fitted else alone(decide, ledger, "tune_scorer", part, work)
    probe = load_probe(file)[0] if known["notes"]["head"] == "probe" else None
    return probe, {definition.name: known["notes"]}, known["costs"]


def refuse_masking(scoring: ScoringModel) -> None:
    """Refuse a probe for an estimator that masks.

    Raises:
        UserError: it is one.
    """
    if scoring.estimator == "masked_pseudo":
        raise UserError(
            "A probe reads the states of one pass with nothing masked, so scorer.generative.estimator masked_pseudo "
            "cannot have head: probe; choose the estimator masked, or head: exact.",
            option="scorer.generative.estimator",
        )


def _fit(file: Path, rows: Rows, scoring: ScoringModel, device: torch.device, cost: StageCost) -> dict[str, Any]:
    """Fit, check and write a probe; notes on its check, or on why it does not serve."""
    exact_flops = None
    try:
        fit, held_out = fit_rows(rows.pool.text_hash, rows.n_tokens)
    except UnfitProbeError as error:
        cost.add(method="no arithmetic")  # else the cost of the whole selection would be unknown
        return {"head": "exact", "why": str(error)}
    try:
        scorer = LanguageScorer(
            load_language_model(scoring.source, scoring.estimator), ["generative_entropy"], scoring.estimator
        ).to(device)
        entropies, states, lengths = _exact(scorer, fit, rows, scoring, cost)
        probe = fit_probe(states, entropies, math.log(scorer.network.config.vocab_size), SEED)
        cost.add(flops=fit_flops(probe.width, len(states)), method="probe: three forward passes a visit, AdamW")
        exact, states, held_lengths = _exact(scorer, held_out, rows, scoring, cost)
        predicted = torch.cat([probe(block) for block in states.split(8192)])
        cost.add(flops=probe.flops() * len(states), method="probe: a forward pass")
        check = check_probe(predicted.cpu().numpy(), exact.cpu().numpy(), held_lengths[held_lengths > 0], lengths)
        save_probe(probe, check, file)
        check.demand()
        with suppress(UnfitFlopsError):
            exact_flops, _ = scoring_flops(scorer, rows.tokens, scoring.max_batch_tokens)
    except UnfitProbeError as error:
        return {"head": "exact", "why": str(error)}
    return {"head": "probe", "layers": scoring.layers, **asdict(check), "exact_flops": exact_flops}


def scoring_flops(scorer: LanguageScorer, tokens: TokenizedRows, max_batch_tokens: int) -> tuple[float, float]:
    """FLOPs of scoring rows in batches of so many padded tokens: of all of it, and of the encoder alone.

    Raises:
        UnfitFlopsError: they are not quadratic in the length.
    """
    of_row, of_token = scorer.flops()
    batches = plan_batches(tokens.lengths, max_batch_tokens)
    encoder = sum(of_row.of_batch(len(rows), int(tokens.lengths[rows].max())) for rows in batches)
    return encoder + of_token * float(tokens.n_tokens().sum()), encoder


def _exact(
    scorer: LanguageScorer, ids: np.ndarray, rows: Rows, scoring: ScoringModel, cost: StageCost
) -> tuple[Tensor, Tensor, np.ndarray]:
    """Exact entropies (n,) and states (n, width) of all positions of some rows, in their order; positions of each."""
    tokens = rows.tokens.take(ids)
    half = torch.bfloat16 if scoring.precision == "bf16" else None
    of_rows: dict[int, tuple[Tensor, Tensor]] = {}
    try:
        flops, product = scorer.flops()
    except UnfitFlopsError as error:
        flops, product = None, 0.0
        cost.add(flops=None, method=str(error))
    for batch_rows in plan_batches(tokens.lengths, scoring.max_batch_tokens):
        batch = tokens.padded(batch_rows, int(scoring.tokenizer.pad_token_id or 0))
        batch = {name: values.to(scorer.device) for name, values in batch.items()}
        with torch.inference_mode(), torch.autocast(scorer.device.type, half, enabled=half is not None):
            entropies, states, counts = scorer.positions(batch, scoring.layers)
        of_rows |= dict(zip(batch_rows.tolist(), zip(entropies.split(counts), states.half().split(counts))))
        n_rows, length = batch["input_ids"].shape
        counted: dict[str, Any] = {}
        if flops is not None:
            content = int((~batch["special"]).sum())
            counted = {"flops": flops.of_batch(n_rows, length) + content * product, "method": flops.method}
        tokens_read = int(batch["attention_mask"].sum())
        cost.add(examples=n_rows, tokens=tokens_read, padded_tokens=n_rows * length, **counted)
    entropies_of, states_of = zip(*(of_rows[row] for row in range(len(ids))))
    return torch.cat(entropies_of), torch.cat(states_of), np.array([len(each) for each in entropies_of])
