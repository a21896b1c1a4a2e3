"""What the verbs do, on every rank: a run from its claim to its report, top to bottom.

``fit`` is: warm up (if asked), select (if asked), fine-tune, evaluate once, export, report.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten
from typing import Any

import lightning.pytorch as pl
import numpy as np

from selectune.callbacks import CostLedger, Export, Savings
from selectune.callbacks.checkpoints import last_checkpoints
from selectune.callbacks.export import export
from selectune.callbacks.training_check import demand_trained, finite_weights, training_failure
from selectune.common import checks
from selectune.common.errors import TrainingError, UserError
from selectune.common.files import clear_partials, default_cache
from selectune.common.ranks import on_rank_zero, world
from selectune.common.training_outcome import TrainingOutcome
from selectune.costs.ledger import Ledger
from selectune.costs.record import Part, add_up
from selectune.data.sources import find_model
from selectune.data.tokens import load_tokenizer
from selectune.datamodules.base import SelectionDataModule
from selectune.lightning_modules.fine_tuner import FineTuner
from selectune.lightning_modules.scorers.settings import ScorerSettings
from selectune.runs.directory import Run
from selectune.runs.metrics_log import MetricsLog
from selectune.selection.stage import select_rows

SHOWN_ROWS = 10


@dataclass
class WarmUp:
    """A language-model warm-up before fine-tuning, on rows of its own.

    Args:
        data: texts to warm up on, with a selector of their own if wanted.
        max_epochs: passes over them.
        max_steps: stop after so many steps; -1 for no such limit.
        learning_rate: the highest that the schedule reaches.
        weight_decay: of AdamW.
        warmup: part of the steps in which the learning rate rises.

    Raises:
        UserError: a number out of its range.
    """

    data: SelectionDataModule
    max_epochs: int = 1
    max_steps: int = -1
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    warmup: float = 0.06

    def __post_init__(self) -> None:
        checks.limit("warm_up.max_epochs", self.max_epochs)
        checks.limit("warm_up.max_steps", self.max_steps)
        checks.positive("warm_up.learning_rate", self.learning_rate)
        checks.not_negative("warm_up.weight_decay", self.weight_decay)
        checks.between("warm_up.warmup", self.warmup, 0, 1)
        if self.max_epochs == self.max_steps == -1:
            raise UserError("warm_up.max_epochs is -1 as warm_up.max_steps is, so it never ends; give one of them.")


@dataclass
class Job:
    """What a verb was asked to do.

    Args:
        trainer: for the main fit and the evaluations; its strategy starts the other ranks.
        make_trainer: gives a Trainer of the same devices for another stage.
        model: to fine-tune.
        data: to fine-tune on.
        output: the run directory, None for a dry run.
        config: as ``config.yaml`` will hold it.
        scorer: settings of the scoring model.
        warm_up: a warm-up, if asked for.
        ckpt_path: as given.
        overwrite: as given.
        keep_models: leave checkpoints and the exported model when a fit ends.
        ledger: what is charged.
        new: whether the run directory was empty when it was claimed.
    """

    trainer: pl.Trainer
    make_trainer: Callable[..., pl.Trainer]
    model: FineTuner
    data: SelectionDataModule
    output: Path | None
    config: dict[str, Any]
    scorer: ScorerSettings
    warm_up: WarmUp | None = None
    ckpt_path: str | None = None
    overwrite: bool = False
    keep_models: bool = True
    ledger: Ledger = field(default_factory=Ledger)
    new: bool = False

    @property
    def run(self) -> Run:
        """The run directory."""
        assert self.output is not None
        return self._run

    def __post_init__(self) -> None:
        self._run = Run(self.output or Path())


def fit(job: Job) -> None:
    """Warm up, select, fine-tune, evaluate, export and report, into one run directory with one ledger.

    Raises:
        TrainingError: the loss is not finite. Of a fine-tuning everything is written all the same, and the run is
            finished; where it is the warm-up's, nothing follows it, and the same command says so again.
    """
    with abandoned_on_mistakes(job):
        checkpoint = begin(job, "fit")
        _select_and_warm_up(job)
        job.trainer.fit(job.model, job.data, ckpt_path=checkpoint, weights_only=True)
    best = on_rank_zero(job.run.best_checkpoint)  # None: no validation was asked for; the weights are those of the end
    _quietly_test(job, str(best) if best else None)
    # other ranks are started by the plain command line, which keeps models
    if on_rank_zero(lambda: job.keep_models) and finite_weights(job.model):
        export(job.model, job.data, job.run.export)
    metrics = {name: float(value) for name, value in job.trainer.callback_metrics.items()}
    on_rank_zero(lambda: _report(job, metrics))
    demand_trained(job.trainer)


def select(job: Job) -> None:
    """The preprocessing stage alone, warm-up included, since the warmed-up model scores."""
    if job.data.selector is None and job.data.selection is None:
        raise UserError("There is nothing to select: data.selector is not given; name one, e.g. IGSE.")
    if job.warm_up and job.output is None:
        raise UserError("With warm_up a dry run would have to train first; run `select --output RUN` instead.")
    with abandoned_on_mistakes(job):
        begin(job, "select")
        _select_and_warm_up(job)
    on_rank_zero(lambda: _show_selection(job))


def estimate(job: Job, device_flops: float | None = None, utilisation: float | None = None) -> None:
    """Forecast what a fit will cost and whether selecting will pay, from a few batches; nothing is trained or selected.

    The ledger of the run is left alone: what a forecast takes is said in the forecast.
    """
    from selectune.forecast import Machine, forecast
    from selectune.forecast.estimate import print_forecast

    machine = Machine.of(device_flops, utilisation)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UserError("estimate measures in one process, for as many as trainer.devices says; start it alone.")
    with abandoned_on_mistakes(job):
        begin(job, "estimate")
        job.ledger.path = None
        made = forecast(job, machine)
    if job.output is not None:
        made.write(job.run.path)
    print_forecast(made)


def evaluate(job: Job, verb: str) -> Any:
    """``validate``, ``test`` or ``predict`` with the run's exported model, else with `model.checkpoint`."""
    job.data.selector = job.data.selection = None
    job.data.keep = job.data.keep_rows = job.data.keep_tokens = None
    if on_rank_zero(job.run.export.is_dir):
        job.model.checkpoint = str(job.run.export)
    job.model.needs_trained_head = job.ckpt_path is None
    claimed = begin(job, verb)
    checkpoint = claimed if job.ckpt_path else None
    if verb == "predict":
        from selectune.callbacks.predictions import write_predictions

        found: Any = job.trainer.predict(job.model, job.data, ckpt_path=checkpoint, weights_only=True)
        return write_predictions(job.run.path / "predictions.parquet", found or [])
    method = getattr(job.trainer, verb)
    return method(job.model, job.data, ckpt_path=checkpoint, weights_only=True)


