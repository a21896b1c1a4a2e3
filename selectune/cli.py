"""The command line: ``selectune VERB ...``. Help is printed without importing what the verbs need."""

from __future__ import annotations

import os
import re
import sys
from importlib.metadata import version

from selectune.common.errors import UserError
from selectune.common.first_look import first_look, is_first_process, tell_mistake, with_plain_help
from selectune.runs.short_help import SUMMARIES, short_help
from selectune.tables.configs import show_configs
from selectune.tables.server import start_early

HELP = """selectune: choose the rows that are worth training on, fine-tune on them, and prove what that cost and gave.

usage: selectune VERB [options]        in a checkout, python main.py VERB is the same

To see it all at once, on data and a model that are made on this machine:
  quickstart  a plan for half of the cost, the training that it recommends, and the verdict

In the order of use:
  diagnose   what is wrong with a pool of rows, and how sure that is
  plan       what a budget is best spent on: which rows, how many epochs, and whether to choose at all
  pilot      try the first plans on a small part of the pool, and forecast what all rows would give
  select     choose rows without training on them
  fit        select, fine-tune, evaluate and report; with --compare, beside its rivals
  compare    the rivals of a fit at the same total cost, and the verdict
  report     the page of a run, or of several side by side
  table      a grid of tasks, methods, budgets and seeds

Further:
  estimate   what a fit would cost
  validate   a finished run, or a model, on its dev split
  test       the same on its test split
  predict    the same on rows of your own
  fetch      list and download what a config needs
  configs    the configs that come with selectune, by name; --print NAME shows one
  export_selection     the rows that a run kept, as csv, jsonl, parquet, for `datasets`, or their ids; with a data card
  push                 the rows that a run kept, or its model, on the hub, with a card
  verify               a run's selection against its manifest, and its data against the pool's fingerprint
  compare_selections   sizes, classes, bands and common rows of several selections

  selectune VERB --help names the options of a verb that most runs need, selectune VERB --help.all every one, which for
  short lists is the same; selectune --version the version.
  Exit codes: 0 all is well, 2 a mistake in what was asked for, 3 a training failed, 130 and 143 it was stopped,
  1 one of several runs or processes failed, or `verify` found what does not match.
"""
INTERRUPTED = 130
VERBS = re.findall(r"^  (\w+) {2,}\S", HELP, re.MULTILINE)


def main(args: list[str] | None = None) -> None:
    """Entry point of ``selectune`` and ``main.py``; exits as `selectune.verbs.run` says."""
    if args is not None:
        sys.argv = [sys.argv[0], *args]
    try:
        _run(sys.argv[1:])
    except KeyboardInterrupt:  # while it imports, or in what has nothing to save
        if is_first_process():
            print("Stopped. The same command begins again, or goes on where files of it are kept.", file=sys.stderr)
        sys.exit(INTERRUPTED)


def _run(words: list[str]) -> None:
    try:
        if (code := _answered(words)) is not None:
            sys.exit(code)
    except BrokenPipeError:  # of `selectune configs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the end of this process
        sys.exit(0)
    try:
        sys.argv[1:] = words = first_look(words, VERBS)
    except UserError as mistake:
        tell_mistake(mistake)
        sys.exit(2)
    start_early(words)  # imports for seconds, as the next line does
    from selectune.verbs import run

    run()


def _answered(words: list[str]) -> int | None:
    """Print help, version or shipped configs; returns the exit code, None where something else is asked for."""
    code = 0
    if words[:1] == ["configs"]:
        code = show_configs(with_plain_help(words[1:]))
    elif with_plain_help(words) in (["--help"], ["-h"]):
        print(HELP.rstrip())
    elif words == ["--version"]:
        print(version("selectune"))
    elif words[:1] and words[0] in SUMMARIES and {"--help", "-h"} & {*words[1:]}:
        print(short_help(words[0]))
    else:
        return None
    sys.stdout.flush()
    return code


if __name__ == "__main__":
    main()
