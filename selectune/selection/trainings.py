"""Trainings that a selection needs and is charged with: of the scoring model on labels, of proxies for a search.

And those whose course is a signal of the rows (training dynamics). Each is done once: its result lies in the cache with
its cost.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np

from selectune.callbacks import CostLedger, Export
from selectune.callbacks.epoch_logits import EpochLogits
from selectune.callbacks.training_check import demand_trained
from selectune.common.files import default_cache, write_json
from selectune.common.locks import locked
from selectune.common.ranks import barrier, on_rank_zero
from selectune.costs.ledger import Ledger
from selectune.costs.uninterrupted import split_costs
from selectune.data.pool import Pool
from selectune.lightning_modules import FineTuner
from selectune.lightning_modules.scorers.settings import Dynamics, Tune
from selectune.selection.manifest import hash_rows
from selectune.selection.request import SelectionRequest, Trainable
from selectune.selectors.band_search import Proxy
from selectune.selectors.base import tie_keys
from selectune.selectors.ordering import key_order
from selectune.signals.compute import charge_avoided, held_by_rank_zero, recorded
from selectune.signals.definitions import Rows, ScoringModel
from selectune.signals.dynamics import TRAINED
from selectune.signals.forward import TrainerFor
from selectune.signals.store import Definition, SignalStore

WAIT_SECONDS = 1200


@dataclass
class Trainings:
    """Trains the models that a selection needs, on rows of its request; the fine-tuner's settings are the defaults."""

    request: SelectionRequest
    fine_tuner: FineTuner
    trainer_for: TrainerFor
    ledger: Ledger

    def tune(self, scoring: ScoringModel, tune: Tune) -> None:
        """Train the scoring model on some labelled rows, before it scores."""
        data, folder = self.request.labelled, default_cache() / "scorers" / str(scoring.tuned)
        export, costs, part = folder / "export", folder / "costs.json", self.request.part
        # Rank 0 holds the lock for all ranks, so that another run that wants the same scorer waits for it.
        with held_by_rank_zero(locked(folder.with_suffix(".lock"), WAIT_SECONDS, "tuning the same scorer")):
            if on_rank_zero(costs.is_file):
                on_rank_zero(lambda: charge_avoided(self.ledger, json.loads(costs.read_text()), part))
            else:
                on_rank_zero(lambda: shutil.rmtree(folder, ignore_errors=True))  # begun by a killed process
                rows = first_by_hash(data.pool, data.seed, tune.rows)
                module = FineTuner(
                    str(scoring.source.folder), tune.learning_rate, seed=self.fine_tuner.seed, stage="tune_scorer"
                )
                work = f"tuning-{scoring.tuned}"
                charged = CostLedger(ledger=self.ledger, stage="tune_scorer", part=part, work=work)
                callbacks = [charged, Export(export)]
                trainer = self.trainer_for(callbacks=callbacks, max_epochs=tune.max_epochs, limit_val_batches=0)
                trainer.fit(module, data.trained_on(rows, scoring.source))
                demand_trained(trainer)
                self._keep_costs(costs, work)
        scoring.tuned_folder = export

    def observe(self, definition: Definition, rows: Rows, scoring: ScoringModel) -> None:
        """Train the scoring model and store the logits of rows after each epoch, unless they are stored.

        Whoever reads the signal charges one that was stored before as avoided.
        """
        store, settings = SignalStore(default_cache()), scoring.settings.dynamics
        with held_by_rank_zero(store.lock(definition.pool, definition.model)):
            if on_rank_zero(lambda: store.has(definition)):
                return
            work, part = f"{definition.name}-{definition.key}", self.request.part
            data = observing_data(self.request.training, definition.name, rows, scoring)
            module = observed_module(scoring, self.fine_tuner.seed)
            charged = CostLedger(ledger=self.ledger, stage="tune_scorer", part=part, evaluation="score", work=work)
            logits = EpochLogits()
            trainer = self.trainer_for(
                callbacks=[charged, logits], num_sanity_val_steps=0, **until(definition.name, settings)
            )
            trainer.fit(module, data)
            demand_trained(trainer)
            barrier()  # all ranks' records are written
            on_rank_zero(lambda: store.write(definition, logits.logits(), self._costs_of(work)))

    def proxy(self, rows: np.ndarray, proxy: Proxy) -> float:
        """The metric on ``dev`` of a small training on some rows of the whole pool, by their ids."""
        data, source = self.request.training, self.fine_tuner.source
        rate, seed, part = proxy.learning_rate or self.fine_tuner.learning_rate, self.fine_tuner.seed, self.request.part
        key = _key(
            source.described, data.pool.fingerprint, hash_rows(rows), rate, seed, asdict(proxy), data.training_key(),
            *([] if self.fine_tuner.lora is None else [asdict(self.fine_tuner.lora)]),
        )  # fmt: skip
        file = default_cache() / "proxies" / f"{key}.json"

        def known() -> float | None:
            if not file.is_file():
                return None
            content = json.loads(file.read_text())
            charge_avoided(self.ledger, content["costs"], part)
            return float(content["value"])

        value = on_rank_zero(known)
        if value is not None:
            return value
        work = f"proxy-{key}"
        alike = {"checkpoint": str(source.folder), "optimizer": None, "lr_scheduler": None}
        module = self.fine_tuner.like(**alike, learning_rate=rate, stage="proxy")
        mine = data.trained_on(rows, source)

        def make_trainer(**more: Any) -> pl.Trainer:
            costs = CostLedger(ledger=self.ledger, stage="search", part=part, evaluation="search", work=work)
            more |= {"max_epochs": proxy.max_epochs, "max_steps": proxy.max_steps}
            return self.trainer_for(callbacks=[costs], **more)

        trainer = make_trainer(limit_val_batches=0)
        trainer.fit(module, mine)
        demand_trained(trainer)
        trainer = make_trainer()
        trainer.validate(module, mine, verbose=False)
        demand_trained(trainer)
        value = float(trainer.callback_metrics[data.monitor[0]])
        self._keep_costs(file, work, {"value": value})
        return value

    def _keep_costs(self, file: Path, work: str, more: dict[str, Any] | None = None) -> None:
        barrier()  # all ranks' records are written

        def keep() -> None:
            costs = self._costs_of(work)
            write_json(file, costs if more is None else {**more, "costs": costs})

        on_rank_zero(keep)

    def _costs_of(self, work: str) -> list[dict[str, Any]]:
        """The records of a training and its evaluations, on all ranks, as if it had not been interrupted."""
        records = split_costs(recorded(self.ledger)).kept
        mine = [one for one in records if one.part == self.request.part and not one.cached]
        return [one.to_json() for one in mine if (one.work or "").partition(":")[0] == work]


