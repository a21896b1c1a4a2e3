"""Selection as a preprocessing stage: score on all ranks, merge, derive, select and write on rank 0, read on every one.

selection = select_rows(request, fine_tuner, trainer_for, ledger, folder=run / "selection")
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np

from selectune.callbacks.preemption import Preemption, requeue_signal, root_for
from selectune.callbacks.trainer import Trainer
from selectune.common.errors import SelectionError
from selectune.common.files import atomic_folder, default_cache
from selectune.common.ranks import on_rank_zero, world
from selectune.common.run_files import RunFiles, SelectionFiles
from selectune.costs.ledger import Ledger
from selectune.costs.record import code_version
from selectune.costs.saving import SELECTION
from selectune.costs.scorer_ratio import n_parameters
from selectune.costs.uninterrupted import split_costs
from selectune.lightning_modules import FineTuner
from selectune.selection import examples
from selectune.selection.choose import Chooser
from selectune.selection.manifest import Manifest, Selection, hash_rows, trained_on
from selectune.selection.request import SelectionRequest
from selectune.selection.scoring import chooser_of, prepared, signals_of
from selectune.selectors.base import Picked, tie_keys
from selectune.signals.compute import charge_avoided, recorded
from selectune.signals.forward import TrainerFor


def select_rows(
    request: SelectionRequest,
    fine_tuner: FineTuner,
    trainer_for: TrainerFor,
    ledger: Ledger,
    folder: Path | None = None,
) -> Selection:
    """Select the rows to train on, on all ranks; one that the folder holds already is read.

    Args:
        request: pool, selector, budget.
        fine_tuner: will train on them; its checkpoint scores, unless the request's scorer settings name another.
        trainer_for: gives a Trainer for a stage over all ranks.
        ledger: is charged.
        folder: of the selection; None keeps it in memory, which only one process can.

    Raises:
        UserError: on every rank, about data, budget, model or an earlier selection.
    """
    if request.earlier is not None:
        selection, source = earlier_selection(request, ledger), Selection.folder_of(request.earlier)
        if folder is not None:
            on_rank_zero(lambda: _copy(source, folder))
        return selection
    assert request.selector is not None
    names = signals_of(request.selector)
    scoring, rows = prepared(request, names, fine_tuner, ledger, folder)
    budget = request.budget.of(len(rows), int(rows.n_tokens.sum()))
    # Everything that decides the rows; in a `Chain` the signals of later selectors are those of the rows left.
    signals = [scoring.define(name, request.pool) for name in scoring.with_sources(request.selector.requires)]
    asked = request.described | {
        "pool_fingerprint": request.pool.fingerprint,
        "weights_hash": scoring.weights_hash,
        "signals": [asdict(definition) for definition in signals],
    }

    # Rank 0 alone looks at the disk, so that all ranks select or none does.
    made: Selection | None = on_rank_zero(lambda: _made_before(folder, request, asked))
    if made is None:
        chooser = chooser_of(request, scoring, fine_tuner, trainer_for, ledger)
        picked = chooser.choose(request.selector, rows, budget)
        for message in chooser.messages:
            warnings.warn(message, stacklevel=2)
        made = on_rank_zero(lambda: _write(chooser, picked, asked, folder))
    # a dry run has no file that every rank could read
    return made if folder is None else Selection.read(folder, request.pool)


def earlier_selection(request: SelectionRequest, ledger: Ledger) -> Selection:
    """An earlier selection, read by its path on every rank; what it cost is charged as avoided, on rank 0.

    Raises:
        SelectionError: it is missing, made for another pool, or otherwise than the request asks for.
    """
    assert request.earlier is not None
    selection = Selection.read(request.earlier, request.pool)
    if request.selector is not None and (differs := selection.manifest.differs_from(request.described)):
        raise SelectionError(
            f"The selection in {request.earlier} was made otherwise than this run asks for (it differs in {differs}); "
            "leave data.selector and the budget out, or data.selection."
        )
    if world()[0] == 0:
        charge_avoided(ledger, selection.manifest.costs, request.part)
    return selection


def select_in_library(request: SelectionRequest, trainer: Any) -> Selection:
    """The selection of a data module that a plain `Trainer.fit` uses.

    Raises:
        SelectionError: there is more than one process, and no selection to read.
    """
    if trainer.world_size > 1:
        raise SelectionError(
            "With several processes the selection is made before `Trainer.fit`; run `selectune select` first and name "
            "its run in data.selection, or use `selectune fit`."
        )
    ledger = ledger_of(trainer)
    folder = RunFiles(ledger.path.parent).selection if ledger.path else None
    where = "cpu" if trainer.strategy.root_device.type == "cpu" else "auto"  # as the user's own Trainer
    with library_trainers(where) as trainer_for:
        return select_rows(request, trainer.lightning_module, trainer_for, ledger, folder)


@contextmanager
def library_trainers(accelerator: str) -> Iterator[TrainerFor]:
    """Makes Trainers of one device for the stages of a selection in a library, which end well on a signal."""

    def trainer_for(**settings: Any) -> pl.Trainer:
        defaults: dict[str, Any] = {"accelerator": accelerator, "devices": 1, "logger": False}
        defaults |= {"enable_checkpointing": False, "enable_model_summary": False}
        defaults |= {"default_root_dir": root_for(default_cache())}
        return Trainer(**defaults | settings | {"callbacks": [*settings.get("callbacks", []), preemption]})

    with Preemption(requeue_signal()) as preemption:
        yield trainer_for


def ledger_of(trainer: Any) -> Ledger:
    """The ledger of a Trainer's `CostLedger`, made ready; one in memory where it has none."""
    from selectune.callbacks.cost_ledger import CostLedger

    for callback in trainer.callbacks:
        if isinstance(callback, CostLedger):
            callback.begin(trainer)
            return callback.ledger
    return Ledger()