@contextmanager
def abandoned_on_mistakes(job: Job) -> Iterator[None]:
    """Leave nothing of a new run whose start ended in a user's mistake, so that the mended command finds its place."""
    try:
        yield
    except UserError:
        if job.new and world()[0] == 0:
            job.run.abandon()
        raise


def _select_and_warm_up(job: Job) -> None:
    if job.warm_up:
        _warm_up(job, job.warm_up)
    _select(job, job.data, job.run.selection if job.output else None, "fit")


def begin(job: Job, verb: str) -> str | None:
    """Load the data, which finds a user's mistakes, then let rank 0 claim the directory. Gives the checkpoint."""
    parts = [job.data, *([job.warm_up.data] if job.warm_up else [])]
    on_rank_zero(lambda: clear_partials(default_cache()))
    on_rank_zero(lambda: job.model.source)
    if (scorer := job.scorer.checkpoint) is not None:
        on_rank_zero(lambda: _check_model(scorer))
    for data in parts:
        data.task = job.data if data is not job.data else None
        data.scorer, data.source = job.scorer, job.model.source
        data.check_length(data.model_tokenizer())
        on_rank_zero(data.load)  # first alone: it may build caches
        data.load()
    for data in parts:  # when all of them are there, as a target may be another's rows
        if data.selector is not None and data.selector.requires_target:
            on_rank_zero(lambda data=data: len(data.target_pool))  # type: ignore[misc]
            assert len(data.target_pool)
    rank, size = world()
    job.ledger.rank, job.ledger.world_size = rank, size
    job.ledger.device = str(job.trainer.strategy.root_device)
    if job.output is None:
        return None
    claim = on_rank_zero(lambda: job.run.claim(verb, job.config, job.ckpt_path, job.overwrite))
    job.ledger.path, job.ledger.attempt, job.new = job.run.costs, claim.attempt, claim.new
    job.ledger.resumed = claim.resumed
    return claim.checkpoint