def tuned_key(scoring: ScoringModel, tune: Tune, data: Trainable, seed: int) -> str:
    """Hash of all that the weights of a tuned scoring model depend on, 32 hexadecimal digits."""
    return _key(scoring.weights_hash, data.pool.fingerprint, asdict(tune), seed, data.training_key())


def _key(*parts: Any) -> str:
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).hexdigest()


def observed_keys(names: Iterable[str], scoring: ScoringModel, data: Trainable, seed: int) -> dict[str, str]:
    """Hashes of all that the trainings depend on whose course is a signal, beside the pool and the weights before.

    The names are those of the signals that are computed; of others they are left out.
    """
    settings, wanted = asdict(scoring.settings.dynamics), set(names)
    held_out = {name: data.fingerprint_of("dev") for name in wanted & {"held_out_logits"}}
    return {name: _key(settings, seed, data.training_key(), held_out.get(name)) for name in TRAINED if name in wanted}


def observing_data(data: Trainable, name: str, rows: Rows, scoring: ScoringModel) -> Any:
    """The data module of a training whose course is a signal of some rows: on these rows, or on ``dev``."""
    row_ids = np.arange(len(rows)) if rows.row_ids is None else rows.row_ids
    trained = row_ids[first_by_hash(rows.pool, data.seed, scoring.settings.dynamics.rows)]
    return data.observing(row_ids, None if name == "held_out_logits" else trained, scoring.source)


def observed_module(scoring: ScoringModel, seed: int) -> FineTuner:
    """A fresh scoring model, for a training whose course is a signal."""
    rate = scoring.settings.dynamics.learning_rate
    return FineTuner(str(scoring.source.folder), rate, seed=seed, stage="dynamics")


def until(name: str, settings: Dynamics) -> dict[str, int]:
    """The Trainer's options for a training whose course is a signal: its end, and how often all rows are read."""
    # of the model of held-out rows the end alone is read
    every = settings.epochs if name == "held_out_logits" else 1
    return {"max_epochs": settings.epochs, "check_val_every_n_epoch": every}


def first_by_hash(pool: Pool, seed: int, n_rows: int | None) -> np.ndarray:
    """So many rows of a pool, drawn by the hash of their text, which models of a selection are trained on."""
    keys = tie_keys(pool.text_hash, seed)
    return np.sort(key_order(keys)[:n_rows])
