"""Go through the stages of a fit: measure each on a few batches, and charge it for all of them."""

from __future__ import annotations

import time
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
from selectune.data.batches import tokens_at_once
from selectune.datamodules.base import SelectionDataModule
from selectune.forecast import plans
from selectune.forecast.ledger import EstimatedCosts, at_pace_of
from selectune.forecast.measure import Effort, Trained, time_training, usual
from selectune.forecast.result import break_even_keep
from selectune.forecast.sampled_selection import Selecting
from selectune.lightning_modules import FineTuner
from selectune.runs.job import Job, Start
from selectune.selection.entropy_head import choose_head
from selectune.selection.manifest import head_sentence
from selectune.selection.request import SelectionRequest
from selectune.selection.scoring import scoring_model
from selectune.selection.stage import earlier_selection
from selectune.selection.trainings import first_by_hash, observed_module, observing_data, until
from selectune.selectors.base import Budget
from selectune.signals.definitions import Rows

STANDS_IN = "A model of a few steps stands in for the {}, so which rows that will keep is less sure."
SAVES: dict[Part, float] = {"fit": 4 / 3, "warm_up": 1}  # whole checkpoints of an epoch


@dataclass(frozen=True)
class PartForecast:
    """A part of the run whose selection and training were charged."""

    saving: Saving
    ratio: ScorerRatio | None  # of its scorer; None where no model scores
    selecting: Selecting | None  # where rows are selected here
    lengths: np.ndarray  # tokens of each row of the pool, as the saving counts them
    whole: np.ndarray  # row ids that the saving compares with

    def break_even_keep(self) -> float | None:
        """The largest keep ratio at which selecting pays; None where it is not for the user to set."""
        selecting, lengths, whole = self.selecting, self.lengths, self.whole
        selector = selecting.request.selector if selecting else None
        if selecting is None or selector is None or selector.sets_own_size:
            return None

        def kept_share(keep: float) -> float | None:
            try:
                rows = selecting.again(selector, Budget(rows=max(1, int(len(whole) * keep + 0.5)))).rows
            except BudgetError:
                return None
            return float(lengths[rows].sum() / lengths[whole].sum())

        return break_even_keep(kept_share, self.saving)


