"""Small trainings of the model on parts of a pool, judged on the same held-out rows; each is done once.

The logits of the held-out rows lie in the cache with what they cost, so that a pilot that was killed goes on where it
stopped, and another pilot of the same job is spared what this one has trained.
"""

from __future__ import annotations

import hashlib
import json
import math
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import lightning.pytorch as pl
import numpy as np

from selectune.callbacks import CostLedger
from selectune.callbacks.epoch_logits import EpochLogits
from selectune.callbacks.training_check import demand_trained
from selectune.common.files import atomic_file, default_cache
from selectune.common.locks import locked
from selectune.costs.record import CostRecord, Part
from selectune.costs.uninterrupted import split_costs
from selectune.data.sources import weights_hash
from selectune.pilot.rehearsal import losses_and_errors
from selectune.runs.job import Job
from selectune.selection.manifest import hash_rows
from selectune.selection.trainings import WAIT_SECONDS
from selectune.signals.compute import charge_avoided, recorded

PART: Part = "pilot"
SETTINGS = ("model", "trainer")  # sections of a config that a training depends on, beside its rows


@dataclass(frozen=True)
class Judged:
    """Held-out rows after a training: losses, nats, and whether each was classified wrongly; shape (n_rows,)."""

    losses: np.ndarray
    wrong: np.ndarray


@dataclass(frozen=True)
class SmallTrainings:
    """Trains the model of a job, from its checkpoint on, on rows of its pool.

    Args:
        job: begun, of one process; its Trainers make one device's.
        judged: ids of the rows of ``dev`` that each training is judged on, ascending.
        batch_size: rows of a batch.
        head: of the model, as it was given; None takes the data module's.
        done: is given the name of each training, as the ledger has its work.
    """

    job: Job
    judged: np.ndarray
    batch_size: int
    head: Any
    done: list[str]

    def judge(self, rows: np.ndarray, passes: float) -> Judged:
        """The held-out rows after a training on some rows.

        Args:
            rows: ids in the pool.
            passes: rows that are seen in all, each as often as another.

        Raises:
            TrainingError: the loss is not finite.
        """
        batches = max(1, int(math.ceil(len(rows) / self.batch_size) * passes / len(rows) * (1 + 1e-9)))
        steps = max(1, batches // self.job.trainer.accumulate_grad_batches)
        key = self._key(rows, steps)
        file = default_cache() / "pilots" / f"{key}.npz"
        file.parent.mkdir(parents=True, exist_ok=True)
        with locked(file.with_suffix(".lock"), WAIT_SECONDS, "the same small training"):
            known = _read(file)
            if known is not None:
                logits, costs = known
                charge_avoided(self.job.ledger, costs, PART)
            else:
                logits = self._trained(rows, steps, f"pilot-{key}")
                costs = [one.to_json() for one in self._records(f"pilot-{key}")]
                with atomic_file(file) as partial, partial.open("wb") as opened:
                    np.savez(opened, logits=logits, costs=np.array(json.dumps(costs)))
        self.done.append(f"pilot-{key}")
        return Judged(*losses_and_errors(logits, self.job.data.labels["dev"][self.judged]))

    def _trained(self, rows: np.ndarray, steps: int, work: str) -> np.ndarray:
        """Logits of the held-out rows, float32, shape (n_rows, n_classes)."""
        model, logits = self.job.model, EpochLogits()
        data = self.job.data.observing(self.judged, rows, model.source, "dev")
        data.batch_size = self.batch_size
        module = model.like(head=deepcopy(self.head), stage="pilot")

        def trainer(callbacks: list[pl.Callback], **settings: Any) -> pl.Trainer:
            costs = CostLedger(ledger=self.job.ledger, stage="pilot", part=PART, evaluation="pilot", work=work)
            quiet = {"logger": False, "enable_checkpointing": False}
            return self.job.make_trainer(callbacks=[costs, *callbacks], **quiet, **settings)

        fitting = trainer([], max_epochs=-1, max_steps=steps, limit_val_batches=0)
        fitting.fit(module, data)
        demand_trained(fitting)
        judging = trainer([logits])
        judging.validate(module, data, verbose=False)
        demand_trained(judging)
        return logits.logits()[:, 0]

    def _records(self, work: str) -> list[CostRecord]:
        """What a training cost, as if it had not been interrupted."""
        records = split_costs(recorded(self.job.ledger)).kept
        mine = [one for one in records if one.part == PART and not one.cached]
        return [one for one in mine if (one.work or "").partition(":")[0] == work]

    def _key(self, rows: np.ndarray, steps: int) -> str:
        job = self.job
        parts = [
            weights_hash(job.model.source.folder), job.model.seed, job.data.pool.fingerprint,
            job.data.fingerprint_of("dev"), hash_rows(rows), hash_rows(self.judged), steps,
            self.batch_size, job.data.training_key(),
            {name: job.config.get(name) for name in SETTINGS},
        ]  # fmt: skip
        text = json.dumps(parts, sort_keys=True, default=str)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _read(file: Path) -> tuple[np.ndarray, list[dict[str, Any]]] | None:
    """The logits that a file holds, with what they cost; None where there is none, or it is damaged."""
    try:
        with np.load(file) as known:
            return known["logits"], json.loads(str(known["costs"]))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
