"""The verbs that run a Trainer: ``selectune VERB --config FILE --output RUN``, with LightningCLI underneath."""

from __future__ import annotations

import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from copy import deepcopy
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import yaml
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

import selectune.datamodules
import selectune.selectors  # noqa: F401  (short class names in configs are those that were imported)
from selectune.callbacks import CostLedger, checkpoints
from selectune.callbacks.preemption import Preemption, cluster_environments, requeue_signal, root_for
from selectune.callbacks.trainer import Trainer
from selectune.common import checks
from selectune.common.errors import RunDirectoryError, TrainingError, UserError
from selectune.common.files import check_folder, default_cache, no_room, use_cache
from selectune.common.first_look import is_first_process, tell_mistake
from selectune.common.printable import printable
from selectune.common.ranks import PARENT, leave, lost_process
from selectune.costs.ledger import Ledger
from selectune.datamodules.base import SelectionDataModule
from selectune.evaluations import Evaluation
from selectune.lightning_modules import FineTuner
from selectune.lightning_modules.optimizer import NO_END
from selectune.lightning_modules.scorers.settings import ScorerSettings
from selectune.runs import fit as pipeline
from selectune.runs.class_errors import ClassParser, construction_problem
from selectune.runs.directory import WRITERS, Run
from selectune.runs.job import Job, Piloted, WarmUp
from selectune.runs.metrics_log import MetricsLog
from selectune.runs.trainer_options import made_trainer
from selectune.runs.verb_options import VERB_OPTIONS

NOT_IN_CONFIG = (
    "config", "output", "cache", "ckpt_path", "overwrite", "dry_run", "weights_only", "verbose", "return_predictions",
    "device_flops", "utilisation", "budget", "share", "file",
)  # fmt: skip
VERBS = (
    "fit",
    "diagnose",
    "plan",
    "pilot",
    "estimate",
    "select",
    "validate",
    "test",
    "predict",
)  # in the order of the help
STAGE_SETTINGS = (
    "accelerator", "strategy", "devices", "num_nodes", "precision", "enable_progress_bar", "deterministic", "benchmark",
)  # fmt: skip
TRAINING_SETTINGS = ("gradient_clip_val", "gradient_clip_algorithm", "accumulate_grad_batches", "log_every_n_steps")


class RunTrainer(Trainer):
    """The Trainer with the verbs that Lightning's lacks, whose docstrings are their help."""

    def select(self, model: Any, datamodule: Any) -> None:
        """Choose the rows to train on, and nothing else."""

    def diagnose(self, model: Any, datamodule: Any) -> None:
        """Find what is wrong with the rows: copies, wrong labels, junk, leakage; by one pass of the scoring model."""

    def plan(self, model: Any, datamodule: Any) -> None:
        """Rank what a budget can be spent on: all rows for fewer epochs, random rows, or rows chosen by a diagnosis."""

    def pilot(self, model: Any, datamodule: Any) -> None:
        """Plan, try the first plans on small parts of the pool, forecast what the whole would give, and recommend."""

    def estimate(self, model: Any, datamodule: Any) -> None:
        """Forecast what a fit will cost and whether selecting will pay, from a few batches."""


