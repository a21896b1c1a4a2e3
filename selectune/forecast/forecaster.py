"""The stages of a fit, in their order, each measured on a few batches and charged for all of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np

from selectune.common.errors import UserError
from selectune.costs.compute_saving import compute_saving
from selectune.costs.record import Part, Stage
from selectune.costs.saving import Saving, Terms
from selectune.datamodules.base import SelectionDataModule
from selectune.forecast import plans
from selectune.forecast.kept_rows import KeptRows
from selectune.forecast.ledger import Tally
from selectune.forecast.measure import rated
from selectune.forecast.result import Forecast, advice, break_even_keep
from selectune.forecast.training import Trained, time_training
from selectune.lightning_modules import FineTuner
from selectune.runs.job import Job, Start, WarmUp
from selectune.selection.request import SelectionRequest, Trainable
from selectune.selection.trainings import first_by_hash
from selectune.signals.definitions import ScoringModel

STANDS_IN = "A model of a few steps stands in for the {}, so which rows that will keep is less sure."


@dataclass
class Forecaster:
    """Goes through a job.

    Args:
        job: what was asked for.
        start: of it.
        tally: what is charged.
        notes: on what the forecast rests.
    """

    job: Job
    start: Start
    tally: Tally
    notes: list[str] = field(default_factory=list)

    def run(self, folder: Path) -> Forecast:
        """All stages.

        Args:
            folder: for throw-away weights.
        """
        job, data = self.job, self.job.data
        done: dict[Part, _Done] = {}
        checkpoint, named = job.model.checkpoint, job.model.source.described
        if job.warm_up:
            done["warm_up"] = self._warm_up(job.warm_up, folder / "warm_up", named)
            checkpoint, named = str(folder / "warm_up" / "export"), f"{named}, warmed up"
        tuner = FineTuner(
            checkpoint, job.model.learning_rate, job.model.weight_decay, job.model.warmup, job.model.optimizer,
            job.model.lr_scheduler, job.model.head, job.model.seed,
        )  # fmt: skip
        kept = self._kept(data, tuner, "fit", folder / "scorer")
        mine, trained = self._time_training(data, tuner, kept.rows, folder / "model")
        schedule = _schedule(job.trainer)
        epochs = self._charge_training(mine, kept.rows, schedule, "fit", "train", trained, saves=4 / 3)
        self._charge_proxies(mine, kept, trained)
        self._charge_evaluation(mine, data.held_out, 1, "fit", trained, limit=job.trainer.limit_test_batches)
        kept.lengths = mine.encoded("train").input_tokens
        done["fit"] = _Done(kept, trained, epochs, named)

        saving = self._saving(done["fit"])
        if "warm_up" in done and done["warm_up"].kept.chooses:
            saving = replace(saving, warm_up=self._saving(done["warm_up"]))
        main = done[saving.main.part]
        ratio = main.kept.ratio(self.tally, main.named, main.trained.parameters, job.scorer.checkpoint is None)
        made = Forecast(self.tally.records, saving, None, ratio, [], "", advice=advice(ratio, saving))
        self.notes += [note for one in done.values() if (note := one.kept.kept_note())]
        request = main.kept.request
        if main.kept.selecting is None or request is None or request.selector is None or request.selector.sets_own_size:
            return made
        return replace(made, break_even_keep=break_even_keep(main.kept.kept_share, saving.main, made.unit))

    def trainer_for(self, **settings: Any) -> pl.Trainer:
        """A Trainer on one device of the job."""
        index = self.job.trainer.strategy.root_device.index
        return self.job.make_trainer(
            **{"devices": 1 if index is None else [index], "num_nodes": 1, "strategy": "auto"} | settings
        )

    def _kept(self, data: SelectionDataModule, tuner: FineTuner, part: Part, folder: Path) -> KeptRows:
        """The rows of a part; throw-away weights of its scorer go into the folder."""

        def tune(request: SelectionRequest, scoring: ScoringModel) -> None:
            self._tune(request.labelled, scoring, part, tuner.seed, folder)

        return KeptRows(self.start.requests.get(part), data, tuner, part, self.tally, self.notes, tune)

    def _tune(self, data: Trainable, scoring: ScoringModel, part: Part, seed: int, folder: Path) -> None:
        """Forecast the tuning of a scoring model, and let one of a few steps stand for it."""
        tune = scoring.settings.tune
        assert tune is not None
        rows = first_by_hash(data, tune.rows)
        module = FineTuner(str(scoring.source.folder), tune.learning_rate, seed=seed, stage="tune_scorer")
        mine = data.trained_on(rows, scoring.source)
        trained = time_training(module, mine, self.trainer_for, folder)
        schedule = plans.Schedule(tune.max_epochs, accumulate=self.job.trainer.accumulate_grad_batches, validates=False)
        self._charge_training(mine, rows, schedule, part, "tune_scorer", trained)
        scoring.tuned_folder = folder / "export"
        self.notes.append(STANDS_IN.format("tuned scorer"))

    def _warm_up(self, warm_up: WarmUp, folder: Path, named: str) -> _Done:
        """Forecast a warm-up; a model that stands for the one it gives is left in the folder's ``export``."""
        tuner = FineTuner(
            self.job.model.checkpoint, warm_up.learning_rate, warm_up.weight_decay, warm_up.warmup,
            seed=self.job.model.seed, stage="warm_up",
        )  # fmt: skip
        kept = self._kept(warm_up.data, tuner, "warm_up", folder / "scorer")
        mine, trained = self._time_training(warm_up.data, tuner, kept.rows, folder)
        schedule = plans.Schedule(warm_up.max_epochs, warm_up.max_steps, self.job.trainer.accumulate_grad_batches)
        epochs = self._charge_training(mine, kept.rows, schedule, "warm_up", "warm_up", trained, saves=1)
        self._charge_proxies(mine, kept, trained)
        self.notes.append(STANDS_IN.format("warmed-up model"))
        return _Done(kept, trained, epochs, named)

    def _saving(self, done: _Done) -> Saving:
        """What selecting will save in a part, from the tally as from a ledger."""
        sizes = done.kept.sizes
        saving = replace(compute_saving(self.tally.records, **sizes, part=done.kept.part), epochs=done.epochs)
        if self.tally.speed is None:
            return saving
        # on another machine time is FLOPs over speed, so that what is unknown of the one is of the other
        known = {name: getattr(saving.flops, name) for name in ("selection", "training", "saving")}
        if None not in known.values():
            return saving
        gone = {each.name: None for each in fields(Terms) if getattr(saving.flops, each.name) is None}
        return replace(saving, device_s=replace(saving.device_s, **gone))  # type: ignore[arg-type]

    def _time_training(
        self, data: SelectionDataModule, tuner: FineTuner, rows: np.ndarray, folder: Path
    ) -> tuple[SelectionDataModule, Trained]:
        """The data module of a training on some rows, and what was measured of it."""
        mine = data.trained_on(rows, tuner.source)
        mine.check_shares(self.tally.world_size)
        return mine, time_training(tuner, mine, self.trainer_for, folder)

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
        """Charge a fit with its validations and its checkpoints, in whole ones an epoch; gives its epochs."""
        ranks = self.tally.world_size
        fit = plans.training(data, rows, schedule, ranks, trained.forward, trained.both, trained.a_step)
        seconds = rated(fit.work, trained.step_s, trained.step_flops, trained.step_tokens)
        seconds += saves * fit.epochs * trained.save_s * ranks  # while one writes the others wait
        self.tally.charge(stage, part, fit.work, seconds, trained.method, trained.memory, parallel=True)
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
        work = plans.evaluating(tokens, data.max_batch_tokens, self.tally.world_size, trained.forward, limit)
        if not work.examples:
            return
        work = work.times(times)
        seconds = rated(work, trained.eval_s, trained.eval_flops, trained.eval_tokens)
        self.tally.charge(stage, part, work, seconds, trained.method, trained.memory, parallel=True)

    def _charge_proxies(self, data: SelectionDataModule, kept: KeptRows, trained: Trained) -> None:
        """The proxy runs of a search, which train what the fit or the warm-up trains."""
        for rows, proxy in kept.selecting.proxies if kept.selecting else []:
            accumulate = self.job.trainer.accumulate_grad_batches
            schedule = plans.Schedule(proxy.max_epochs, proxy.max_steps, accumulate, validates=False)
            self._charge_training(data, rows, schedule, kept.part, "search", trained)
            self._charge_evaluation(data, ("dev",), 1, kept.part, trained, stage="search")


@dataclass(frozen=True)
class _Done:
    """A part that was gone through.

    Args:
        kept: its rows.
        trained: what was measured of training on them.
        epochs: of that.
        named: the model that is trained.
    """

    kept: KeptRows
    trained: Trained
    epochs: float
    named: str


def _schedule(trainer: pl.Trainer) -> plans.Schedule:
    """How long the main fit goes on."""
    epochs, steps = trainer.max_epochs, trainer.max_steps
    if epochs in (None, -1) and steps < 0:
        raise UserError("A fit without an end cannot be forecast; give trainer.max_epochs or trainer.max_steps.")
    interval: Any = trainer.val_check_interval
    if getattr(trainer, "_val_check_time_interval", None) is not None:
        raise UserError(
            "Validations by the clock cannot be forecast; give trainer.val_check_interval in batches or as a share."
        )
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
