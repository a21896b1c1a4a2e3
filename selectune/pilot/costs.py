"""Costs that plans are solved with, forecast on a few batches: of the full training, and of choosing by each recipe."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from selectune.common.errors import UserError
from selectune.costs.record import CostRecord, Part, add_up
from selectune.costs.saving import SELECTION, Saving, Unit
from selectune.data.splits import other_rows
from selectune.datamodules.base import SelectionDataModule
from selectune.forecast.forecaster import Forecaster, refuse_endless
from selectune.forecast.ledger import EstimatedCosts
from selectune.forecast.measure import Effort, usual
from selectune.lightning_modules import FineTuner
from selectune.pilot.plans import Amount, Choice, FullTraining
from selectune.pilot.recipes import Recipe, Spec, rows_left
from selectune.runs.job import Job, Start, request_of
from selectune.selection.request import BudgetAsked
from selectune.selectors.base import Budget, Selector


@dataclass
class Costs:
    """Forecast costs of a job's plans.

    Args:
        job: begun; a few steps of its model have been trained.
        folder: for throw-away weights.
        full: the training on all rows.
        lengths: tokens of each row of the pool, as the model reads it.
        before: the model before the warm-up, which scores the rows to warm up on.
        warm_up: cost of warming up on all rows; None without a warm-up.
        notes: what a reader should know.
        effort: the batches that are run.
    """

    job: Job
    folder: Path
    full: FullTraining
    lengths: np.ndarray
    before: FineTuner
    warm_up: Amount | None
    notes: list[str]
    effort: Effort

    @classmethod
    def of(cls, job: Job, folder: Path, effort: Effort | None = None) -> Costs:
        """Time a few batches of the warm-up, if there is one, and of the training on all rows."""
        data, trainer, model = job.data, job.trainer, job.model
        effort = effort or usual()
        forecaster = _forecaster(job, effort)
        before = FineTuner(model.checkpoint, model.learning_rate, seed=model.seed, stage="warm_up")
        warm_up = forecaster.warm_up(folder)
        part = forecaster.part("fit", data, model, trainer, folder / "model", model.source.described)
        cost, epochs = _training(part.saving), float(part.saving.epochs or 1)
        full = FullTraining(
            cost,
            "device_s" if cost.flops is None else "flops",
            len(part.lengths),
            float(part.lengths.mean()),
            epochs,
            max(1, round(math.ceil(len(part.lengths) / data.batch_size) * epochs)),
            data.batch_size,
            trainer.accumulate_grad_batches,
            trainer.max_steps >= 0,
        )
        warming = None if warm_up is None else _training(warm_up.saving)
        return cls(job, folder, full, part.lengths, before, warming, list(dict.fromkeys(forecaster.notes)), effort)

    def choices(
        self,
        recipes: Mapping[str, Recipe],
        share: float,
        findings: Mapping[str, Any],
        named: Mapping[str, np.ndarray],
    ) -> dict[str, Choice]:
        """The choice of each recipe that chooses rows, by name.

        Args:
            recipes: by name.
            share: the budget, of the full cost.
            findings: of the ``diagnosis.json`` of the pool, by name.
            named: row ids that each of them names.
        """
        made = {}
        for name, recipe in recipes.items():
            if recipe.selector is None:
                continue
            try:
                if name == "gotd":
                    made[name] = self._of_warm_up(recipe, share)
                else:
                    made[name] = self._choice(recipe, share, findings, named)
            except UserError as error:
                made[name] = Choice(Amount(), 0, 0.0, problem=str(error))
        return made

    def _choice(
        self, recipe: Recipe, share: float, findings: Mapping[str, Any], named: Mapping[str, np.ndarray]
    ) -> Choice:
        """The choice of rows to train on."""
        sound = other_rows(len(self.lengths), *(named[one] for one in recipe.dropped))
        cost, kept, left = Amount(), sound, len(sound)
        if recipe.filters:
            cost, _ = self._selected(self.job.data, recipe, share)
            left = rows_left(recipe, findings, len(sound))
        elif recipe.name != "random" and not recipe.dropped:
            cost, kept = self._selected(self.job.data, recipe, share)
        if not len(kept) or not left:
            return Choice(cost, 0, 0.0, problem="It would leave no row.")
        return Choice(cost, left, float(self.lengths[kept].mean()))

    def _of_warm_up(self, recipe: Recipe, share: float) -> Choice:
        """The choice of rows to warm up on."""
        assert self.job.warm_up is not None
        assert self.warm_up is not None
        data = self.job.warm_up.data
        cost, _ = self._selected(data, recipe, share, "warm_up")
        unit: Unit = "device_s" if cost.flops is None or self.warm_up.flops is None else "flops"
        return Choice(cost, len(data.pool), 0.0, of_full_warm_up=cost.over(self.warm_up, unit))

    def _selected(
        self, data: SelectionDataModule, recipe: Recipe, share: float, part: Part = "fit"
    ) -> tuple[Amount, np.ndarray]:
        """The cost of a choice, and ids of rows that it keeps; of one with filters, of what these leave."""
        choosing, forecaster = data.without_selection(), _forecaster(self.job, self.effort)
        spec = recipe.filtering or recipe.selector
        assert spec is not None
        choosing.selector = selector = made_of(spec)
        if not recipe.filters:
            choosing.budget = BudgetAsked(keep_rows=max(1, int(share * len(data.pool))))
        request = request_of(self.job, part, choosing)
        assert request is not None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            tuner = self.before if part == "warm_up" else self.job.model
            selecting, rows = forecaster.select(request, tuner, self.folder / "scorer")
            cost = spent(one for one in forecaster.estimated.records if one.stage in SELECTION)
            left = share - cost.over(self.full.cost, self.full.unit)
            if not recipe.filters and part == "fit" and 0 < left < share:
                # which rows are kept, and so how long they are, depends on the tokens that choosing leaves a budget for
                tokens = max(1, int(left * selecting.rows.n_tokens.sum()))
                rows = selecting.again(selector, Budget(tokens=tokens)).rows
        self.notes += [note for note in forecaster.notes if note not in self.notes]
        return cost, rows


def _forecaster(job: Job, effort: Effort) -> Forecaster:
    """A forecaster of a job in which nothing is selected, with costs of its own."""
    return Forecaster(job, Start({}), EstimatedCosts(job.ledger.device, job.trainer.world_size), effort=effort)


def refuse_uncountable(job: Job) -> None:
    """Refuse a job whose training has no length that could be shortened.

    Raises:
        UserError: it has no end, or trains on a part of its rows in each epoch.
    """
    refuse_endless(job.trainer)
    if job.trainer.limit_train_batches != 1.0:
        raise UserError(
            "A plan counts whole epochs; leave trainer.limit_train_batches out.", option="trainer.limit_train_batches"
        )


def spent(records: Iterable[CostRecord]) -> Amount:
    """The sum of some records, avoided ones included."""
    total = add_up(records)
    return Amount(total.flops, total.device_s)


def made_of(spec: Spec) -> Selector:
    """The object of a class with its arguments, as a config has it."""
    module, _, name = spec["class_path"].rpartition(".")
    made: Selector = getattr(import_module(module), name)(
        **{name: _value(value) for name, value in spec.get("init_args", {}).items()}
    )
    return made


def _value(given: Any) -> Any:
    if isinstance(given, list):
        return [_value(one) for one in given]
    return made_of(given) if isinstance(given, dict) and "class_path" in given else given


def _training(saving: Saving) -> Amount:
    device_s = saving.device_s.full_training
    return Amount(saving.flops.full_training, device_s or 0.0)


def on_one_device(job: Job) -> Job:
    """The job with Trainers of one device, as what is forecast is measured in one process."""

    def make_trainer(**settings: Any) -> Any:
        return job.make_trainer(**{"devices": 1, "num_nodes": 1, "strategy": "auto"} | settings)

    return replace(job, make_trainer=make_trainer)
