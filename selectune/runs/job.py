"""The job that the command line asked for, and its start: load and check the data, then claim the run directory."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from selectune.common import checks
from selectune.common.errors import RunDirectoryError, UserError
from selectune.common.files import clear_partials, default_cache, write_json
from selectune.common.ranks import on_rank_zero, world
from selectune.costs.ledger import Ledger
from selectune.costs.record import Part
from selectune.data.sources import find_model
from selectune.data.texts import Texts, as_texts
from selectune.data.tokens import load_tokenizer
from selectune.datamodules.base import SelectionDataModule
from selectune.evaluations.base import Evaluation
from selectune.evaluations.perplexity import Perplexity
from selectune.lightning_modules.fine_tuner import FineTuner
from selectune.lightning_modules.lora import Lora
from selectune.lightning_modules.scorers.settings import ScorerSettings
from selectune.runs.directory import Run
from selectune.selection.request import Length, SelectionRequest
from selectune.verdict.expected import ALL_ROWS, Expected


@dataclass
class WarmUp:
    """A language-model warm-up before fine-tuning, on rows of its own.

    Args:
        data: texts to warm up on, with a selector of their own if wanted.
        max_epochs: passes over them.
        max_steps: stop after so many steps; -1 for no such limit.
        learning_rate: the highest of the schedule.
        weight_decay: of AdamW.
        warmup: share of the steps in which the learning rate rises.
        lora: train small matrices beside the weights, which are added to these before the fine-tuning starts.

    Raises:
        UserError: a number out of its range.
    """

    data: SelectionDataModule
    max_epochs: int = 1
    max_steps: int = -1
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    warmup: float = 0.06
    lora: Lora | None = None

    def __post_init__(self) -> None:
        self.lora = None if self.lora is None else replace(self.lora, merge=True)
        checks.limit("warm_up.max_epochs", self.max_epochs)
        checks.limit("warm_up.max_steps", self.max_steps)
        checks.positive("warm_up.learning_rate", self.learning_rate)
        checks.not_negative("warm_up.weight_decay", self.weight_decay)
        checks.between("warm_up.warmup", self.warmup, 0, 1)
        if self.max_epochs == self.max_steps == -1:
            raise UserError("warm_up.max_epochs is -1 as warm_up.max_steps is, so it never ends; give one of them.")

    def module(self, model: FineTuner) -> FineTuner:
        """The module that is warmed up, of the model that is fine-tuned after it."""
        mine = {"learning_rate": self.learning_rate, "weight_decay": self.weight_decay, "warmup": self.warmup}
        return model.like(**mine, optimizer=None, lr_scheduler=None, lora=self.lora, stage="warm_up")


@dataclass
class Piloted:
    """The pilot whose forecast a fit is compared with.

    Args:
        run: its run directory.
        plan: that the fit carries out; ``all_rows`` where it trains on all of them.
    """

    run: str
    plan: str = ALL_ROWS


@dataclass(frozen=True)
class Job:
    """A verb and all that the command line gave it."""

    trainer: pl.Trainer  # for the main fit and the evaluations; its strategy starts the other ranks
    make_trainer: Callable[..., pl.Trainer]  # makes one of the same devices for another stage
    model: FineTuner
    data: SelectionDataModule
    directory: Run | None  # None for a dry run
    config: dict[str, Any]  # the content of ``config.yaml``
    scorer: ScorerSettings
    warm_up: WarmUp | None = None
    pilot: Piloted | None = None
    evaluations: tuple[Evaluation, ...] = ()  # of a language model, before and after it is trained
    ckpt_path: str | None = None
    file: str | None = None  # of predictions
    overwrite: bool = False
    keep_models: bool = True  # leave checkpoints and the exported model when a fit ends
    ledger: Ledger = field(default_factory=Ledger)

    @property
    def run(self) -> Run:
        """The run directory of a verb that has one."""
        assert self.directory is not None
        return self.directory


@dataclass(frozen=True)
class Start:
    """The start of a verb, the same on every rank."""

    requests: dict[Part, SelectionRequest]  # the selections that are asked for
    checkpoint: str | None = None  # to resume from


@contextmanager
def abandoned_on_mistakes(job: Job) -> Iterator[None]:
    """Remove a new run that begins with a user's mistake, so that the corrected command finds the directory free."""
    try:
        yield
    except UserError:
        if job.directory is not None and job.directory.new and world()[0] == 0:
            job.directory.abandon()
        raise


def _keep_review(job: Job) -> None:
    """Refuse to overwrite a run that holds the review which is asked for, as it is somebody's work."""
    if not job.overwrite or job.directory is None:
        return
    for data in (job.data, *([job.warm_up.data] if job.warm_up else [])):
        review = None if data.review is None else Path(data.review).expanduser().resolve()
        if review is not None and any(review.is_relative_to(file.resolve()) for file in job.run.written):
            raise RunDirectoryError(
                f"--overwrite would remove the review {data.review}, which is in {job.run.path}; use another --output, "
                "or copy the review out of it."
            )


