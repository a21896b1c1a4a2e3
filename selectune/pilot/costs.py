"""Costs that plans are solved with, forecast on a few batches: of the full training, and of choosing by each recipe."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from selectune.common.errors import UserError
from selectune.costs.record import CostRecord, Part, add_up
from selectune.costs.saving import SELECTION, Saving, Unit
from selectune.datamodules.base import SelectionDataModule
from selectune.forecast.forecaster import Forecaster, refuse_endless
from selectune.forecast.ledger import EstimatedCosts
from selectune.lightning_modules import FineTuner
from selectune.pilot.plans import Amount, Choice, FullTraining
from selectune.pilot.recipes import Recipe, Spec
from selectune.runs.job import Job, Start, request_of
from selectune.selection.request import BudgetAsked
from selectune.selectors.base import Selector


@dataclass
class Costs:
    """Forecasts the costs of a job's plans; throw-away weights go into a folder.

    Args:
        job: begun; a few steps of its model are trained.
        folder: for weights.

    Attributes:
        notes: what a reader should know.
    """

    job: Job
    folder: Path
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        forecaster = self._forecaster()
        model = self.job.model
        # the scorer of a choice to warm up on is the model before it
        self._before = FineTuner(model.checkpoint, model.learning_rate, seed=model.seed, stage="warm_up")
        warm_up = forecaster.warm_up(self.folder)
        self._warm_up = None if warm_up is None else _training(warm_up.saving)
        name = model.source.described
        part = forecaster.part("fit", self.job.data, model, self.job.trainer, self.folder / "model", name)
        self._saving, self._lengths = part.saving, part.lengths
        self.notes += [note for note in forecaster.notes if note not in self.notes]

    def full(self) -> FullTraining:
        """The training on all rows."""
        data, trainer, epochs = self.job.data, self.job.trainer, float(self._saving.epochs or 1)
        cost = _training(self._saving)
        return FullTraining(
            cost,
            "device_s" if cost.flops is None else "flops",
            len(self._lengths),
            float(self._lengths.mean()),
            epochs,
            max(1, round(math.ceil(len(self._lengths) / data.batch_size) * epochs)),
            data.batch_size,
            trainer.accumulate_grad_batches,
            trainer.max_steps >= 0,
        )

    def choices(
        self, recipes: Mapping[str, Recipe], share: float, named: Mapping[str, np.ndarray]
    ) -> dict[str, Choice]:
        """The choice of each recipe that chooses rows, by name.

        Args:
            recipes: by name.
            share: of the rows that is kept, about.
            named: row ids that each finding names.
        """
        made = {}
        for name, recipe in recipes.items():
            if recipe.selector is None:
                continue
            try:
                made[name] = self._of_warm_up(recipe, share) if name == "gotd" else self._choice(recipe, share, named)
            except UserError as error:
                made[name] = Choice(Amount(), 0, 0.0, problem=str(error))
        return made

    def _choice(self, recipe: Recipe, share: float, named: Mapping[str, np.ndarray]) -> Choice:
        lengths = self._lengths
        everything = np.arange(len(lengths))
        dropped = np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *(named[one] for one in recipe.dropped)]))
        sound = np.setdiff1d(everything, dropped)
        cost, kept = Amount(), sound
        if recipe.name != "random" and (recipe.filters or not recipe.dropped):
            # what filters leave is known without a budget; else what is kept depends on it
            spec = recipe.filtering or recipe.selector
            assert spec is not None
            cost, rows = self._selected(self.job.data, spec, share, self.job.model, filtering=bool(recipe.filters))
            kept = np.setdiff1d(rows, dropped)
        if not len(kept):
            return Choice(cost, 0, 0.0, problem="It would leave no row.")
        return Choice(cost, len(kept if recipe.filters else sound), float(lengths[kept].mean()))

    def _of_warm_up(self, recipe: Recipe, share: float) -> Choice:
        """The choice of rows to warm up on."""
        assert self.job.warm_up is not None
        assert self._warm_up is not None
        assert recipe.selector is not None
        data = self.job.warm_up.data
        cost, _ = self._selected(data, recipe.selector, share, self._before, part="warm_up")
        unit: Unit = "device_s" if cost.flops is None or self._warm_up.flops is None else "flops"
        return Choice(cost, len(data.pool), 0.0, of_full_warm_up=cost.over(self._warm_up, unit))

    def _selected(
        self,
        data: SelectionDataModule,
        spec: Spec,
        share: float,
        tuner: FineTuner,
        part: Part = "fit",
        filtering: bool = False,
    ) -> tuple[Amount, np.ndarray]:
        """The cost of a choice, and the ids of rows that it keeps."""
        choosing = data.without_selection()
        choosing.selector = made_of(spec)
        if not filtering:
            choosing.budget = BudgetAsked(keep_rows=max(1, int(share * len(data.pool))))
        request = request_of(self.job, part, choosing)
        assert request is not None
        forecaster = self._forecaster()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            _, rows = forecaster.select(request, tuner, self.folder / "scorer")
        self.notes += [note for note in forecaster.notes if note not in self.notes]
        return spent(one for one in forecaster.estimated.records if one.stage in SELECTION), rows

    def _forecaster(self) -> Forecaster:
        return Forecaster(self.job, Start({}), EstimatedCosts(self.job.ledger.device, self.job.trainer.world_size))


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
