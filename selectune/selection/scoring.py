"""Make a scoring model ready for the rows of a request, and read its signals of them."""

from __future__ import annotations

from pathlib import Path

import torch

from selectune.common.memory import give_memory_back
from selectune.costs.ledger import Ledger
from selectune.data.sources import find_model
from selectune.lightning_modules import FineTuner
from selectune.selection.choose import Chooser, labels_of
from selectune.selection.entropy_head import choose_head, earlier_choice
from selectune.selection.request import SelectionRequest
from selectune.selection.trainings import Trainings, observed_keys, tuned_key
from selectune.selectors.base import Selector, Signals
from selectune.selectors.checking import check_selector
from selectune.signals.batch_size import batch_size_for
from selectune.signals.definitions import SIGNALS, Rows, ScoringModel
from selectune.signals.forward import TrainerFor


def score_rows(
    request: SelectionRequest,
    names: frozenset[str],
    fine_tuner: FineTuner,
    trainer_for: TrainerFor,
    ledger: Ledger,
) -> Signals:
    """Signals of the pool of a request, as a selector would read them, on all ranks.

    Raises:
        UserError: there is no such signal, or it cannot be computed of these rows by this model.
    """
    scoring, rows = prepared(request, names, fine_tuner, ledger)
    return chooser_of(request, scoring, fine_tuner, trainer_for, ledger).computed(names, rows)


def prepared(
    request: SelectionRequest,
    names: frozenset[str],
    fine_tuner: FineTuner,
    ledger: Ledger,
    folder: Path | None = None,
) -> tuple[ScoringModel, Rows]:
    """The model that computes some signals, and the pool as it reads it; tokenising is charged."""
    scoring = scoring_model(request, fine_tuner, ledger, names)
    # A run that is trained for longer, or that trains on what `select` chose in its folder, does nothing again.
    work = "prepare" if ledger.attempt == 1 or ledger.resumed else ""
    with ledger.stage("prepare", request.part, work) as cost:
        tokens = request.tokenized(request.pool, scoring.tokenizer)
        rows = Rows(request.pool, tokens, labels_of(request.labels, names), prior=request.prior)
        cost.add(examples=len(tokens), method="no arithmetic")
    choose_head(request, fine_tuner.source, scoring, scoring.with_sources(names), ledger, earlier_choice(folder))
    return scoring, rows


def chooser_of(
    request: SelectionRequest, scoring: ScoringModel, fine_tuner: FineTuner, trainer_for: TrainerFor, ledger: Ledger
) -> Chooser:
    """Computes signals and chooses rows, by a scoring model that is tuned first where that was asked for."""
    trainings = Trainings(request, fine_tuner, trainer_for, ledger)
    if scoring.tuned:
        assert request.scorer.tune is not None
        trainings.tune(scoring, request.scorer.tune)
        give_memory_back()  # what the training has needed
    return Chooser(request, scoring, trainings)


def signals_of(selector: Selector) -> frozenset[str]:
    """Names of the signals that a selector reads, of the pool and of the target.

    Raises:
        SelectionError: it is no selector, or names an unknown signal.
    """
    check_selector(selector, SIGNALS)
    return selector.requires | selector.requires_target


def scoring_model(
    request: SelectionRequest, fine_tuner: FineTuner, ledger: Ledger, names: frozenset[str] | None = None
) -> ScoringModel:
    """The model that scores, as the request's scorer settings and the ledger's device say; not tuned yet.

    Its head is chosen later where it is ``auto``, see `choose_head`. The signals that it computes are those of some
    names, by default those that the request's selector reads.

    Raises:
        SelectionError: the selector names an unknown signal.
        CheckpointError: the model cannot be found.
    """
    if names is None:
        assert request.selector is not None
        names = signals_of(request.selector)
    settings = request.scorer
    source = find_model(settings.checkpoint) if settings.checkpoint else fine_tuner.source
    device = torch.device(ledger.device)
    half = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    precision = settings.precision or ("bf16" if half else "32")
    scoring = ScoringModel(source, settings, request.max_length, settings.max_batch_tokens or 0, precision)
    computed = scoring.with_sources(names)
    if settings.tune and any(scoring.kind(name) in ("head", "encoder", "derived") for name in computed):
        scoring.tuned = tuned_key(scoring, settings.tune, request.labelled, fine_tuner.seed)
    if any(scoring.kind(name) == "trained" for name in computed):
        scoring.trained = observed_keys(computed, scoring, request.training, fine_tuner.seed)
    if not settings.max_batch_tokens:
        scoring.max_batch_tokens = batch_size_for(scoring, computed, device)
    return scoring
