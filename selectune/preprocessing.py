"""Selection as a preprocessing stage: score on all ranks, merge, derive, select and write on rank 0, read on every one.

selection = select_rows(datamodule, model, settings, trainer_for, ledger, part="fit", folder=run / "selection")
"""

from __future__ import annotations

import shutil
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np

from selectune.costs import CostRecord, Part, code_version
from selectune.datamodules.base import SelectionDataModule
from selectune.distributed import on_rank_zero, world
from selectune.errors import SelectionError
from selectune.ledger import Ledger
from selectune.lightning_modules.scorer import ScorerSettings
from selectune.paths import atomic_folder
from selectune.pool import Pool
from selectune.savings import SELECTION
from selectune.scoring import ScoringModel, TrainerFor, compute_signals, read_signals, spent
from selectune.selection import Manifest, Selection, describe, hash_rows, trained_on
from selectune.signals import DERIVED_FROM, Definition
from selectune.sources import ModelSource, find_model
from selectune.tokenization import TokenizedRows


def select_rows(
    datamodule: SelectionDataModule,
    model: ModelSource,
    trainer_for: TrainerFor,
    ledger: Ledger,
    part: Part = "fit",
    folder: Path | None = None,
) -> Selection:
    """Choose the rows that a data module trains on, on all ranks; a selection that is there already is picked up.

    Args:
        datamodule: whose pool and selector are meant.
        model: scores, unless the data module's scorer settings name another.
        trainer_for: gives a Trainer for forward passes over all ranks, with the given callbacks.
        ledger: what is charged.
        part: whose data this is.
        folder: where to write the selection; None keeps it in memory, which only one process can.

    Raises:
        UserError: on every rank, about data, budget, model or an earlier selection.
    """
    datamodule.load()
    if datamodule.selection is not None:
        use_selection(datamodule, ledger, part)
        if folder is not None:
            on_rank_zero(lambda: _copy_selection(datamodule, folder))
        assert datamodule.chosen is not None
        return datamodule.chosen
    assert datamodule.selector is not None
    settings = datamodule.scorer or ScorerSettings()
    scoring = ScoringModel(find_model(settings.checkpoint) if settings.checkpoint else model, settings)
    with ledger.stage("prepare", part) as cost:
        tokens = datamodule.tokenized("train", scoring.tokenizer)
        n_tokens = tokens.n_tokens()
        datamodule.budget(int(n_tokens.sum()))
        wanted = [scoring.define(name, datamodule.pool, datamodule.max_length) for name in sorted(_needed(datamodule))]
        cost.add(examples=len(tokens), method="no arithmetic")
    request = _request(datamodule, scoring, wanted)
    made: Selection | None = on_rank_zero(lambda: _matching(folder, datamodule.pool, request))
    if made is None:
        compute_signals(wanted, datamodule.pool, tokens, scoring, trainer_for, ledger, part)
        made = on_rank_zero(lambda: _select(datamodule, scoring, wanted, tokens, n_tokens, ledger, part, folder))
    # a dry run has no file that every rank could read
    datamodule.chosen = made if folder is None else Selection.read(folder, datamodule.pool)
    return datamodule.chosen


def use_selection(datamodule: SelectionDataModule, ledger: Ledger, part: Part = "fit") -> None:
    """Take an earlier selection by its path, on every rank, and charge what it cost as avoided, on rank 0.

    Raises:
        SelectionError: it is not there, made for another pool, or otherwise than the data module asks for.
    """
    found = Selection.read(Path(str(datamodule.selection)).expanduser(), datamodule.pool)
    asked = {"selector": describe(datamodule.selector), "budget": _asked(datamodule), "seed": datamodule.seed}
    differs = [name for name, value in asked.items() if found.manifest.request[name] != value]
    if datamodule.selector is not None and differs:
        raise SelectionError(
            f"The selection in {datamodule.selection} was made otherwise than this run asks for (it differs in "
            f"{', '.join(differs)}); leave data.selector and the budget out, or data.selection."
        )
    datamodule.chosen = found
    if world()[0] == 0:
        _charge_avoided(ledger, found, part)


def _copy_selection(datamodule: SelectionDataModule, folder: Path) -> None:
    """Put an earlier selection into the run that uses it, so that the run says everything about itself."""
    source = Selection.folder_of(Path(str(datamodule.selection)).expanduser())
    if source.resolve() != folder.resolve():
        with atomic_folder(folder) as partial:
            for file in ("rows.parquet", "scores.parquet", "manifest.json"):
                shutil.copyfile(source / file, partial / file)


def select_in_library(datamodule: SelectionDataModule) -> None:
    """Make or read the selection of a data module that a plain `Trainer.fit` uses.

    Raises:
        SelectionError: there is more than one process, and no selection to read.
    """
    trainer: Any = datamodule.trainer
    if trainer.world_size > 1:
        raise SelectionError(
            "With several processes the selection is made before `Trainer.fit`; run `selectune select` first and name "
            "its run in data.selection, or use `selectune fit`."
        )
    ledger = ledger_of(trainer)
    model: Any = trainer.lightning_module

    def trainer_for(callbacks: list[pl.Callback]) -> pl.Trainer:
        return pl.Trainer(
            accelerator="auto",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            callbacks=callbacks,
            enable_model_summary=False,
        )

    folder = ledger.path.parent / "selection" if ledger.path else None
    select_rows(datamodule, model.source, trainer_for, ledger, folder=folder)


