"""Go through the stages of a fit: measure each on a few batches, and charge it for all of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np

from selectune.common.errors import BudgetError, UserError
from selectune.costs.compute_saving import compute_saving
from selectune.costs.record import TRAINING, Part, Stage, Total
from selectune.costs.saving import Saving, Terms, percent
from selectune.costs.scorer_ratio import ScorerRatio, n_parameters
from selectune.datamodules.base import SelectionDataModule
from selectune.forecast import plans
from selectune.forecast.ledger import EstimatedCosts, at_pace_of
from selectune.forecast.measure import Trained, time_training
from selectune.forecast.result import break_even_keep
from selectune.forecast.sampled_selection import Selecting
from selectune.lightning_modules import FineTuner
from selectune.runs.job import Job, Start
from selectune.selection.manifest import Selection
from selectune.selection.request import SelectionRequest
from selectune.selection.stage import earlier_selection, scoring_model
from selectune.selection.trainings import first_by_hash
from selectune.selectors.base import Budget
from selectune.signals.definitions import Rows

STANDS_IN = "A model of a few steps stands in for the {}, so which rows that will keep is less sure."
SAVES: dict[Part, float] = {"fit": 4 / 3, "warm_up": 1}  # whole checkpoints of an epoch


@dataclass(frozen=True)
class PartForecast:
    """A part of the run whose selection and training were charged."""

    part: Part
    data: SelectionDataModule  # that trains on the kept rows, as far as a sample tells which these are
    model: str  # name of the model that is trained
    trained: Trained
    epochs: float
    selecting: Selecting | None  # where rows are selected here
    earlier: Selection | None  # where an earlier selection is used

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row of the pool, as a saving counts them."""
        by_scorer = self.part == "warm_up" and self.selecting is not None
        return self.selecting.rows.tokens.lengths if by_scorer else self.data.encoded("train").input_tokens

    @property
    def whole(self) -> np.ndarray:
        """Row ids that a saving compares with: for a warm-up those that a pre-screen leaves, if there is one."""
        screened = self.selecting.screened if self.selecting and self.part == "warm_up" else None
        return np.arange(len(self.lengths)) if screened is None else screened

    @property
    def sizes(self) -> dict[str, int]:
        """Rows and tokens, kept and of the pool, as `compute_saving` takes them."""
        kept, whole, lengths = self.data.train_rows, self.whole, self.lengths
        sizes = [len(kept), int(lengths[kept].sum()), len(whole), int(lengths[whole].sum())]
        if self.earlier is not None and self.part == "warm_up":
            manifest = self.earlier.manifest
            pool = manifest.screened or {"rows": manifest.pool_rows, "input_tokens": manifest.pool_input_tokens}
            sizes = [manifest.n_rows, manifest.budget["input_tokens"], pool["rows"], pool["input_tokens"]]
        return dict(zip(("kept_rows", "kept_tokens", "pool_rows", "pool_tokens"), sizes))

    def break_even_keep(self, saving: Saving) -> float | None:
        """The largest keep ratio at which selecting pays; None where it is not for the user to set."""
        selecting = self.selecting
        if selecting is None or selecting.request.selector is None or selecting.request.selector.sets_own_size:
            return None
        selector, lengths, whole = selecting.request.selector, self.lengths, self.whole

        def kept_share(keep: float) -> float | None:
            try:
                rows = selecting.again(selector, Budget(rows=max(1, int(len(whole) * keep + 0.5)))).rows
            except BudgetError:
                return None
            return float(lengths[rows].sum() / lengths[whole].sum())

        return break_even_keep(kept_share, saving)

    def scorer_ratio(self, costs: EstimatedCosts, same: bool) -> ScorerRatio | None:
        """The scorer relative to the model; `same` where the checkpoint scores that the training starts from."""
        if self.earlier is not None:
            scorer, parameters = self.earlier.manifest.scorer, self.earlier.manifest.scorer_parameters
        elif self.selecting is not None:
            source = self.selecting.scoring.source
            scorer, parameters = self.model if same else source.described, n_parameters(source.folder)
        else:
            return None
        return ScorerRatio.of(costs.records, scorer, self.model, parameters, self.trained.parameters, self.part)


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
        name, parts = model.source.described, dict[Part, PartForecast]()
        if asked := job.warm_up:
            tuner = FineTuner(
                model.checkpoint, asked.learning_rate, asked.weight_decay, asked.warmup, seed=model.seed,
                stage="warm_up",
            )  # fmt: skip
            trainer = self._trainer_for(max_epochs=asked.max_epochs, max_steps=asked.max_steps)
            parts["warm_up"] = self._part("warm_up", asked.data, tuner, trainer, folder / "warm_up", name)
            self.notes.append(STANDS_IN.format("warmed-up model"))
            model.start_from(str(folder / "warm_up" / "export"))
            name = f"{name}, warmed up"
        if job.trainer.max_epochs in (None, -1) and job.trainer.max_steps < 0:
            raise UserError("A fit without an end cannot be forecast; give trainer.max_epochs or trainer.max_steps.")
        if getattr(job.trainer, "_val_check_time_interval", None) is not None:
            raise UserError(
                "Validations by the clock cannot be forecast; give trainer.val_check_interval in batches or as a share."
            )
        fit = parts["fit"] = self._part("fit", job.data, model, job.trainer, folder / "model", name)
        limit = job.trainer.limit_test_batches
        self._charge_evaluation(fit.data, job.data.held_out, "fit", fit.trained, "evaluate", limit)

        saving, warm_up = self._saving(fit), parts.get("warm_up")
        if warm_up and (warm_up.selecting or warm_up.earlier is not None):
            saving = replace(saving, warm_up=self._saving(warm_up))
        for sizes in (part.sizes for part in parts.values() if part.selecting):
            self.notes.append(
                f"With {sizes['kept_rows']:,} of {sizes['pool_rows']:,} rows about "
                f"{percent(sizes['kept_tokens'] / sizes['pool_tokens'])} of the tokens are kept: an estimate, from "
                "rows that were scored and the lengths of all."
            )
        main = parts[saving.main.part]
        ratio = main.scorer_ratio(self.estimated, same=job.scorer.checkpoint is None)
        return saving, main.break_even_keep(saving.main), ratio

    def _part(
        self, part: Part, data: SelectionDataModule, tuner: FineTuner, trainer: pl.Trainer, folder: Path, model: str
    ) -> PartForecast:
        """Charge the selection and the training of a part; the trained model is left in the folder's ``export``."""
        request, selecting, earlier, rows = self.start.requests.get(part), None, None, np.arange(len(data.pool))
        if request is not None and request.earlier is not None:
            earlier = earlier_selection(request, self.estimated)
            rows = earlier.rows
        elif request is not None:
            selecting, rows = self._select(request, tuner, folder / "scorer")
        mine = data.trained_on(rows, tuner.source)
        mine.check_shares(self.estimated.world_size)
        trained = time_training(tuner, mine, self._trainer_for, folder)
        epochs = self._charge_training(mine, rows, trainer, part, TRAINING[part], trained, SAVES[part])
        for tried, proxy in selecting.proxies if selecting else []:
            until = self._trainer_for(max_epochs=proxy.max_epochs, max_steps=proxy.max_steps, limit_val_batches=0)
            self._charge_training(mine, tried, until, part, "search", trained)
            self._charge_evaluation(mine, ("dev",), part, trained, "search")
        return PartForecast(part, mine, model, trained, epochs, selecting, earlier)

    def _select(self, request: SelectionRequest, tuner: FineTuner, folder: Path) -> tuple[Selecting, np.ndarray]:
        """Charge a selection, and give its rows; throw-away weights of its scorer go into the folder."""
        assert request.selector is not None
        scoring = scoring_model(request, tuner, self.estimated)
        began = time.perf_counter()
        tokens = request.tokenized(request.pool, scoring.tokenizer)
        rows = Rows(request.pool, tokens, request.labels)
        budget = request.budget.of(len(rows), int(rows.n_tokens.sum()))
        read = Total(device_s=time.perf_counter() - began, flops=0.0, examples=len(rows))
        self.estimated.charge("prepare", request.part, read)
        if scoring.tuned:
            asked, labelled = scoring.settings.tune, request.labelled
            assert asked is not None
            module = FineTuner(str(scoring.source.folder), asked.learning_rate, seed=tuner.seed, stage="tune_scorer")
            mine = labelled.trained_on(first_by_hash(labelled, asked.rows), scoring.source)
            trained = time_training(module, mine, self._trainer_for, folder)
            trainer = self._trainer_for(max_epochs=asked.max_epochs, limit_val_batches=0)
            self._charge_training(mine, mine.train_rows, trainer, request.part, "tune_scorer", trained)
            scoring.tuned_folder = folder / "export"
            self.notes.append(STANDS_IN.format("tuned scorer"))
        selecting = Selecting(request, scoring, self.estimated, self.notes)
        return selecting, selecting.choose(request.selector, rows, budget).rows

    def _trainer_for(self, **settings: Any) -> pl.Trainer:
        """A Trainer on one device of the job, which writes nothing."""
        index = self.job.trainer.strategy.root_device.index
        one = {
            "devices": 1 if index is None else [index], "num_nodes": 1, "strategy": "auto",
            "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
        }  # fmt: skip
        return self.job.make_trainer(**one, **settings)

    def _charge_training(
        self,
        data: SelectionDataModule,
        rows: np.ndarray,
        trainer: pl.Trainer,
        part: Part,
        stage: Stage,
        trained: Trained,
        saves: float = 0.0,
    ) -> float:
        """Charge a fit with its validations and so many whole checkpoints an epoch; gives its epochs."""
        ranks = self.estimated.world_size
        work, epochs, validations = plans.training(
            data, rows, trainer, ranks, trained.forward, trained.both, trained.a_step
        )
        # while one rank writes the others wait
        writing = Total(device_s=saves * epochs * trained.save_s * ranks)
        self.estimated.charge(stage, part, at_pace_of(trained.steps, work) + writing, parallel=True)
        if validations:
            limit = trainer.limit_val_batches
            self._charge_evaluation(data, ("dev",), part, trained, "evaluate", limit, validations)
        return epochs

    def _charge_evaluation(
        self,
        data: SelectionDataModule,
        splits: Sequence[str],
        part: Part,
        trained: Trained,
        stage: Stage,
        limit: int | float = 1.0,
        times: int = 1,
    ) -> None:
        tokens = [data.encoded(split) for split in splits]
        once = plans.evaluating(tokens, data.max_batch_tokens, self.estimated.world_size, trained.forward, limit)
        if once.examples:
            cost = at_pace_of(trained.evaluations, sum(times * [once], Total()))
            self.estimated.charge(stage, part, cost, parallel=True)

    def _saving(self, done: PartForecast) -> Saving:
        """The saving of a part, computed from the estimated records as from a ledger."""
        saving = compute_saving(self.estimated.records, **done.sizes, epochs=done.epochs, part=done.part)
        known = None not in (saving.flops.selection, saving.flops.training, saving.flops.saving)
        if known or self.estimated.speed is None:
            return saving
        # On another machine time is FLOPs over speed, so a term that is unknown in the one is unknown in the other.
        unknown = {each.name: None for each in fields(Terms) if getattr(saving.flops, each.name) is None}
        return replace(saving, device_s=replace(saving.device_s, **unknown))  # type: ignore[arg-type]