@dataclass
class Forecaster:
    """Estimates the costs of a job."""

    job: Job
    start: Start
    estimated: EstimatedCosts
    notes: list[str] = field(default_factory=list)  # assumptions of the forecast
    effort: Effort = field(default_factory=usual)

    def run(self, folder: Path) -> tuple[Saving, float | None, ScorerRatio | None]:
        """Charge all stages; throw-away weights go into the folder.

        Returns:
            The saving, the keep ratio at which it breaks even, and the size of the scorer.
        """
        job, model = self.job, self.job.model
        name, parts = model.source.described, dict[Part, PartForecast]()
        if (warm_up := self.warm_up(folder)) is not None:
            parts["warm_up"], name = warm_up, f"{name}, warmed up"
        refuse_endless(job.trainer)
        parts["fit"] = self.part("fit", job.data, model, job.trainer, folder / "model", name)

        saving = parts["fit"].saving
        if "warm_up" in self.start.requests:
            saving = replace(saving, warm_up=parts["warm_up"].saving)
        for one in (part.saving for part in parts.values() if part.selecting):
            self.notes.append(
                f"With {one.kept_rows:,} of {one.pool_rows:,} rows about {percent(one.kept_tokens / one.pool_tokens)} "
                "of the tokens are kept: an estimate, from rows that were scored and the lengths of all."
            )
        main = parts[saving.main.part]
        return saving, main.break_even_keep(), main.ratio

    def warm_up(self, folder: Path) -> PartForecast | None:
        """Charge the warm-up, where there is one; the fit's model starts from what it leaves in the folder."""
        if (asked := self.job.warm_up) is None:
            return None
        model = self.job.model
        tuner = asked.module(model)
        trainer = self._trainer_for(max_epochs=asked.max_epochs, max_steps=asked.max_steps)
        part = self.part("warm_up", asked.data, tuner, trainer, folder / "warm_up", model.source.described)
        self.notes.append(STANDS_IN.format("warmed-up model"))
        model.start_from(str(folder / "warm_up" / "export"))
        return part

    def part(
        self, part: Part, data: SelectionDataModule, tuner: FineTuner, trainer: pl.Trainer, folder: Path, model: str
    ) -> PartForecast:
        """Charge the selection and the training of a part; the trained model is left in the folder's ``export``."""
        request, earlier, selecting = self.start.requests.get(part), None, None
        rows, scorer, weights = np.arange(len(data.pool)), "", None
        if request is not None and request.earlier is not None:
            selection = earlier_selection(request, self.estimated)
            rows, earlier = selection.rows, selection.manifest
            scorer, weights = earlier.scorer, earlier.scorer_parameters
        elif request is not None:
            selecting, rows = self.select(request, tuner, folder / "scorer")
            source = selecting.scoring.source
            # a scorer that is not named is the model that the training starts from
            scorer = source.described if self.job.scorer.checkpoint else model
            weights = n_parameters(source.folder)
        mine = data.trained_on(rows, tuner.source)
        mine.check_shares(self.estimated.world_size)
        trained = time_training(tuner, mine, self._trainer_for, folder, self.effort)
        epochs = self._charge_training(mine, rows, trainer, part, TRAINING[part], trained, SAVES[part])
        for tried, proxy in selecting.proxies if selecting else []:
            until = self._trainer_for(max_epochs=proxy.max_epochs, max_steps=proxy.max_steps, limit_val_batches=0)
            self._charge_training(mine, tried, until, part, "search", trained)
            self._charge_evaluation(mine, ("dev",), part, trained, "search")
        if part == "fit":
            self._charge_evaluation(mine, mine.held_out, part, trained, "evaluate", trainer.limit_test_batches)

        lengths = mine.encoded("train").input_tokens
        whole = np.arange(len(lengths))
        if part == "warm_up" and selecting:  # against what a pre-screen leaves, in tokens of the scorer
            lengths = selecting.rows.tokens.lengths
            whole = whole if selecting.screened is None else selecting.screened
        sizes = len(rows), len(whole), int(lengths[rows].sum()), int(lengths[whole].sum())
        if part == "warm_up" and earlier:
            pool = earlier.screened or {"rows": earlier.pool_rows, "input_tokens": earlier.pool_input_tokens}
            sizes = earlier.n_rows, pool["rows"], earlier.budget["input_tokens"], pool["input_tokens"]
        ratio = ScorerRatio.of(self.estimated.records, scorer, model, weights, trained.parameters, part)
        return PartForecast(self._saving(part, epochs, sizes), ratio, selecting, lengths, whole)

    def select(self, request: SelectionRequest, tuner: FineTuner, folder: Path) -> tuple[Selecting, np.ndarray]:
        """Charge a selection, and give its rows; throw-away weights of its scorer go into the folder."""
        assert request.selector is not None
        scoring = scoring_model(request, tuner, self.estimated)
        began = time.perf_counter()
        tokens = request.tokenized(request.pool, scoring.tokenizer)
        rows = Rows(request.pool, tokens, request.labels, prior=request.prior)
        budget = request.budget.of(len(rows), int(rows.n_tokens.sum()))
        read = Total(device_s=time.perf_counter() - began, flops=0.0, examples=len(rows))
        self.estimated.charge("prepare", request.part, read)
        names = scoring.with_sources(request.selector.requires | request.selector.requires_target)
        choose_head(request, tuner.source, scoring, names, self.estimated)
        if scoring.entropy_head is not None:
            self.notes.append(head_sentence(scoring.entropy_head))
        if scoring.tuned:
            asked, labelled = scoring.settings.tune, request.labelled
            assert asked is not None
            module = FineTuner(str(scoring.source.folder), asked.learning_rate, seed=tuner.seed, stage="tune_scorer")
            tuned_on = first_by_hash(labelled.pool, labelled.seed, asked.rows)
            mine = labelled.trained_on(tuned_on, scoring.source)
            trained = time_training(module, mine, self._trainer_for, folder, self.effort)
            trainer = self._trainer_for(max_epochs=asked.max_epochs, limit_val_batches=0)
            self._charge_training(mine, mine.train_rows, trainer, request.part, "tune_scorer", trained)
            scoring.tuned_folder = folder / "export"
            self.notes.append(STANDS_IN.format("tuned scorer"))
        selecting = Selecting(request, scoring, self.estimated, self.notes, effort=self.effort)
        selected = selecting.choose(request.selector, rows, budget).rows
        self._charge_observed(selecting, tuner.seed, folder / "observed")
        return selecting, selected

    def _charge_observed(self, selecting: Selecting, seed: int, folder: Path) -> None:
        """Charge the trainings whose course is a signal; throw-away weights of their model go into the folder."""
        request, scoring, trained = selecting.request, selecting.scoring, None
        for name, rows in selecting.observed:
            mine = observing_data(request.training, name, rows, scoring)
            if trained is None:
                observed = observed_module(scoring, seed)
                trained = time_training(observed, mine, self._trainer_for, folder, self.effort)
            trainer = self._trainer_for(**until(name, scoring.settings.dynamics))
            self._charge_training(
                mine, mine.train_rows, trainer, request.part, "tune_scorer", trained, evaluation="score"
            )

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
        evaluation: Stage = "evaluate",
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
            self._charge_evaluation(data, ("dev",), part, trained, evaluation, trainer.limit_val_batches, validations)
        return epochs

    def _charge_evaluation(
        self,
        data: SelectionDataModule,
        splits: tuple[str, ...],
        part: Part,
        trained: Trained,
        stage: Stage,
        limit: int | float = 1.0,
        times: int = 1,
    ) -> None:
        tokens = [data.encoded(split) for split in splits]
        at_once = tokens_at_once(data.max_batch_tokens, self.job.trainer.strategy.root_device)
        once = plans.evaluating(tokens, at_once, self.estimated.world_size, trained.forward, limit)
        if once.examples:
            cost = at_pace_of(trained.evaluations, sum(times * [once], Total()))
            self.estimated.charge(stage, part, cost, parallel=True)

    def _saving(self, part: Part, epochs: float, sizes: tuple[int, int, int, int]) -> Saving:
        """The saving of a part of such sizes, computed from the estimated records as from a ledger."""
        saving = compute_saving(self.estimated.records, *sizes, epochs=epochs, part=part)
        known = None not in (saving.flops.selection, saving.flops.training, saving.flops.saving)
        if known or self.estimated.speed is None:
            return saving
        # On another machine time is FLOPs over speed, so a term that is unknown in the one is unknown in the other.
        unknown = {each.name: None for each in fields(Terms) if getattr(saving.flops, each.name) is None}
        return replace(saving, device_s=replace(saving.device_s, **unknown))  # type: ignore[arg-type]


def refuse_endless(trainer: pl.Trainer) -> None:
    """Refuse a fit whose batches cannot be counted beforehand.

    Raises:
        UserError: it has no end, or is validated by the clock.
    """
    if trainer.max_epochs in (None, -1) and trainer.max_steps < 0:
        raise UserError("A fit without an end cannot be forecast; give trainer.max_epochs or trainer.max_steps.")
    if getattr(trainer, "_val_check_time_interval", None) is not None:
        raise UserError(
            "Validations by the clock cannot be forecast; give trainer.val_check_interval in batches or as a share."
        )