def ledger_of(trainer: Any) -> Ledger:
    """The ledger of a Trainer's `CostLedger`, made ready; one in memory where it has none."""
    from selectune.callbacks.cost_ledger import CostLedger

    for callback in trainer.callbacks:
        if isinstance(callback, CostLedger):
            callback.begin(trainer)
            return callback.ledger
    return Ledger()


def _needed(datamodule: SelectionDataModule) -> set[str]:
    assert datamodule.selector is not None
    names = set(datamodule.selector.requires) - {"n_tokens", "text_hash"}
    return names | {source for name in names for source in DERIVED_FROM.get(name, ())}


def _select(
    datamodule: SelectionDataModule,
    scoring: ScoringModel,
    wanted: list[Definition],
    tokens: TokenizedRows,
    n_tokens: np.ndarray,
    ledger: Ledger,
    part: Part,
    folder: Path | None,
) -> Selection:
    pool, selector = datamodule.pool, datamodule.selector
    assert selector is not None
    with ledger.stage("select", part) as cost, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        signals = read_signals(wanted, tokens, pool)
        picked = selector.select(signals, None, datamodule.budget(int(n_tokens.sum())), datamodule.seed)
        rows = np.asarray(picked.rows, dtype=np.int64)
        _check_picked(rows, picked.scores, len(pool), selector)
        cost.add(examples=len(pool), method="no arithmetic")
    told = sorted({str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)})
    for message in told:
        warnings.warn(message, stacklevel=2)
    selection_costs = [r for r in _charged(ledger) if r.part == part and r.stage in SELECTION]
    manifest = Manifest(
        n_rows=len(rows),
        rows_hash=hash_rows(rows),
        pool_rows=len(pool),
        pool_tokens=int(n_tokens.sum()),
        pool_input_tokens=int(tokens.lengths.sum()),
        source=pool.source,
        revision=pool.revision,
        model=scoring.source.described,
        model_revision=scoring.source.revision,
        tokenizer_hash=scoring.tokenizer_hash,
        trained_on=trained_on(scoring.source.folder),
        diagnostics=picked.diagnostics,
        warnings=told,
        costs=[record.to_json() for record in selection_costs],
        commit=code_version(),
        **_request(datamodule, scoring, wanted)
        | {
            "budget": {
                "asked": _asked(datamodule),
                "rows": len(rows),
                "tokens": int(n_tokens[rows].sum()),
                "input_tokens": int(tokens.lengths[rows].sum()),
            }
        },
    )
    selection = Selection(rows, picked.scores[rows], manifest)
    if folder is not None:
        scalars = {name: values for name, values in signals.items() if values.ndim == 1 and name != "text_hash"}
        selection.write(folder, pool, scalars, signals.tie_keys(datamodule.seed))
    return selection


def _request(datamodule: SelectionDataModule, scoring: ScoringModel, wanted: list[Definition]) -> dict[str, Any]:
    return {
        "pool_fingerprint": datamodule.pool.fingerprint,
        "weights_hash": scoring.weights_hash,
        "selector": describe(datamodule.selector),
        "budget": _asked(datamodule),
        "seed": datamodule.seed,
        "signals": [asdict(definition) for definition in wanted],
    }


def _asked(datamodule: SelectionDataModule) -> dict[str, Any]:
    return {name: getattr(datamodule, name) for name in ("keep", "keep_rows", "keep_tokens")}


def _matching(folder: Path | None, pool: Pool, request: dict[str, Any]) -> Selection | None:
    """The selection that a folder holds, if it is the one asked for."""
    if folder is None or not (folder / "manifest.json").is_file():
        return None
    found = Selection.read(folder, pool)
    differs = [name for name, value in request.items() if found.manifest.request[name] != value]
    if differs:
        raise SelectionError(
            f"The selection in {folder} was made otherwise (it differs in {', '.join(differs)}); use another folder, "
            "or --overwrite."
        )
    return found


def _check_picked(rows: np.ndarray, scores: np.ndarray, n_rows: int, selector: Any) -> None:
    name = type(selector).__name__
    if len(rows) == 0:
        raise SelectionError(f"{name} picked no row; widen its bounds or the budget.")
    if len(np.unique(rows)) != len(rows) or rows.min() < 0 or rows.max() >= n_rows or np.shape(scores) != (n_rows,):
        raise SelectionError(f"{name} must pick unique row ids of the pool and score all {n_rows} rows; mend it.")


def _charge_avoided(ledger: Ledger, selection: Selection | None, part: Part) -> None:
    assert selection is not None
    known = {record.identity for record in spent(ledger)}
    for content in selection.manifest.costs:
        record = CostRecord.from_json(content)
        if record.identity not in known:
            ledger.avoided(record, part)


def _charged(ledger: Ledger) -> list[CostRecord]:
    """What this run spent and what a cache spared it."""
    return spent(ledger) + [record for record in ledger.records if record.cached]
