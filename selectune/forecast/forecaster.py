"""Go through the stages of a fit: measure each on a few batches, and charge it for all of them."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch

from selectune.common.errors import UserError
from selectune.costs.compute_saving import compute_saving
from selectune.costs.ledger import Ledger
from selectune.costs.record import TRAINING, Part, Stage
from selectune.costs.saving import Saving, Terms
from selectune.costs.scorer_ratio import ScorerRatio
from selectune.datamodules.base import SelectionDataModule
from selectune.forecast import plans
from selectune.forecast.kept_rows import KeptRows
from selectune.forecast.ledger import EstimatedCosts
from selectune.forecast.measure import scaled_seconds
from selectune.forecast.result import break_even_keep
from selectune.forecast.sampled_selection import Selecting
from selectune.forecast.training import Trained, time_training
from selectune.lightning_modules import FineTuner
from selectune.runs.job import Job, Start
from selectune.selection.stage import earlier_selection, scoring_model
from selectune.selection.trainings import first_by_hash
from selectune.signals.definitions import Rows

STANDS_IN = "A model of a few steps stands in for the {}, so which rows that will keep is less sure."


@dataclass(frozen=True)
class _Done:
    """A part whose selection and training were charged."""

    kept: KeptRows
    data: SelectionDataModule  # that trains on the kept rows
    trained: Trained
    epochs: float
    model: str  # name of the model that is trained


@dataclass
class Forecaster:
    """Estimates the costs of a job."""

    job: Job
    start: Start
    estimated: EstimatedCosts
    notes: list[str] = field(default_factory=list)  # assumptions of the forecast

    def run(self, folder: Path) -> tuple[Saving, float | None, ScorerRatio | None]:
        """Charge all stages; throw-away weights go into the folder.

        Returns:
            The saving, the keep ratio at which it breaks even, and the size of the scorer.
        """
        job, model = self.job, self.job.model
        checkpoint, name = model.checkpoint, model.source.described
        parts: dict[Part, _Done] = {}
        if asked := job.warm_up:
            tuner = FineTuner(
                checkpoint, asked.learning_rate, asked.weight_decay, asked.warmup, seed=model.seed, stage="warm_up"
            )
            schedule = plans.Schedule(asked.max_epochs, asked.max_steps, job.trainer.accumulate_grad_batches)
            parts["warm_up"] = self._part("warm_up", asked.data, tuner, schedule, folder / "warm_up", name, saves=1)
            self.notes.append(STANDS_IN.format("warmed-up model"))
            checkpoint, name = str(folder / "warm_up" / "export"), f"{name}, warmed up"
        tuner = FineTuner(
            checkpoint, model.learning_rate, model.weight_decay, model.warmup, model.optimizer, model.lr_scheduler,
            model.head, model.seed,
        )  # fmt: skip
        schedule = _schedule(job.trainer)
        fit = parts["fit"] = self._part("fit", job.data, tuner, schedule, folder / "model", name, saves=4 / 3)
        limit = job.trainer.limit_test_batches
        self._charge_evaluation(fit.data, job.data.held_out, 1, "fit", fit.trained, limit=limit)
        fit.kept.lengths = fit.data.encoded("train").input_tokens

        saving, warm_up = self._saving(fit), parts.get("warm_up")
        if warm_up and (warm_up.kept.selecting or warm_up.kept.earlier is not None):
            saving = replace(saving, warm_up=self._saving(warm_up))
        self.notes += [note for part in parts.values() if (note := part.kept.note())]
        main = parts[saving.main.part]
        kept = main.kept
        ratio = kept.ratio(self.estimated.records, main.model, main.trained.parameters, job.scorer.checkpoint is None)
        selector = kept.request.selector if kept.request and kept.selecting else None
        sized = selector is not None and not selector.sets_own_size
        return saving, break_even_keep(kept.kept_share, saving.main) if sized else None, ratio

    def _part(
        self,
        part: Part,
        data: SelectionDataModule,
        tuner: FineTuner,
        schedule: plans.Schedule,
        folder: Path,
        model: str,
        saves: float,
    ) -> _Done:
        """Charge the selection and the training of a part; the trained model is left in the folder's ``export``."""
        kept = self._kept(part, data, tuner, folder / "scorer", schedule.accumulate)
        mine = data.trained_on(kept.rows, tuner.source)
        mine.check_shares(self.estimated.world_size)
        trained = time_training(tuner, mine, self._trainer_for, folder)
        epochs = self._charge_training(mine, kept.rows, schedule, part, TRAINING[part], trained, saves)
        for rows, proxy in kept.selecting.proxies if kept.selecting else []:
            until = plans.Schedule(proxy.max_epochs, proxy.max_steps, schedule.accumulate, validates=False)
            self._charge_training(mine, rows, until, part, "search", trained)
            self._charge_evaluation(mine, ("dev",), 1, part, trained, stage="search")
        return _Done(kept, mine, trained, epochs, model)

    def _kept(self, part: Part, data: SelectionDataModule, tuner: FineTuner, folder: Path, accumulate: int) -> KeptRows:
        """Charge the selection of a part; throw-away weights of its scorer go into the folder."""
        request, estimated = self.start.requests.get(part), self.estimated
        n_rows, ledger = len(data.pool), Ledger(device=estimated.device)
        kept = KeptRows(part, request, np.arange(n_rows), np.ones(n_rows, dtype=np.int64))
        if request is None:
            return kept
        if request.earlier is not None:
            kept.earlier = earlier_selection(request, ledger)
            kept.rows = kept.earlier.rows
            estimated.records += ledger.records
            return kept
        assert request.selector is not None
        scoring = scoring_model(request, tuner, ledger)
        began = time.perf_counter()
        tokens = request.tokenized(request.pool, scoring.tokenizer)
        kept.pool, kept.lengths = Rows(request.pool, tokens, request.labels), tokens.lengths
        budget = request.budget.of(len(tokens), int(kept.pool.n_tokens.sum()))
        assert request.pool.fingerprint
        estimated.charge("prepare", part, plans.Work(len(tokens)), time.perf_counter() - began, "no arithmetic")
        if scoring.tuned:
            asked, labelled = scoring.settings.tune, request.labelled
            assert asked is not None
            rows = first_by_hash(labelled, asked.rows)
            module = FineTuner(str(scoring.source.folder), asked.learning_rate, seed=tuner.seed, stage="tune_scorer")
            mine = labelled.trained_on(rows, scoring.source)
            trained = time_training(module, mine, self._trainer_for, folder)
            schedule = plans.Schedule(asked.max_epochs, accumulate=accumulate, validates=False)
            self._charge_training(mine, rows, schedule, part, "tune_scorer", trained)
            scoring.tuned_folder = folder / "export"
            self.notes.append(STANDS_IN.format("tuned scorer"))
        kept.selecting = Selecting(request, scoring, estimated, torch.device(estimated.device), self.notes)
        kept.rows = kept.selecting.choose(request.selector, kept.pool, budget).rows
        return kept

    def _trainer_for(self, **settings: Any) -> pl.Trainer:
        """A Trainer on one device of the job."""
        index = self.job.trainer.strategy.root_device.index
        one = {"devices": 1 if index is None else [index], "num_nodes": 1, "strategy": "auto"}
        return self.job.make_trainer(**one | settings)

    def _charge_training(
        self,
        data: SelectionDataModule,
        rows: np.ndarray,
        schedule: plans.Schedule,
        part: Part,
        stage: Stage,
        trained: Trained,
        saves: float = 0.0,
    ) -> float:
        """Charge a fit with its validations and so many whole checkpoints an epoch; gives its epochs."""
        ranks = self.estimated.world_size
        fit = plans.training(data, rows, schedule, ranks, trained.forward, trained.both, trained.a_step)
        seconds = scaled_seconds(fit.work, *trained.steps)
        seconds += saves * fit.epochs * trained.save_s * ranks  # while one writes the others wait
        self.estimated.charge(stage, part, fit.work, seconds, trained.method, trained.memory, parallel=True)
        if fit.validations:
            self._charge_evaluation(data, ("dev",), fit.validations, part, trained, limit=schedule.eval_limit)
        return fit.epochs

    def _charge_evaluation(
        self,
        data: SelectionDataModule,
        splits: Sequence[str],
        times: int,
        part: Part,
        trained: Trained,
        stage: Stage = "evaluate",
        limit: int | float = 1.0,
    ) -> None:
        tokens = [data.encoded(split) for split in splits]
        work = plans.evaluating(tokens, data.max_batch_tokens, self.estimated.world_size, trained.forward, limit)
        if work.examples:
            work = work.times(times)
            seconds = scaled_seconds(work, *trained.evaluations)
            self.estimated.charge(stage, part, work, seconds, trained.method, trained.memory, parallel=True)

    def _saving(self, done: _Done) -> Saving:
        """The saving of a part, computed from the estimated records as from a ledger."""
        sizes = done.kept.sizes
        saving = replace(compute_saving(self.estimated.records, **sizes, part=done.kept.part), epochs=done.epochs)
        if self.estimated.speed is None:
            return saving
        # On another machine time is FLOPs over speed, so a term that is unknown in the one is unknown in the other.
        if None not in (saving.flops.selection, saving.flops.training, saving.flops.saving):
            return saving
        unknown = {each.name: None for each in fields(Terms) if getattr(saving.flops, each.name) is None}
        return replace(saving, device_s=replace(saving.device_s, **unknown))  # type: ignore[arg-type]


def _schedule(trainer: pl.Trainer) -> plans.Schedule:
    """Length of the main fit, and its validations."""
    epochs, steps = trainer.max_epochs, trainer.max_steps
    if epochs in (None, -1) and steps < 0:
        raise UserError("A fit without an end cannot be forecast; give trainer.max_epochs or trainer.max_steps.")
    if getattr(trainer, "_val_check_time_interval", None) is not None:
        raise UserError(
            "Validations by the clock cannot be forecast; give trainer.val_check_interval in batches or as a share."
        )
    interval: Any = trainer.val_check_interval
    return plans.Schedule(
        sys.maxsize if epochs in (None, -1) else int(epochs),
        steps,
        trainer.accumulate_grad_batches,
        trainer.limit_train_batches,
        trainer.limit_val_batches != 0,
        interval,
        trainer.check_val_every_n_epoch,
        trainer.limit_val_batches,
    )