class RunCLI(LightningCLI):
    """Parses, and runs a verb of `selectune.runs.fit` on every rank; `selectune.verbs` adds those of higher folders."""

    keep_models = True  # leave checkpoints and the exported model when a fit ends

    def __init__(self) -> None:
        super().__init__(
            FineTuner,
            SelectionDataModule,
            subclass_mode_data=True,
            trainer_class=RunTrainer,
            parser_class=ClassParser,
            trainer_defaults={"max_epochs": 3, "enable_model_summary": False},
            save_config_callback=None,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )

    @classmethod
    def subcommands(cls) -> dict[str, set[str]]:
        """The verbs; where one is asked for, that one alone, since each parser costs time to build."""
        known = LightningCLI.subcommands()
        asked = [verb for verb in sys.argv[1:2] if verb in VERBS]
        return {verb: known.get(verb, {"model", "datamodule"}) for verb in asked or VERBS}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The arguments beside trainer, model and data."""
        parser.add_argument(
            "--output", type=str | None, default=None, help="Run directory; default runs/<config>-<time>."
        )
        parser.add_argument("--cache", type=str | None, default=None, help="Cache folder; default SELECTUNE_CACHE.")
        parser.add_argument("--overwrite", action="store_true", help="Remove what an earlier run left in --output.")
        parser.add_argument("--warm_up", type=WarmUp | None, default=None, help="Warm up before fine-tuning.")
        parser.add_argument("--pilot", type=Piloted | None, default=None, help="The pilot that a fit is compared with.")
        parser.add_argument(
            "--evaluations", type=list[Evaluation] | None, default=None,
            help="What a causal language model is tried at before and after its training.",
        )  # fmt: skip
        parser.add_class_arguments(ScorerSettings, "scorer")

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        for name, settings in VERB_OPTIONS.get(subcommand, ()):
            parser.add_argument(name, **settings)
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, and check the seed before Lightning sets it."""
        super().parse_arguments(parser, args)
        seed = self.config[self.config.subcommand].seed_everything
        checks.seed("seed_everything", None if isinstance(seed, bool) else seed)

    def instantiate_classes(self) -> None:
        """Instantiate all classes, with the cache in use."""
        self.options = self.config[self.subcommand]
        if self.options.cache is not None or self.subcommand in WRITERS:  # the others can do without one
            use_cache(self.options.cache)
        super().instantiate_classes()

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """The main Trainer: the user's settings, with our callbacks and metrics.csv."""
        dry = self.options.get("dry_run") or (self.subcommand == "estimate" and self.options.output is None)
        self.run = None if dry else Run(_output(self.options.output, self.options.get("config")))
        self.ledger = Ledger()
        settings = dict(self._get(self.config_init, "trainer"))
        if settings["max_epochs"] == settings["max_steps"] == -1 and self.model.lr_scheduler is None:
            raise UserError(NO_END)
        if self.run is not None:
            loggers = settings.get("logger")
            more = loggers if isinstance(loggers, list) else [loggers] if loggers not in (None, True, False) else []
            kwargs["logger"] = [MetricsLog(self.run.path), *more]
        if self.subcommand == "fit":
            assert self.run is not None
            head = self.model.head
            chooses = self.datamodule.monitor if head is None else (head.monitor, head.mode)
            callbacks = checkpoints.fit_callbacks(self.run, self.ledger, *chooses)
        else:
            callbacks = [CostLedger(ledger=self.ledger)]
        self.preemption = Preemption(requeue_signal(settings.get("plugins")), interrupts=True)
        mine = settings.get("callbacks") or []
        kwargs["callbacks"] = [*(mine if isinstance(mine, list) else [mine]), *callbacks, self.preemption]
        place = settings["default_root_dir"] or (self.run.checkpoints if self.run is not None else default_cache())
        kwargs["default_root_dir"] = root_for(Path(place))
        return made_trainer(self.trainer_class, settings | {"num_sanity_val_steps": 0} | kwargs)

    def job(self) -> Job:
        """The job that the command line asks for."""
        assert self.subcommand is not None
        text = self._parser(self.subcommand).dump(self.options, skip_none=False)
        config = {key: value for key, value in yaml.safe_load(text).items() if key not in NOT_IN_CONFIG}
        return Job(
            trainer=self.trainer,
            make_trainer=self.make_trainer,
            model=self.model,
            data=self.datamodule,
            directory=self.run,
            config=config,
            scorer=self._get(self.config_init, "scorer"),
            warm_up=self._get(self.config_init, "warm_up"),
            pilot=self._get(self.config_init, "pilot"),
            evaluations=tuple(self._get(self.config_init, "evaluations") or ()),
            ckpt_path=self.options.get("ckpt_path"),
            file=self.options.get("file"),
            overwrite=self.options.overwrite,
            keep_models=self.keep_models,
            ledger=self.ledger,
        )

    def make_trainer(self, **kwargs: Any) -> Trainer:
        """A Trainer of the same devices for another stage."""
        given = self._get(self.config_init, "trainer")
        names = STAGE_SETTINGS + (TRAINING_SETTINGS if "max_epochs" in kwargs else ())
        settings = {name: deepcopy(given[name]) for name in names}
        settings |= {"num_sanity_val_steps": 0, "enable_model_summary": False}
        settings["default_root_dir"] = self.trainer.default_root_dir
        settings["plugins"] = cluster_environments(given["plugins"])
        kwargs["callbacks"] = [*kwargs.get("callbacks", []), self.preemption]
        return Trainer(**settings | kwargs)

    def verbs(self) -> dict[str, Callable[[Job], Any]]:
        """Verbs that do more than evaluate."""
        return {"fit": pipeline.fit, "select": pipeline.select}

    def _run_subcommand(self, subcommand: str) -> None:
        """Run the verb on every rank; its launcher starts the others, if there are any."""
        verb = self.verbs().get(subcommand, partial(pipeline.evaluate, verb=subcommand))
        if subcommand == "fit":
            warm_up = self._get(self.config_init, "warm_up")
            for data in (self.datamodule, *([warm_up.data] if warm_up else [])):
                data.check_batch_size(self.trainer.world_size)
        launcher = self.preemption.launcher = self.trainer.strategy.launcher

        def on_this_rank() -> None:
            with self.preemption:
                self.trainer.strategy.setup_environment()
                job = self.job()
                self.preemption.folder = job.directory.path if job.directory else None
                try:
                    verb(job)
                except TrainingError:  # raised on all ranks, so none is left waiting
                    leave()
                    raise
                leave()

        if launcher is None:
            on_this_rank()
        else:
            launcher.launch(on_this_rank, trainer=self.trainer)


