"""The verbs, as they run on every rank: from the claim of the run directory to its report, top to bottom.

``fit`` is: warm up (if asked), select (if asked), fine-tune, evaluate once, export, report.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from textwrap import shorten
from typing import Any

import lightning.pytorch as pl
import numpy as np

from selectune.callbacks import CostLedger, Export, Savings
from selectune.callbacks.checkpoints import last_checkpoints
from selectune.callbacks.export import export
from selectune.callbacks.predictions import write_predictions
from selectune.callbacks.training_check import demand_trained, finite_weights, training_failure
from selectune.common.errors import TrainingError, UserError
from selectune.common.printable import printable
from selectune.common.ranks import barrier, on_rank_zero
from selectune.common.training_outcome import TrainingOutcome
from selectune.costs.record import add_up
from selectune.data.row_files import check_row_file
from selectune.data.splits import other_rows
from selectune.datamodules.base import SelectionDataModule
from selectune.report import print_metrics, print_summary, write_report
from selectune.report.loggers import log_results
from selectune.runs.directory import Run
from selectune.runs.evaluating import evaluated, evaluated_before
from selectune.runs.finished import data_of_run, same_rows
from selectune.runs.job import Job, Start, abandoned_on_mistakes, begin
from selectune.runs.metrics_log import MetricsLog
from selectune.selection.manifest import head_sentence
from selectune.selection.request import SelectionRequest
from selectune.selection.stage import select_rows

SHOWN_ROWS = 10


def fit(job: Job) -> None:
    """Warm up, select, fine-tune, evaluate, export and report, into one run directory with one ledger.

    Raises:
        TrainingError: the loss is not finite. A fine-tuning is evaluated and reported all the same, and its run is
            finished; after a warm-up nothing follows, and the same command raises this again.
    """
    with abandoned_on_mistakes(job):
        start = begin(job, "fit")
        on_rank_zero(lambda: print(f"Run: {job.run.path}", flush=True))
        _warm_up(job, start)
        before = evaluated_before(job)
        data = _selected(job, job.data, start.requests.get("fit"), job.run.selection)
        job.trainer.fit(job.model, data, ckpt_path=start.checkpoint, weights_only=True)
    best = on_rank_zero(job.run.best_checkpoint)  # None: there was no validation; the final weights are tested
    best_path = str(best) if best else None
    job.trainer.test(job.model, data, ckpt_path=best_path, weights_only=True, verbose=False)
    # other ranks are started by the plain command line, which keeps models
    if on_rank_zero(lambda: job.keep_models) and finite_weights(job.model):
        export(job.model, data, job.run.export)
    metrics = {name: float(value) for name, value in job.trainer.callback_metrics.items()}
    metrics |= before | evaluated(job)
    barrier()  # until all ranks have written what they evaluated, which the report counts
    on_rank_zero(lambda: _report(job, metrics))
    demand_trained(job.trainer)


def select(job: Job) -> None:
    """The selection alone, after the warm-up if there is one, since the warmed-up model scores."""
    if job.data.selector is None and job.data.selection is None:
        raise UserError("There is nothing to select: data.selector is not given; name one, e.g. IGSE.")
    if job.warm_up and job.directory is None:
        raise UserError("With warm_up a dry run would have to train first; run `select --output RUN` instead.")
    with abandoned_on_mistakes(job):
        start = begin(job, "select")
        _warm_up(job, start)
        folder = job.run.selection if job.directory else None
        data = _selected(job, job.data, start.requests["fit"], folder)
    on_rank_zero(lambda: _show_selection(job, data))


def evaluate(job: Job, verb: str) -> Any:
    """``validate``, ``test`` or ``predict`` with the run's exported model, else with `model.checkpoint`.

    Predictions are of the held-out rows, or of all rows of a data set that is not the run's own and has no test split.
    """
    file = job.run.predictions if job.file is None else check_row_file(job.file, "--file")
    data = job.data.without_selection()
    if verb == "predict" and not on_rank_zero(lambda: _own_rows(job)):
        data = data.to_predict()
    job = replace(job, data=data, warm_up=None)
    if on_rank_zero(job.run.export.is_dir):
        job.model.start_from(str(job.run.export))
    elif data.unlabelled and job.ckpt_path is not None:
        raise UserError(
            f"Without labels the classes are known from the exported model alone, but {job.run.export} is not there; "
            "name a run that has one in --output, and leave --ckpt_path out."
        )
    job.model.needs_trained_head = job.ckpt_path is None
    with abandoned_on_mistakes(job):
        start = begin(job, verb)
        checkpoint = start.checkpoint if job.ckpt_path else None
        if verb == "predict":
            predictions: Any = job.trainer.predict(job.model, job.data, ckpt_path=checkpoint, weights_only=True)
            path = write_predictions(file, predictions or [], data.pool.source_rows if data.unlabelled else None)
            on_rank_zero(lambda: print(path))
            return path
        evaluate_with = getattr(job.trainer, verb)
        metrics = evaluate_with(job.model, job.data, ckpt_path=checkpoint, weights_only=True, verbose=False)
    barrier()
    split = {"validate": "val"}.get(verb, verb)
    on_rank_zero(lambda: print_metrics(job.run.path, split, job.model.evaluated))
    return metrics


def _own_rows(job: Job) -> bool:
    """Whether the data set is the one that the run in the job's directory was made of."""
    config = job.run.config
    return config.is_file() and same_rows(job.data.dataset, data_of_run(config).get("dataset"))