def check_evaluations(job: Job) -> None:
    """Load what the evaluations need.

    Raises:
        UserError: something is missing, two of them have one name, or another kind of model is trained than they ask.
    """
    if not job.evaluations:
        return
    names = [one.name for one in job.evaluations]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"Two of the evaluations are called {twice[0]}; give one of them another name.")
    objective = getattr(job.data, "objective", None)
    if objective is None or (objective != "causal" and any(one.causal for one in job.evaluations)):
        kinds = sorted({type(one).__name__ for one in job.evaluations if objective is None or one.causal})
        raise UserError(
            f"The evaluations {', '.join(kinds)} are of a causal language model before and after its training; use "
            "--data LanguageModeling with --data.objective causal, or drop them. (Perplexity takes a masked one, too.)",
            option="evaluations",
        )

    for one in job.evaluations:
        if isinstance(one, Perplexity):
            check_held_out(one, job.data)

    def check() -> None:
        for one in job.evaluations:
            one.check(job.data.root)

    on_rank_zero(check)


def check_held_out(one: Perplexity, data: SelectionDataModule) -> None:
    """Refuse to call rows held out that the pool has, and warn of an evaluation on the pool's own rows.

    Raises:
        UserError: the pool and the evaluation hold other shares of a data set out.
    """
    listed = data.dataset if isinstance(data.dataset, list) else [Texts(data.dataset, data.config_name)]
    for part in as_texts(listed):
        same = (part.dataset, part.config_name) == (one.dataset, one.config_name)
        if not same or (part.split or data.train_split) != (one.split or data.train_split):
            continue
        if one.held_out is None:
            warnings.warn(
                f"The evaluation {one.name} scores rows of {one.dataset} that are in the pool as well; give both the "
                f"same held_out (in data.dataset as {{dataset: {one.dataset}, held_out: 0.01}}) to score others.",
                stacklevel=2,
            )
        elif part.held_out != one.held_out:
            raise UserError(
                f"The evaluation {one.name} scores the rows of {one.dataset} that a share of {one.held_out} holds out, "
                f"but the pool leaves out {part.held_out or 'none'}; give both the same held_out.",
                option="evaluations",
            )


def request_of(job: Job, part: Part, data: SelectionDataModule) -> SelectionRequest | None:
    """The selection that the loaded data of a part ask for; None where they ask for none."""
    limits = job.trainer if part == "fit" else job.warm_up
    assert limits is not None
    steps_of = data.batch_size * job.trainer.accumulate_grad_batches
    length = Length.of(limits.max_epochs, limits.max_steps, steps_of)
    return data.request(job.scorer, part, None if part == "fit" else job.data, length)


def begin(job: Job, verb: str) -> Start:
    """Load the data, which finds a user's mistakes, then let rank 0 claim the directory."""
    _keep_review(job)
    on_rank_zero(lambda: clear_partials(default_cache()))
    on_rank_zero(lambda: job.model.source)
    source, scorer = job.model.source, job.scorer.checkpoint
    if scorer is not None:  # a damaged one is refused before anything is trained
        on_rank_zero(lambda: load_tokenizer(find_model(scorer).folder) and None)

    def load() -> dict[Part, SelectionRequest]:
        for data in (job.data, *([job.warm_up.data] if job.warm_up else [])):
            data.check_length(load_tokenizer(source.folder))
            data.load(source)
        asked: dict[Part, SelectionRequest | None] = {"fit": request_of(job, "fit", job.data)}
        if job.warm_up:
            asked["warm_up"] = request_of(job, "warm_up", job.warm_up.data)
        return {part: request for part, request in asked.items() if request is not None}

    check_evaluations(job)
    on_rank_zero(lambda: len(load()))  # rank 0 alone first, as this may build caches
    requests = load()
    rank, size = world()
    job.ledger.rank, job.ledger.world_size = rank, size
    job.ledger.device = str(job.trainer.strategy.root_device)
    if job.directory is None:
        return Start(requests)
    claim = on_rank_zero(lambda: job.run.claim(verb, job.config, job.ckpt_path, job.overwrite))
    job.ledger.path, job.ledger.attempt, job.ledger.resumed = job.run.costs, claim.attempt, claim.resumed
    if verb == "fit":
        on_rank_zero(lambda: _note_reviews(job))
        on_rank_zero(lambda: _note_expected(job))
    return Start(requests, claim.checkpoint)


def _note_reviews(job: Job) -> None:
    """Write which review each pool of a fit went through, as not every fit has a selection whose manifest says so."""
    for data, files in ((job.data, job.run), *([(job.warm_up.data, job.run.warm_up)] if job.warm_up else [])):
        if data.pool.review is not None:
            write_json(files.review, data.pool.review)


def _note_expected(job: Job) -> None:
    """Keep the forecast of a pilot in the run, which may outlive the pilot."""
    if job.pilot is not None:
        pool = job.data.pool
        fingerprint = pool.fingerprint if pool.review is None else None
        expected = Expected.of_pilot(job.pilot.run, job.pilot.plan, fingerprint)
        write_json(job.run.expected, expected.to_json())
