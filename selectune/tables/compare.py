"""The verb ``compare``: a fit with a selection, or by a plan, beside its rivals, and the verdict on it.

python main.py compare --config configs/euds/sst2.yaml --seeds 3 --output RUN
python main.py compare --config configs/quickstart.yaml --plan PLANNED --output RUN

It runs the fit itself in ``RUN``, and in ``RUN/compare`` all rows, random rows at the same total cost, and all rows for
fewer epochs at the same total cost; with several seeds, all of them at each. Every one is a plain run, and they share a
cache. A run that is done is kept, so the same command continues where it stopped. A plan that trains on all rows for
fewer epochs is itself what the last of these would be.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from selectune.common import checks
from selectune.common.errors import RunDirectoryError, UserError
from selectune.common.files import atomic_file, check_folder, read_mapping, use_cache, write_json
from selectune.common.parser_errors import FirstParser
from selectune.common.run_files import RunFiles
from selectune.common.training_outcome import TrainingOutcome
from selectune.report import print_verdict, write_report
from selectune.report.loggers import log_verdict
from selectune.report.numbers import seconds
from selectune.runs.directory import Run, differences
from selectune.tables.command import STOPPED, alone_in
from selectune.tables.grid import Cell
from selectune.tables.layers import Config, read_config, setting
from selectune.tables.reading import normaliser
from selectune.tables.rivals import ALL, FEWER, RANDOM, Comparison
from selectune.tables.running import check_launch, run_cells
from selectune.verdict.evidence import ARMS
from selectune.verdict.judge import judge

DESCRIPTION = "Run a fit with a selection or by a plan, its rivals at the same total cost, and judge it."


def main(args: list[str]) -> int:
    """Run ``compare``. Returns the exit code: 0, 1 a run failed, 3 the fit's loss was not finite, 130 it was stopped.

    Raises:
        UserError: an option or a setting is wrong, nothing is selected, or a folder holds a run of another config.
    """
    given, rest = _parser().parse_known_args(args)
    checks.at_least("--seeds", given.seeds, 1)
    checks.at_least("--jobs", given.jobs, 1)
    checks.not_negative("--margin", given.margin)
    rivals = tuple(name for name in ARMS if name in given.rivals)
    check_folder(given.output, "--output", RunDirectoryError)
    use_cache(given.cache)
    normalise = normaliser()
    whole = normalise(rest)
    config = normalise([*rest, "--config", str(_overlay(Path(given.plan)))]) if given.plan else whole
    check_launch("compare", [config])
    first = int(config["seed_everything"])
    comparison = Comparison(Path(given.output), list(range(first, first + given.seeds)), rivals, config, whole)
    _check(comparison)
    files = RunFiles(comparison.output)
    if given.overwrite and files.config.is_file():
        Run(comparison.output).remove()
    with alone_in(files.compare):
        write_json(files.comparison, {"seeds": comparison.seeds, "margin": given.margin})
        if given.plan:
            with atomic_file(files.whole) as partial:
                partial.write_text(yaml.safe_dump(whole, sort_keys=False, allow_unicode=True), encoding="utf-8")
        try:
            code = 1 if run_all(comparison, given.jobs, normalise) else 0
        except KeyboardInterrupt:
            print("\nStopped; the same command continues from there.", file=sys.stderr)
            code = STOPPED
        if files.finished:
            page = write_report(comparison.output)
            print_verdict(judge(comparison.output))
            log_verdict(comparison.output)
            print(f"Report: {page}", flush=True)
            outcome = TrainingOutcome.read(comparison.output)
            code = 3 if code == 0 and outcome is not None and outcome.not_finite is not None else code
    return code


def run_all(comparison: Comparison, jobs: int, normalise: Callable[[Any], Config]) -> bool:
    """Run what is missing of a comparison, and say how each run ended. Returns whether one failed.

    A fit whose training failed is judged without rivals: their cost would tell nothing more.
    """
    known, todo, failed = set[Path](), list[Cell](), False

    def add() -> bool:
        """Add the runs whose configs are known by now. Returns whether there is a fit to judge, as far as is known."""
        outcome = TrainingOutcome.read(comparison.output) if RunFiles(comparison.output).finished else None
        if outcome is not None and outcome.failed:
            return False
        for cell in comparison.cells():
            if cell.folder not in known:
                known.add(cell.folder)
                cell = replace(cell, config=normalise(cell.config))
                _check_same(cell)
                todo.extend([] if cell.done else [cell])
        return True

    if not add() or not todo:
        return False
    with closing(run_cells(todo, jobs, True, _start)) as outcomes:
        for outcome in outcomes:
            end = f"failed: {outcome.failure}" if outcome.failure else f"done in {seconds(outcome.seconds)}"
            failed = failed or outcome.failure is not None
            print(f"{outcome.cell.task}, seed {outcome.cell.seed}: {end}", flush=True)
            if not add() or (outcome.failure and outcome.cell.folder == comparison.output):
                break
    return failed


def _start(cell: Cell) -> None:
    cell.folder.mkdir(parents=True, exist_ok=True)
    print(f"{cell.task}, seed {cell.seed}: into {cell.folder}", flush=True)


def _check_same(cell: Cell) -> None:
    """Refuse a folder with a run of another config.

    Raises:
        RunDirectoryError: the folder has one.
    """
    file = RunFiles(cell.folder).config
    if not file.is_file():
        return
    mend = "use another --output, or --overwrite"
    differs = differences(read_mapping(file, mend, error=RunDirectoryError), cell.config)
    # A run may have been moved with its rivals, whose configs name its place.
    places = () if cell.shown else ("model.checkpoint", "data.init_args.selector.init_args.match")
    if differs := [name for name in differs if name not in places]:
        raise RunDirectoryError(
            f"{cell.folder} holds a run of another config (it differs in {', '.join(differs[:5])}); {mend}."
        )


def _overlay(plan: Path) -> Path:
    """The config that holds a plan: of the folder that ``plan`` wrote, or itself.

    Raises:
        UserError: it is missing, or holds no settings.
    """
    file = RunFiles(plan).plan_overlay if plan.is_dir() else plan
    read_config(file)
    return file


def _check(comparison: Comparison) -> None:
    """Refuse a fit that this verb cannot judge.

    Raises:
        UserError: it is training on all rows, rows to warm up on are selected, or a rival lacks one that it rests on.
    """
    if not comparison.selects and comparison.as_long:
        raise UserError(
            "There is nothing to compare: data.selector is not given; name one, e.g. IGSE, or by --plan a plan that "
            "trains on all rows for fewer epochs."
        )
    rest = [name for name in comparison.rivals if name == FEWER or (name == RANDOM and not comparison.as_long)]
    if rest and ALL not in comparison.rivals:
        raise UserError(f"--rivals has {rest[0]} without all_rows, whose cost says how long that is; add it.")
    if setting(comparison.config, "warm_up.data.selector") is not None:
        raise UserError(
            "compare judges the rows that are fine-tuned on, and warm_up.data.selector chooses others; compare choices "
            "of a warm-up by a table, see docs/tables.md."
        )


def _parser() -> FirstParser:
    parser = FirstParser("compare", description=DESCRIPTION, epilog="Every other option is one of fit.")
    parser.add_argument("--output", required=True, help="Run directory of the fit; its rivals go to compare/ inside.")
    parser.add_argument("--seeds", type=int, default=3, help="Seeds of each run, from seed_everything on; default 3.")
    parser.add_argument("--rivals", nargs="+", choices=ARMS, default=list(ARMS), help="Default all three.")
    parser.add_argument("--margin", type=float, default=1.0, help="Points within which two results count as the same.")
    parser.add_argument(
        "--plan", default=None,
        help="A folder that `plan` wrote, or a config: what is judged is that, laid over the options of fit, which are "
        "those of training on all rows.",
    )  # fmt: skip
    parser.add_argument("--jobs", type=int, default=1, help="Runs at a time; they share out the cores.")
    parser.add_argument("--cache", default=None, help="Cache folder; default SELECTUNE_CACHE.")
    parser.add_argument("--overwrite", action="store_true", help="Remove what an earlier command left in --output.")
    return parser