def _copy(source: Path, folder: Path) -> None:
    """Put an earlier selection into the run that uses it, so that the run says everything about itself."""
    if source.resolve() == folder.resolve():
        return
    with atomic_folder(folder) as partial:
        for name, file in vars(SelectionFiles(source)).items():
            if file.is_file():
                shutil.copyfile(file, getattr(SelectionFiles(partial), name))


def _made_before(folder: Path | None, request: SelectionRequest, asked: dict[str, Any]) -> Selection | None:
    """The selection that a folder holds, if it is the one asked for."""
    if folder is None or not SelectionFiles(folder).manifest.is_file():
        return None
    selection = Selection.read(folder, request.pool)
    if differs := selection.manifest.differs_from(asked):
        raise SelectionError(
            f"The selection in {folder} was made otherwise (it differs in {differs}); use another folder, or "
            "--overwrite."
        )
    return selection


def _write(chooser: Chooser, picked: Picked, asked: dict[str, Any], folder: Path | None) -> Selection:
    """The selection with its manifest, written into a folder, if there is one, with examples for the report."""
    request, source, pool = chooser.request, chooser.scoring.source, chooser.request.pool
    n_tokens, lengths = chooser.rows.n_tokens, chooser.rows.tokens.lengths
    budget = {
        "asked": asked["budget"],
        "rows": len(picked.rows),
        "tokens": int(n_tokens[picked.rows].sum()),
        "input_tokens": int(lengths[picked.rows].sum()),
    }
    diagnostics = picked.diagnostics | ({"signals": chooser.notes} if chooser.notes else {})
    if pool.domains is not None:
        counts = [np.bincount(d, minlength=len(pool.domain_names)) for d in (pool.domains, pool.domains[picked.rows])]
        both = zip(pool.domain_names, *(count.tolist() for count in counts))
        diagnostics |= {"domains": {name: {"pool": in_pool, "kept": kept} for name, in_pool, kept in both}}
    screened = chooser.screened
    # costs of this run and those that the cache spared it, on all ranks, as if it had not been interrupted
    records = split_costs(recorded(chooser.trainings.ledger)).kept
    manifest = Manifest(
        n_rows=len(picked.rows),
        rows_hash=hash_rows(picked.rows),
        pool_rows=len(pool),
        pool_tokens=int(n_tokens.sum()),
        pool_input_tokens=int(lengths.sum()),
        source=pool.source,
        revision=pool.revision,
        review=pool.review,
        scorer=source.described,
        scorer_revision=source.revision,
        scorer_parameters=n_parameters(source.folder),
        tokenizer_hash=chooser.scoring.tokenizer_hash,
        trained_on=trained_on(source.folder),
        entropy_head=chooser.scoring.entropy_head,
        diagnostics=diagnostics,
        warnings=chooser.messages,
        screened=None if screened is None else {"rows": len(screened), "input_tokens": int(lengths[screened].sum())},
        costs=[one.to_json() for one in records if one.part == request.part and one.stage in SELECTION],
        commit=code_version(),
        **asked | {"budget": budget},
    )
    selection = Selection(picked.rows, picked.scores[picked.rows], manifest)
    if folder is not None:
        scalars = {"n_tokens": n_tokens, **chooser.scalars, "score": picked.scores}
        described = examples.describe_rows(
            pool.texts, picked.rows, len(pool), scalars, picked.diagnostics,
            request.labels if request.label_names is not None else None,
            list(request.label_names or ()) or None, request.seed,
        )  # fmt: skip
        keys = tie_keys(pool.text_hash, request.seed)
        if chooser.compared is not None:
            ids, embeddings, targets = chooser.compared
            kept = np.flatnonzero(np.isin(ids, picked.rows))
            described["map"] = examples.embedding_map(embeddings, targets, kept, keys[ids])
        examples.write(folder, described)
        selection.write(folder, pool, scalars, keys)
    return selection
