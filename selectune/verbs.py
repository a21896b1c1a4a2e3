"""All verbs of the command line; the only place that knows them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from typing import Any

from selectune.callbacks.preemption import Preemption, requeue_signal
from selectune.common.first_look import with_plain_help
from selectune.common.shipped import with_config_files
from selectune.diagnose.diagnose import diagnose
from selectune.diagnose.page import made_again
from selectune.forecast import estimate
from selectune.pilot.page import made_again as pilot_made_again
from selectune.pilot.pilot import pilot
from selectune.pilot.plan import plan
from selectune.report import command as report
from selectune.runs.command import RunCLI, run_verb
from selectune.runs.finished import with_config_of_run
from selectune.runs.job import Job
from selectune.sharing import compare_selections, export_selection, push, verify
from selectune.tables import command as table
from selectune.tables import compare, fetch, quickstart

# Verbs without a Trainer.
OWN_PARSERS: dict[str, Any] = {
    "compare": compare,
    "compare_selections": compare_selections,
    "export_selection": export_selection,
    "fetch": fetch,
    "push": push,
    "report": report,
    "table": table,
    "verify": verify,
}


class SelectuneCLI(RunCLI):
    """All verbs that run a Trainer."""

    def verbs(self) -> dict[str, Callable[[Job], Any]]:
        """With those of higher folders."""
        return super().verbs() | {"diagnose": diagnose}

    def _run_subcommand(self, subcommand: str) -> None:
        if subcommand not in ("estimate", "plan", "pilot"):
            super()._run_subcommand(subcommand)
            return
        self.preemption.folder = self.run.path if self.run else None
        with self.preemption:  # in this process alone
            if subcommand == "plan":
                plan(self.job(), self.options.budget)
            elif subcommand == "pilot":
                pilot(self.job(), self.options.share, self.options.budget)
            else:
                estimate(self.job(), self.options.device_flops, self.options.utilisation)


def run() -> None:
    """Run the verb that the command line names; exits as `run_verb` says."""
    run_verb(_verb)


def _verb() -> None:
    # the short one is printed before
    sys.argv[2:] = with_plain_help(sys.argv[2:])
    if sys.argv[1:2] == ["quickstart"]:
        told = quickstart.commands(sys.argv[2:])
        # all at once, as the first one makes a folder that may be called like a config
        for words, found in zip(told, [with_config_files(words) for words in told]):
            print(f"$ selectune {shlex.join(words)}", flush=True)
            sys.argv = [sys.argv[0], *found]
            _verb()
        return
    sys.argv[1:] = with_config_of_run(sys.argv[1:])
    if sys.argv[1:2] == ["fit"] and "--compare" in sys.argv:
        sys.argv = [sys.argv[0], "compare", *(word for word in sys.argv[2:] if word != "--compare")]
    # report stands on a lower rung
    if sys.argv[1:2] == ["report"] and (page := pilot_made_again(sys.argv[2:]) or made_again(sys.argv[2:])):
        print(page)
        return
    own = OWN_PARSERS.get(sys.argv[1]) if sys.argv[1:2] else None
    if own is None:
        SelectuneCLI()
        return
    with Preemption(requeue_signal()):
        code = own.main(sys.argv[2:])
    if code:
        sys.exit(code)
