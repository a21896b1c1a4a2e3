"""The stages of a fit, in their order, each measured on a few batches and charged for all of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch

from selectune.costs import Part, Stage
from selectune.datamodules.base import SelectionDataModule
from selectune.errors import BudgetError, UserError
from selectune.forecast import plans
from selectune.forecast.measure import Trained, time_training
from selectune.forecast.result import Forecast, advice, break_even_keep
from selectune.forecast.selecting import Selecting
from selectune.forecast.tally import Tally, rated
from selectune.ledger import Ledger
from selectune.lightning_modules import FineTuner
from selectune.pipeline import Job, WarmUp
from selectune.preprocessing import scoring_model, use_selection
from selectune.savings import compute_saving
from selectune.scorer_ratio import ScorerRatio, n_parameters
from selectune.scoring.definitions import Rows, ScoringModel
from selectune.scoring.tuning import first_by_hash
from selectune.selectors.base import Budget
from selectune.sources import ModelSource

STANDS_IN = "A model of a few steps stands in for the {}, so which rows that will keep is less sure."


@dataclass
class Forecaster:
    """Goes through a job.

    Args:
        job: begun.
        tally: what is charged.
        notes: on what the forecast rests.
    """

    job: Job
    tally: Tally
    notes: list[str] = field(default_factory=list)

    def run(self, folder: Path) -> Forecast:
        """All stages.

        Args:
            folder: for throw-away weights.
        """
        job, data = self.job, self.job.data
        checkpoint, named = job.model.checkpoint, job.model.source.described
        if job.warm_up:
            checkpoint, named = self._warm_up(job.warm_up, folder / "warm_up"), f"{named}, warmed up"
        tuner = FineTuner(
            checkpoint, job.model.learning_rate, job.model.weight_decay, job.model.warmup, job.model.optimizer,
            job.model.lr_scheduler, job.model.head, job.model.seed,
        )  # fmt: skip
        chosen = _Chosen(self, data, tuner, "fit", folder / "scorer")
        trained = self._time_training(data, tuner, chosen.rows, folder / "model")
        schedule = _schedule(job.trainer)
        epochs = self._charge_training(data, chosen.rows, schedule, "fit", "train", trained, saves=4 / 3)
        self._charge_proxies(chosen, trained)
        for split in data.held_out:
            self._charge_evaluation(data, split, 1, "fit", trained)

        lengths = data.tokens["train"].input_tokens
        pool, kept = int(lengths.sum()), int(lengths[chosen.rows].sum())
        saving = compute_saving(self.tally.records, len(chosen.rows), len(lengths), kept, pool, epochs)
        ratio = chosen.ratio(self.tally, named, trained.parameters, None if job.scorer.checkpoint else named)
        made = Forecast(
            self.tally.records, saving, None, len(lengths), len(chosen.rows) / len(lengths), epochs, ratio, [], "",
            advice=advice(ratio, saving),
        )  # fmt: skip
        if chosen.selecting is None:
            return made
        self.notes.append(
            f"With {len(chosen.rows):,} of {len(lengths):,} rows about {kept / pool:.1%} of the tokens are kept: an "
            "estimate, from rows that were scored and the lengths of all.".replace("%", " %")
        )
        if data.selector is not None and data.selector.sets_own_size:
            return made
        return replace(made, break_even_keep=break_even_keep(chosen.kept_share(lengths), saving, made.unit))

    def trainer_for(self, **settings: Any) -> pl.Trainer:
        """A Trainer on one device of the job."""
        index = self.job.trainer.strategy.root_device.index
        return self.job.make_trainer(
            **{"devices": 1 if index is None else [index], "num_nodes": 1, "strategy": "auto"} | settings
        )

    def tune(self, data: SelectionDataModule, scoring: ScoringModel, part: Part, seed: int, folder: Path) -> None:
        """Forecast the tuning of a scoring model, and let one of a few steps stand for it."""
        tune = scoring.settings.tune
        assert tune is not None
        rows = first_by_hash(data, tune.rows)
        module = FineTuner(str(scoring.source.folder), tune.learning_rate, seed=seed, stage="tune_scorer")
        mine = data.trained_on(rows, scoring.source)
        trained = time_training(module, mine, self.trainer_for, folder)
        schedule = plans.Schedule(tune.max_epochs, accumulate=self.job.trainer.accumulate_grad_batches, validations=0)
        self._charge_training(mine, rows, schedule, part, "tune_scorer", trained)
        scoring.tuned_folder = folder / "export"
        self.notes.append(STANDS_IN.format("tuned scorer"))

    def _warm_up(self, warm_up: WarmUp, folder: Path) -> str:
        """Forecast a warm-up; the folder of a model that stands for the one it gives."""
        tuner = FineTuner(
            self.job.model.checkpoint, warm_up.learning_rate, warm_up.weight_decay, warm_up.warmup,
            seed=self.job.model.seed, stage="warm_up",
        )  # fmt: skip
        chosen = _Chosen(self, warm_up.data, tuner, "warm_up", folder / "scorer")
        trained = self._time_training(warm_up.data, tuner, chosen.rows, folder)
        schedule = plans.Schedule(warm_up.max_epochs, warm_up.max_steps, self.job.trainer.accumulate_grad_batches)
        self._charge_training(warm_up.data, chosen.rows, schedule, "warm_up", "warm_up", trained, saves=1)
        self.notes.append(STANDS_IN.format("warmed-up model"))
        return str(folder / "export")

    def _time_training(self, data: SelectionDataModule, tuner: FineTuner, rows: np.ndarray, folder: Path) -> Trained:
        mine = data.trained_on(rows, tuner.source)
        trained = time_training(tuner, mine, self.trainer_for, folder)
        data.tokens, data.tokenizer = mine.tokens, mine.tokenizer
        return trained

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
        work, epochs = plans.training(data, rows, schedule, ranks, trained.forward, trained.both, trained.a_step)
        seconds = rated(work, trained.step_s, trained.step_flops, trained.step_tokens)
        self.tally.charge(stage, part, work, seconds + saves * epochs * trained.save_s, trained.method, trained.memory)
        if validations := int(epochs * schedule.validations + 1e-9):
            self._charge_evaluation(data, "dev", validations, part, trained)
        return epochs

    def _charge_evaluation(
        self, data: SelectionDataModule, split: str, times: int, part: Part, trained: Trained, stage: Stage = "evaluate"
    ) -> None:
        if split not in data.tokens:
            data.tokens[split] = data.encode(split, data.model_tokenizer())
        ranks = self.tally.world_size
        work = plans.evaluating(data.tokens[split], data.max_batch_tokens, ranks, trained.forward).times(times)
        seconds = rated(work, trained.eval_s, trained.eval_flops, trained.eval_tokens)
        self.tally.charge(stage, part, work, seconds, trained.method, trained.memory)

    def _charge_proxies(self, chosen: _Chosen, trained: Trained) -> None:
        """The proxy runs of a search, which train what the fit trains."""
        data, proxies = chosen.data, chosen.selecting.proxies if chosen.selecting else []
        for rows, proxy in proxies:
            accumulate = self.job.trainer.accumulate_grad_batches
            schedule = plans.Schedule(proxy.max_epochs, proxy.max_steps, accumulate, validations=0)
            self._charge_training(data, rows, schedule, chosen.part, "select", trained)
            self._charge_evaluation(data, "dev", 1, chosen.part, trained, stage="select")


class _Chosen:
    """The rows that a data module will train on.

    Attributes:
        rows: row ids, ascending.
        selecting: how they were chosen; None where nothing is chosen here.
    """

    def __init__(
        self, forecaster: Forecaster, data: SelectionDataModule, tuner: FineTuner, part: Part, folder: Path
    ) -> None:
        self.data, self.part = data, part
        self.rows = np.arange(len(data.pool))
        self.selecting: Selecting | None = None
        self.scorer: ModelSource | None = None
        tally = forecaster.tally
        if data.selection is not None:
            ledger = Ledger(device=tally.device)
            use_selection(data, ledger, part)
            tally.records += ledger.records
            assert data.chosen is not None
            self.rows = data.chosen.rows
            return
        if data.selector is None:
            return
        scoring = scoring_model(data, tuner, Ledger(device=tally.device))
        began = perf_counter()
        tokens = data.tokenized("train", scoring.tokenizer)
        self.pool = Rows(data.pool, tokens, data.labels.get("train"))
        budget = data.budget(int(self.pool.n_tokens.sum()))
        assert data.pool.fingerprint
        tally.charge("prepare", part, plans.Work(len(tokens)), perf_counter() - began, "no arithmetic")
        if scoring.tuned:
            forecaster.tune(data, scoring, part, tuner.seed, folder)
        device = torch.device(tally.device)
        self.selecting = Selecting(data, scoring, tally, part, device, forecaster.notes)
        self.rows = self.selecting.choose(data.selector, self.pool, budget).rows
        self.scorer = scoring.source

    def kept_share(self, lengths: np.ndarray) -> Callable[[float], float | None]:
        """The share of the tokens that is kept at a share of the rows; None where it cannot be kept.

        Args:
            lengths: tokens of every row.
        """

        def share(keep: float) -> float | None:
            assert self.selecting is not None
            assert self.data.selector is not None
            budget = Budget(rows=max(1, int(len(lengths) * keep + 0.5)))
            try:
                rows = self.selecting.again(self.data.selector, self.pool, budget).rows
            except BudgetError:
                return None
            return float(lengths[rows].sum() / lengths.sum())

        return share

    def ratio(self, tally: Tally, model: str, parameters: int, named: str | None) -> ScorerRatio | None:
        """The scorer, under another name than it was found by if one is given, beside the model."""
        if self.scorer is None:
            return None
        scorer = named or self.scorer.described
        return ScorerRatio.of(tally.records, scorer, model, n_parameters(self.scorer.folder), parameters)


def _schedule(trainer: pl.Trainer) -> plans.Schedule:
    """How long the main fit goes on."""
    epochs, steps = trainer.max_epochs, trainer.max_steps
    if epochs in (None, -1) and steps < 0:
        raise UserError("A fit without an end cannot be forecast; give trainer.max_epochs or trainer.max_steps.")
    every: Any = trainer.check_val_every_n_epoch or 1
    interval: Any = trainer.val_check_interval
    often = max(1, int(1 / interval)) if isinstance(interval, float) and interval > 0 else 1
    return plans.Schedule(
        sys.maxsize if epochs in (None, -1) else int(epochs),
        steps,
        trainer.accumulate_grad_batches,
        trainer.limit_train_batches,
        0 if trainer.limit_val_batches == 0 else often / every,
    )