def _check_model(name: str) -> None:
    """Find a model and read its tokenizer, so that a damaged one is told before anything is trained."""
    load_tokenizer(find_model(name).folder)


def _select(job: Job, data: SelectionDataModule, folder: Path | None, part: Part) -> None:
    if data.selector is None and data.selection is None:
        return

    def trainer_for(**settings: Any) -> pl.Trainer:
        return job.make_trainer(logger=False, enable_checkpointing=False, **settings)

    select_rows(data, job.model, trainer_for, job.ledger, part, folder)


def _warm_up(job: Job, warm_up: WarmUp) -> None:
    """Train a language-model head on the warm-up's rows; the fine-tuning starts from what that gives."""
    run = Run(job.run.path / "warm_up")
    if not on_rank_zero(lambda: run.export.is_dir() or _failure_in(run.path) is not None):
        _select(job, warm_up.data, run.selection, "warm_up")
        module = FineTuner(
            job.model.checkpoint, warm_up.learning_rate, warm_up.weight_decay, warm_up.warmup,
            seed=job.model.seed, stage="warm_up",
        )  # fmt: skip
        last = on_rank_zero(run.checkpoint_to_go_on_from)
        trainer = job.make_trainer(
            callbacks=[
                CostLedger(ledger=job.ledger, stage="warm_up", part="warm_up"),
                *last_checkpoints(run.checkpoints),
                Export(run.export),
            ],
            logger=MetricsLog(run.path),
            max_epochs=warm_up.max_epochs,
            max_steps=warm_up.max_steps,
        )
        trainer.fit(module, warm_up.data, ckpt_path=last, weights_only=True)
    if (failure := on_rank_zero(lambda: _failure_in(run.path))) is not None:  # weights that would spoil what follows
        on_rank_zero(lambda: _write_report(job.run.path))
        raise TrainingError(f"{failure} Nothing was fine-tuned; --overwrite runs it anew.")
    job.model.checkpoint = str(run.export)
    job.model.forget_source()


def _failure_in(folder: Path) -> str | None:
    """The sentence of a training that left its outcome in a folder, and is not finite."""
    outcome = TrainingOutcome.read(folder)
    return outcome.not_finite.message if outcome is not None and outcome.not_finite is not None else None


def _quietly_test(job: Job, checkpoint: str | None) -> None:
    job.trainer.test(job.model, job.data, ckpt_path=checkpoint, weights_only=True, verbose=False)


def _show_selection(job: Job) -> None:
    """Print the selection's size, what it cost so far, and ten rows of either kind."""
    data, spent = job.data, add_up(record for record in job.ledger.records if not record.cached)
    assert data.chosen is not None
    budget = data.chosen.manifest.budget
    flops = "unknown FLOPs" if spent.flops is None else f"{spent.flops / 1e9:,.1f} GFLOP"
    print(
        f"selected {budget['rows']:,} of {len(data.pool):,} rows and {budget['tokens']:,} of "
        f"{data.chosen.manifest.pool_tokens:,} tokens; cost so far: {spent.device_s:,.1f} s, {flops}"
    )
    dropped = np.setdiff1d(np.arange(len(data.pool)), data.chosen.rows)
    for kind, rows in (("kept", data.chosen.rows), ("dropped", dropped)):
        sample = np.sort(np.random.default_rng(data.seed).permutation(rows)[:SHOWN_ROWS])
        for row, texts in zip(sample, data.pool.texts(sample)):
            print(f"{kind:8}{row:>8}  {shorten(' | '.join(texts), 90, placeholder=' ...')}")


def _write_report(run_dir: Path, finished: bool | None = None) -> None:
    from selectune.report import write_report

    write_report(run_dir, finished=finished)


def _report(job: Job, metrics: dict[str, float]) -> None:
    from selectune.report import print_summary

    callbacks: Any = job.trainer.callbacks  # type: ignore[attr-defined]
    savings = next(callback for callback in callbacks if isinstance(callback, Savings))
    savings.refresh(job.trainer)  # the held-out evaluation is in the ledger by now
    _write_report(job.run.path, finished=True)
    print_summary(job.run.path)
    if savings.saving is not None and savings.saving.scorer_ratio is not None:
        print(savings.saving.scorer_ratio.sentence())
    job.run.drop_previous()
    if not job.keep_models:
        job.run.drop_models()
    failure = training_failure(job.trainer)
    job.run.finish({"metrics": metrics} | ({"failure": failure.message} if failure else {}))
