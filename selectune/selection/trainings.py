"""Trainings that a selection needs and is charged with: of the scoring model on labels, of proxies for a search.

Each is done once: what it gave lies in the cache with what it cost.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from selectune.callbacks import CostLedger, Export
from selectune.callbacks.training_check import demand_trained
from selectune.common.files import default_cache, write_json
from selectune.common.locks import locked
from selectune.common.ranks import barrier, on_rank_zero
from selectune.costs.ledger import Ledger
from selectune.costs.record import Part
from selectune.costs.uninterrupted import split_costs
from selectune.lightning_modules import FineTuner
from selectune.lightning_modules.scorers.settings import Tune
from selectune.selection.manifest import hash_rows
from selectune.selection.request import SelectionRequest, Trainable
from selectune.selectors.band_search import Proxy
from selectune.selectors.base import Signals
from selectune.signals.compute import charge_avoided, recorded
from selectune.signals.definitions import ScoringModel
from selectune.signals.forward import TrainerFor

WAIT_SECONDS = 1200


@dataclass
class Trainings:
    """What all of them need.

    Args:
        request: whose rows they train on.
        fine_tuner: whose settings hold where nothing else is said.
        trainer_for: see `TrainerFor`.
        ledger: what is charged.
    """

    request: SelectionRequest
    fine_tuner: FineTuner
    trainer_for: TrainerFor
    ledger: Ledger

    @property
    def part(self) -> Part:
        """Whose data they serve."""
        return self.request.part

    def tune(self, scoring: ScoringModel, tune: Tune) -> None:
        """Train the scoring model on some labelled rows, before it scores."""
        data, folder = self.request.labelled, default_cache() / "scorers" / str(scoring.tuned)
        export, costs = folder / "export", folder / "costs.json"
        with self._held(folder.with_suffix(".lock"), "tuning the same scorer"):
            if on_rank_zero(costs.is_file):
                on_rank_zero(lambda: charge_avoided(self.ledger, json.loads(costs.read_text()), self.part))
            else:
                on_rank_zero(lambda: shutil.rmtree(folder, ignore_errors=True))
                rows = first_by_hash(data, tune.rows)
                module = FineTuner(
                    str(scoring.source.folder), tune.learning_rate, seed=self.fine_tuner.seed, stage="tune_scorer"
                )
                work = f"tuning-{scoring.tuned}"
                costs_of = CostLedger(ledger=self.ledger, stage="tune_scorer", part=self.part, work=work)
                callbacks = [costs_of, Export(export)]
                trainer = self.trainer_for(callbacks=callbacks, max_epochs=tune.max_epochs, limit_val_batches=0)
                trainer.fit(module, data.trained_on(rows, scoring.source))
                demand_trained(trainer)
                self._keep_costs(costs, work)
        scoring.tuned_folder = export

    def proxy(self, rows: np.ndarray, proxy: Proxy) -> float:
        """The metric on ``dev`` of a small training on some rows of the pool."""
        data, source = self.request.training, self.fine_tuner.source
        rate = proxy.learning_rate or self.fine_tuner.learning_rate
        seed = self.fine_tuner.seed
        key = _key(
            source.described, data.pool.fingerprint, hash_rows(rows), rate, seed, asdict(proxy), data.training_key()
        )
        file = default_cache() / "proxies" / f"{key}.json"
        if on_rank_zero(file.is_file):
            return on_rank_zero(lambda: self._known_proxy(file))
        work = f"proxy-{key}"
        module = FineTuner(
            str(source.folder), rate, self.fine_tuner.weight_decay, self.fine_tuner.warmup, seed=seed, stage="proxy"
        )
        mine = data.trained_on(rows, source)
        ends = {"max_epochs": proxy.max_epochs, "max_steps": proxy.max_steps}
        for stage in ("fit", "validate"):
            costs = CostLedger(ledger=self.ledger, stage="search", part=self.part, evaluation="search", work=work)
            only = {"limit_val_batches": 0} if stage == "fit" else {"verbose": False}
            trainer = self.trainer_for(callbacks=[costs], **ends, **(only if stage == "fit" else {}))
            getattr(trainer, stage)(module, mine, **({} if stage == "fit" else only))
            demand_trained(trainer)
        value = float(trainer.callback_metrics[data.monitor[0]])
        self._keep_costs(file, work, {"value": value})
        return value

    def _known_proxy(self, file: Path) -> float:
        known = json.loads(file.read_text())
        charge_avoided(self.ledger, known["costs"], self.part)
        return float(known["value"])

    def _keep_costs(self, file: Path, work: str, more: dict[str, Any] | None = None) -> None:
        barrier()  # all ranks' records are written

        def keep() -> None:
            mine = [r for r in split_costs(recorded(self.ledger)).kept if r.part == self.part and not r.cached]
            costs = [record.to_json() for record in mine if (record.work or "").partition(":")[0] == work]
            write_json(file, costs if more is None else {**more, "costs": costs})

        on_rank_zero(keep)

    @contextmanager
    def _held(self, file: Path, doing: str) -> Iterator[None]:
        with ExitStack() as stack:
            on_rank_zero(lambda: stack.enter_context(locked(file, WAIT_SECONDS, doing)))
            yield


def tuned_key(scoring: ScoringModel, tune: Tune, data: Trainable, seed: int) -> str:
    """Hash of all that the weights of a tuned scoring model depend on, 32 hexadecimal digits."""
    return _key(scoring.weights_hash, data.pool.fingerprint, asdict(tune), seed, data.training_key())


def _key(*parts: Any) -> str:
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).hexdigest()


def first_by_hash(data: Trainable, n_rows: int | None) -> np.ndarray:
    """Rows that a scorer is tuned on: so many, drawn by the hash of their text."""
    keys = Signals({"text_hash": data.pool.text_hash}).tie_keys(data.seed)
    return np.sort(np.argsort(keys, kind="stable")[:n_rows])