def _selected(
    job: Job, data: SelectionDataModule, request: SelectionRequest | None, folder: Path | None
) -> SelectionDataModule:
    """The data with the selection that was asked for, or with all rows where none was."""
    if request is None:
        return data

    def trainer_for(**settings: Any) -> pl.Trainer:
        return job.make_trainer(logger=False, enable_checkpointing=False, **settings)

    return data.with_selection(select_rows(request, job.model, trainer_for, job.ledger, folder))


def _warm_up(job: Job, start: Start) -> None:
    """Train a language-model head on the warm-up's rows; the fine-tuning starts from its weights."""
    if (warm_up := job.warm_up) is None:
        return
    run = Run(job.run.warm_up.path)
    if not on_rank_zero(lambda: run.export.is_dir() or _failure_in(run.path) is not None):
        data = _selected(job, warm_up.data, start.requests.get("warm_up"), run.selection)
        module = warm_up.module(job.model)
        last = on_rank_zero(run.newest_checkpoint)
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
        trainer.fit(module, data, ckpt_path=last, weights_only=True)
    if (failure := on_rank_zero(lambda: _failure_in(run.path))) is not None:  # such weights would spoil what follows
        on_rank_zero(lambda: write_report(job.run.path))
        raise TrainingError(f"{failure} Nothing was fine-tuned; --overwrite runs it anew.")
    job.model.start_from(str(run.export))


def _failure_in(folder: Path) -> str | None:
    """The message of a training in a folder whose loss or weights were not finite, else None."""
    outcome = TrainingOutcome.read(folder)
    return outcome.not_finite.message if outcome and outcome.not_finite else None


def _show_selection(job: Job, data: SelectionDataModule) -> None:
    """Print the selection's size and cost so far, and ten rows that were kept and ten that were dropped."""
    spent = add_up(record for record in job.ledger.records if not record.cached)
    assert data.selected is not None
    rows, manifest = data.selected.rows, data.selected.manifest
    flops = "unknown FLOPs" if spent.flops is None else f"{spent.flops / 1e9:,.1f} GFLOP"
    print(
        f"selected {manifest.budget['rows']:,} of {len(data.pool):,} rows and {manifest.budget['input_tokens']:,} of "
        f"{manifest.pool_input_tokens:,} tokens; cost so far: {spent.device_s:,.1f} s, {flops}"
    )
    if manifest.entropy_head is not None:
        print(head_sentence(manifest.entropy_head))
    for kind, some in (("kept", rows), ("dropped", other_rows(len(data.pool), rows))):
        sample = np.sort(np.random.default_rng(data.seed).permutation(some)[:SHOWN_ROWS])
        for row, texts in zip(sample, data.pool.texts(sample)):
            print(f"{kind:8}{row:>8}  {printable(shorten(' | '.join(texts), 90, placeholder=' ...'))}")


def _report(job: Job, metrics: dict[str, float]) -> None:
    callbacks: Any = job.trainer.callbacks  # type: ignore[attr-defined]
    savings = next(callback for callback in callbacks if isinstance(callback, Savings))
    savings.refresh(job.trainer)  # the held-out evaluation is in the ledger by now
    page = write_report(job.run.path, finished=True)
    print_summary(job.run.path, finished=True)
    log_results(job.trainer.loggers, job.run.path, job.trainer.global_step)
    if savings.saving is not None and savings.saving.scorer_ratio is not None:
        print(savings.saving.scorer_ratio.sentence())
    print(f"Report: {page}", flush=True)
    job.run.drop_previous()
    if not job.keep_models:
        job.run.drop_models()
    failure = training_failure(job.trainer)
    job.run.finish({"metrics": metrics} | ({"failure": failure.message} if failure else {}))
