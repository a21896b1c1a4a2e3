"""The command line: ``selectune VERB ...``; the only place that knows all verbs."""

from __future__ import annotations

import sys
from typing import Any

from lightning.pytorch.cli import LightningArgumentParser

from selectune.callbacks.preemption import Preemption, requeue_signal
from selectune.forecast import estimate
from selectune.report import command as report
from selectune.runs.command import RunCLI, RunTrainer, run_verb
from selectune.tables import command as table

OWN_PARSERS: dict[str, Any] = {"report": report, "table": table}  # verbs without a Trainer


class SelectuneTrainer(RunTrainer):
    """The Trainer, which names the verb that it lacks."""

    def estimate(self, model: Any, datamodule: Any) -> None:
        """Forecast what a fit will cost and whether selecting will pay, from a few batches."""


class SelectuneCLI(RunCLI):
    """All verbs that run a Trainer."""

    verbs = ("fit", "estimate", "select", "validate", "test", "predict")
    made_by = SelectuneTrainer
    epilog = (
        "Further verbs, each with a --help: `report RUN [RUN ...]` writes the page of a run, or compares several; "
        "`table` runs a grid of them. Exit codes: 0 all is well, 2 a mistake in what was asked for, 3 a training "
        "failed, its loss being nan or infinite."
    )

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand == "estimate":
            parser.add_argument(
                "--device_flops", type=float | None, default=None,
                help="Times for another machine: FLOPs a second of one device at its best, such as 3.12e14.",
            )  # fmt: skip
            parser.add_argument(
                "--utilisation", type=float | None, default=None,
                help="Share of --device_flops that is reached, such as 0.35.",
            )  # fmt: skip
        return parser

    def estimate(self, **kwargs: Any) -> None:
        """Forecast what a fit will cost; in this process alone."""
        with self.preemption:
            estimate(self.job(), self.options.device_flops, self.options.utilisation)


def main(args: list[str] | None = None) -> None:
    """Entry point of ``selectune`` and ``main.py``.

    Exits with 2, and one sentence, on a user's mistake; with 3, and one sentence, where a training failed.
    """
    if args is not None:
        sys.argv = [sys.argv[0], *args]
    run_verb(_verb)


def _verb() -> None:
    own = OWN_PARSERS.get(sys.argv[1]) if sys.argv[1:2] else None
    if own is None:
        SelectuneCLI()
        return
    with Preemption(requeue_signal()):
        code = own.main(sys.argv[2:])
    if code:
        sys.exit(code)