def _output(given: str | None, configs: Any) -> Path:
    """The run directory; the first process makes a default name, which those that it starts inherit."""
    if given is None and "SELECTUNE_OUTPUT" not in os.environ:
        if int(os.environ.get("WORLD_SIZE", os.environ.get("SLURM_NTASKS", 1))) > 1:
            raise RunDirectoryError("With processes that another program starts, name the run directory: --output RUN.")
        stem = Path(str(configs[0])).stem if configs else "run"
        os.environ["SELECTUNE_OUTPUT"] = f"runs/{stem}-{datetime.now():%Y%m%d-%H%M%S}"
    place = os.environ["SELECTUNE_OUTPUT"] if given is None else given
    check_folder(place, "--output", RunDirectoryError)
    return Path(place)


def _hush() -> None:
    """Silence Lightning's advice on loggers, workers and metrics, and its warnings of what is on purpose here."""
    for name in ("utilities.rank_zero", "trainer.connectors.checkpoint_connector"):
        logging.getLogger(f"lightning.pytorch.{name}").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*", ".*recommended to use `self.log.*", ".*LeafSpec.*",
        ".*smaller than the logging interval.*", ".*Using `DistributedSampler` with the dataloaders.*",
        ".*Checkpoint directory .* exists and is not empty.*", ".*The `srun` command is available.*",
    ):  # fmt: skip
        warnings.filterwarnings("ignore", message)


def run_verb(verb: Callable[[], Any]) -> None:
    """Run a verb; exit with one sentence and code 2 on a user's mistake, or 3 where a training failed."""
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # so that my_selectors.Mine is found, as with `python main.py`
    _hush()
    shown = warnings.formatwarning
    warnings.formatwarning = lambda message, *where: shown(printable(str(message)), *where)
    try:
        verb()
    except TrainingError as failed:
        if not is_first_process():
            return  # a launcher would end the first process with a signal, which then is the exit code
        print(f"error: {printable(str(failed))}", file=sys.stderr)
        sys.exit(3)
    except Exception as raised:
        mistake: BaseException | None = raised
        while mistake is not None and not isinstance(mistake, UserError):
            mistake = mistake.__cause__  # the parser wraps what constructors raise
        error = mistake or no_room(raised) or construction_problem(raised)
        if error is None and (lost := lost_process(raised)):
            if os.environ.get("SELECTUNE_TRACEBACK"):
                traceback.print_exception(raised)
            # where the first process is no more, those that it has started tell; those that Slurm has, all do
            if is_first_process() or os.getppid() != PARENT or "SLURM_STEP_ID" in os.environ:
                print(f"error: {lost}", file=sys.stderr)
            sys.exit(1)
        if error is None:
            raise
        if os.environ.get("SELECTUNE_TRACEBACK"):
            traceback.print_exception(raised)
        tell_mistake(error)
        sys.exit(2)
