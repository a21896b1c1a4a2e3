"""Choice between exact entropies and a probe of them, by the FLOPs of exact scoring and of the training asked for."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from selectune.common.ranks import on_rank_zero
from selectune.common.run_files import SelectionFiles
from selectune.costs.flops import UnfitFlopsError, made_up_row, model_flops
from selectune.costs.ledger import Ledger
from selectune.data.sources import ModelSource
from selectune.data.tokens import TokenizedRows
from selectune.lightning_modules.heads.base import body_class, load_network
from selectune.lightning_modules.scorers.language import LanguageScorer, load_language_model
from selectune.lightning_modules.scorers.probe import EntropyProbe, UnfitProbeError, fit_flops, fit_rows
from selectune.selection.request import SelectionRequest
from selectune.signals.definitions import ScoringModel
from selectune.signals.probe import scoring_flops

CHEAP = 0.1  # of the training, up to which exact scoring is taken


@dataclass(frozen=True)
class EntropyHead:
    """The head that was chosen where ``scorer.generative.head`` is ``auto``.

    Args:
        taken: ``exact`` or ``probe``.
        why: the reason, as the end of a sentence.
        layers: that the probe reads; None where there is no probe, or where it reads those that it reads by default.
        exact_flops: of exact scoring of the whole pool; None where they were not needed for the choice, or not known.
        training_flops: of the training that was asked for, without its head and its optimizer; None likewise.
    """

    taken: str
    why: str
    layers: list[int] | None = None
    exact_flops: float | None = None
    training_flops: float | None = None


def choose_head(
    request: SelectionRequest,
    model: ModelSource,
    scoring: ScoringModel,
    names: Iterable[str],
    ledger: Ledger,
    earlier: EntropyHead | None = None,
) -> None:
    """Put a head in place of ``auto`` in the settings of a scoring model; one that was named stays. All ranks call it.

    Exact entropies are taken where scoring the pool by them costs at most a tenth of the training, where a probe with
    its fit would cost no less, and where something else needs the vocabulary product. Otherwise a probe is taken; where
    the encoder alone costs over a tenth too, and nothing reads its last states, one of early layers alone.

    Args:
        request: pool, budget and length of the training.
        model: that is trained.
        scoring: that scores.
        names: of the signals that are computed.
        ledger: is charged with the time that counting FLOPs takes, as a part of scoring.
        earlier: the choice of a selection that may be this one; it is taken again, so that a longer training does not
            ask for other rows.
    """
    asked, wanted = scoring.settings.generative, set(names)
    if asked.head != "auto":
        return
    chosen = None
    if "generative_entropy" in wanted:
        chosen = earlier or _chosen(request, model, scoring, wanted, ledger)
    taken = replace(
        asked,
        head="probe" if chosen and chosen.taken == "probe" else "exact",
        layers=asked.layers if chosen is None or chosen.layers is None else chosen.layers,
    )
    scoring.settings = replace(scoring.settings, generative=taken)
    scoring.entropy_head = None if chosen is None else asdict(chosen)


def earlier_choice(folder: Path | None) -> EntropyHead | None:
    """The choice that the selection in a folder was made by; None where there is none."""

    def read() -> EntropyHead | None:
        if folder is None:
            return None
        with suppress(OSError, ValueError, KeyError, TypeError):  # whoever reads the selection refuses a damaged one
            known = json.loads(SelectionFiles(folder).manifest.read_text())["entropy_head"]
            return None if known is None else EntropyHead(**known)
        return None

    return on_rank_zero(read)


def _chosen(
    request: SelectionRequest, model: ModelSource, scoring: ScoringModel, wanted: set[str], ledger: Ledger
) -> EntropyHead:
    if "loss" in wanted:
        return EntropyHead("exact", "the signal loss needs them too")
    if scoring.estimator == "masked_pseudo":
        return EntropyHead("exact", "a probe cannot stand in for masked_pseudo")
    tokens = request.tokenized(request.pool, scoring.tokenizer)  # on all ranks, as rank 0 fills the cache
    content = tokens.n_tokens()
    try:
        examples = fit_rows(request.pool.text_hash, content)
    except UnfitProbeError:
        return EntropyHead("exact", f"a pool of {int(content.sum()):,} positions is too small for a probe to pay")
    budget = request.budget.of(len(tokens), int(content.sum()))
    share = 1.0  # of the pool, where the selector sets its own size
    if budget.rows is not None:
        share = budget.rows / len(tokens)
    elif budget.tokens is not None:
        share = budget.tokens / int(content.sum())
    visits = request.length.visits(share * len(tokens))
    if visits is None:
        return EntropyHead("exact", "the training has no end that is known")

    def counted() -> EntropyHead:
        with ledger.stage("score", request.part, "entropy head") as cost:
            cost.add(method="no arithmetic")
            return _by_cost(model, scoring, wanted, tokens, visits, examples)

    return on_rank_zero(counted)


def _by_cost(
    model: ModelSource,
    scoring: ScoringModel,
    wanted: set[str],
    tokens: TokenizedRows,
    visits: float,
    examples: tuple[np.ndarray, np.ndarray],
) -> EntropyHead:
    """The choice by FLOPs, where so many rows are visited in the training and a probe learns from such examples."""
    try:
        scorer = LanguageScorer(
            load_language_model(scoring.source, scoring.estimator), ["generative_entropy"], scoring.estimator
        )
        exact, encoder = scoring_flops(scorer, tokens, scoring.max_batch_tokens)
        training = visits * _training_flops(model, tokens.lengths)
    except UnfitFlopsError as error:
        return EntropyHead("exact", f"FLOPs are {error}")
    costs = f"exact scoring costs {exact / training:.0%} of the training"
    if exact <= CHEAP * training:
        return EntropyHead("exact", costs, None, exact, training)
    alone = not any(scoring.kind(name) in ("encoder", "derived") for name in wanted)
    early = alone and scoring.settings.generative.layers is None and encoder > CHEAP * training
    layers = scoring.layers[:1] if early else scoring.layers
    config, content = scorer.network.config, tokens.n_tokens()
    n_fit, n_check = (int(content[rows].sum()) for rows in examples)
    probe = EntropyProbe(int(config.hidden_size) * len(layers), 1.0)
    fitting = exact * (n_fit + n_check) / content.sum() + fit_flops(probe.width, n_fit)
    scoring_by_it = encoder * layers[-1] / config.num_hidden_layers + probe.flops() * float(content.sum())
    if fitting + scoring_by_it >= exact:
        return EntropyHead("exact", f"{costs}, but a probe and its fit no less", None, exact, training)
    return EntropyHead("probe", costs.replace("costs", "would cost"), layers if early else None, exact, training)


def _training_flops(model: ModelSource, lengths: np.ndarray) -> float:
    """FLOPs of training on a row of the pool, on average: forward and backward passes of the encoder."""
    network, _ = load_network(body_class(model), model)
    of_row = model_flops(network, partial(made_up_row, network), backward=True)
    return of_row.of_rows(lengths) / len(lengths)
