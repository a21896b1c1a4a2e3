"""Selection as a preprocessing stage: score on all ranks, merge, derive, select and write on rank 0, read on every one.

selection = select_rows(datamodule, model, settings, trainer_for, ledger, part="fit", folder=run / "selection")
"""

from __future__ import annotations

import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np

from selectune.costs import CostRecord, Part, code_version
from selectune.datamodules.base import SelectionDataModule
from selectune.distributed import barrier, on_rank_zero
from selectune.errors import SelectionError
from selectune.ledger import Ledger
from selectune.lightning_modules.scorer import ScorerSettings
from selectune.pool import Pool
from selectune.savings import SELECTION
from selectune.scoring import ScoringModel, TrainerFor, compute_signals, read_signals, spent
from selectune.selection import Manifest, Selection, describe, hash_rows
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
        path = Path(datamodule.selection).expanduser()
        datamodule.chosen = on_rank_zero(lambda: Selection.read(path, datamodule.pool))
        on_rank_zero(lambda: _charge_avoided(ledger, datamodule.chosen, part))
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
    found = on_rank_zero(lambda: _matching(folder, datamodule.pool, request))
    if found is None:
        compute_signals(wanted, datamodule.pool, tokens, scoring, trainer_for, ledger, part)
        found = on_rank_zero(lambda: _select(datamodule, scoring, wanted, tokens, n_tokens, ledger, part, folder))
    datamodule.chosen = found
    barrier()
    return found


def select_in_library(datamodule: SelectionDataModule) -> None:
    """Make or read the selection of a data module that a plain `Trainer.fit` uses.

    Raises:
        SelectionError: there is more than one process, and no selection to read.
    """
    trainer: Any = datamodule.trainer
    if trainer.world_size > 1 and datamodule.selection is None:
        raise SelectionError(
            "With several processes the selection is made before `Trainer.fit`; run `selectune select` first and name "
            "its run in data.selection, or use `selectune fit`."
        )
    ledger = next((found for found in (getattr(c, "ledger", None) for c in trainer.callbacks) if found), Ledger())
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
