"""The verb ``compare``: a fit with a selection beside its rivals, and the verdict on the selection.

python main.py compare --config configs/euds/sst2.yaml --seeds 3 --output RUN

It runs the fit itself in ``RUN``, and in ``RUN/compare`` all rows, random rows at the same total cost, and all rows for
fewer epochs at the same total cost; with several seeds, all of them at each. Every one is a plain run, and they share a
cache. A run that is done is kept, so the same command continues where it stopped.
"""

from __future__ import annotations

import argparse
import sys
from argparse import ArgumentError
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import shorten
from typing import Any

import yaml

from selectune.common import checks
from selectune.common.errors import RunDirectoryError, UserError
from selectune.common.files import check_folder, read_mapping, use_cache, write_json
from selectune.common.run_files import RunFiles
from selectune.common.training_outcome import TrainingOutcome
from selectune.costs.saving import Saving
from selectune.report import print_verdict, write_report
from selectune.report.numbers import seconds
from selectune.runs.command import NOT_IN_CONFIG
from selectune.runs.directory import Run, differences
from selectune.runs.training_length import ends_after
from selectune.tables.command import STOPPED, alone_in
from selectune.tables.grid import BUDGETS, Cell
from selectune.tables.layers import Config, setting, with_settings
from selectune.tables.reading import LONGEST, fit_parser
from selectune.tables.running import check_launch, run_cells
from selectune.verdict.evidence import ARMS
from selectune.verdict.judge import judge, total_flops

SELECTED = "selected"
ALL, RANDOM, FEWER = ARMS
DESCRIPTION = "Run a fit with a selection, its rivals at the same total cost, and judge the selection."


@dataclass(frozen=True)
class Comparison:
    """A fit and its rivals.

    Args:
        output: the run directory of the fit that is judged; the other runs lie in ``compare`` inside it.
        seeds: of the runs; the first is the config's own, in `output`.
        rivals: of `ARMS`, those to run.
        config: of the fit, as its ``config.yaml`` holds it.
    """

    output: Path
    seeds: list[int]
    rivals: tuple[str, ...]
    config: Config

    def folder(self, name: str, seed: int) -> Path:
        """The run directory of the fit or of a rival at a seed."""
        if name == SELECTED and seed == self.seeds[0]:
            return self.output
        return RunFiles(self.output).rival(name, seed)

    def cell(self, name: str, seed: int, changes: dict[str, Any]) -> Cell:
        """A run that starts from the same weights as the fit does.

        A warm-up is run once, by the fit at its first seed, and the others start from what it gave.
        """
        folder = self.folder(name, seed)
        needs: tuple[Path, ...] = ()
        if folder != self.output and self.config.get("warm_up"):
            changes = changes | {"warm_up": None, "model.checkpoint": str(RunFiles(self.output).warm_up.export)}
            needs = (self.output,)
        if folder != self.output and self.config.get("pilot"):  # which made a forecast for one run alone
            changes = {"pilot": None} | changes
        if seed != self.seeds[0]:  # splits, selection and weights are all drawn anew
            changes = {"data.seed": None, "model.seed": None} | changes
        config = with_settings(self.config, changes | {"seed_everything": seed})
        return Cell(name, name, "none", seed, folder, config, needs=needs, shown=folder == self.output)

    def stages(self) -> Iterator[list[Cell]]:
        """The runs, in stages: what a later one runs costs as much as a run of an earlier one did."""
        yield [self.cell(SELECTED, seed, {}) for seed in self.seeds]
        done = [seed for seed in self.seeds if RunFiles(self.folder(SELECTED, seed)).finished]
        cells = [self.cell(ALL, seed, _select(None)) for seed in done if ALL in self.rivals]
        for seed in done if RANDOM in self.rivals else ():
            matched = {"match": str(self.folder(SELECTED, seed)), "by": "cost"}
            cells.append(self.cell(RANDOM, seed, _select({"class_path": "Random", "init_args": matched})))
        yield cells
        pairs = [(seed, self.folder(SELECTED, seed), self.folder(ALL, seed)) for seed in done if FEWER in self.rivals]
        whole = [pair for pair in pairs if RunFiles(pair[2]).finished]
        yield [self.cell(FEWER, seed, _select(None) | self._fewer(*folders)) for seed, *folders in whole]

    def _fewer(self, fit: Path, whole: Path) -> dict[str, Any]:
        """Trainer settings with which all rows cost what a fit with its selection did, the schedule compressed."""
        outcome = TrainingOutcome.read(whole)
        cost, full = total_flops(fit), total_flops(whole)
        if outcome is None or cost is None or not full:
            raise UserError(f"The FLOPs of {fit} or {whole} are not known; leave fewer_epochs out of --rivals.")
        accumulated = int(setting(self.config, "trainer.accumulate_grad_batches") or 1)
        batches = min(outcome.steps, max(1, round(outcome.steps * cost / full)))
        epochs = max(1, round(batches / outcome.steps * (Saving.read(whole).epochs or 1)))
        return {f"trainer.{name}": value for name, value in ends_after(batches, epochs, accumulated).items()}


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
    if FEWER in rivals and ALL not in rivals:
        raise UserError("--rivals has fewer_epochs without all_rows, whose cost says how many steps those are; add it.")
    check_folder(given.output, "--output", RunDirectoryError)
    use_cache(given.cache)
    normalise = _normaliser()
    config = normalise(rest)
    check_launch("compare", [config])
    _check_selects(config)
    first = int(config["seed_everything"])
    comparison = Comparison(Path(given.output), list(range(first, first + given.seeds)), rivals, config)
    files = RunFiles(comparison.output)
    if given.overwrite and files.config.is_file():
        Run(comparison.output).remove()
    with alone_in(files.compare):
        write_json(files.comparison, {"seeds": comparison.seeds, "margin": given.margin})
        try:
            code = 1 if run_all(comparison, given.jobs, normalise) else 0
        except KeyboardInterrupt:
            print("\nStopped; the same command continues from there.", file=sys.stderr)
            code = STOPPED
        if files.finished:
            write_report(comparison.output)
            print_verdict(judge(comparison.output))
            outcome = TrainingOutcome.read(comparison.output)
            code = 3 if code == 0 and outcome is not None and outcome.not_finite is not None else code
    return code


def run_all(comparison: Comparison, jobs: int, normalise: Callable[[Any], Config]) -> bool:
    """Run what is missing of a comparison. Returns whether a run failed.

    A fit whose training failed is judged without rivals: their cost would tell nothing more.
    """
    stages = comparison.stages()
    selected = next(stages)
    # Alone, yet with as many threads as each of the others has, so that device times compare.
    failed = _run(selected[:1], jobs, normalise)
    outcome = TrainingOutcome.read(comparison.output)
    if failed or (outcome is not None and outcome.failed):
        return failed
    failed = _run(selected[1:], jobs, normalise)
    for cells in stages:
        failed = _run(cells, jobs, normalise) or failed
    return failed


def _run(cells: Sequence[Cell], jobs: int, normalise: Callable[[Any], Config]) -> bool:
    """Run cells that are not done, and say how each ended. Returns whether one failed."""
    cells = [replace(cell, config=normalise(cell.config)) for cell in cells]
    for cell in cells:
        _check_same(cell)
    failed = False
    with closing(run_cells([cell for cell in cells if not cell.done], jobs, True, _start)) as outcomes:
        for outcome in outcomes:
            end = f"failed: {outcome.failure}" if outcome.failure else f"done in {seconds(outcome.seconds)}"
            failed = failed or outcome.failure is not None
            print(f"{outcome.cell.task}, seed {outcome.cell.seed}: {end}", flush=True)
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


def _normaliser() -> Callable[[Any], Config]:
    """A function that parses fit's arguments, or a config, into a config with all defaults, as a run writes it.

    Parsing twice gives the same as once, so that configs can be compared.
    """
    parser = fit_parser()

    def normalise(given: Any) -> Config:
        try:
            parsed = parser.parse_args(given) if isinstance(given, list) else parser.parse_object(given)
        except (ArgumentError, TypeError, ValueError) as error:
            message = " ".join(str(error).partition("Given value")[0].split())
            raise UserError(f"These are not options that fit takes. {shorten(message, LONGEST)}") from None
        content = yaml.safe_load(parser.dump(parsed, skip_none=False))
        return {name: value for name, value in content.items() if name not in NOT_IN_CONFIG}

    return normalise


def _check_selects(config: Config) -> None:
    """Refuse a fit whose selection this verb cannot judge.

    Raises:
        UserError: nothing is selected, or rows to warm up on are.
    """
    if setting(config, "data.selector") is None and setting(config, "data.selection") is None:
        raise UserError("There is nothing to compare: data.selector is not given; name one, e.g. IGSE.")
    if setting(config, "warm_up.data.selector") is not None:
        raise UserError(
            "compare judges the rows that are fine-tuned on, and warm_up.data.selector chooses others; compare choices "
            "of a warm-up by a table, see docs/tables.md."
        )


def _select(selector: Config | None) -> dict[str, Any]:
    """Settings of a data module that selects otherwise, without a budget."""
    names = ("selection", *BUDGETS)
    return {"data.selector": selector} | {f"data.{name}": None for name in names}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="main.py compare", description=DESCRIPTION, epilog="Every other option is one of fit.", allow_abbrev=False
    )
    parser.add_argument("--output", required=True, help="Run directory of the fit; its rivals go to compare/ inside.")
    parser.add_argument("--seeds", type=int, default=3, help="Seeds of each run, from seed_everything on; default 3.")
    parser.add_argument("--rivals", nargs="+", choices=ARMS, default=list(ARMS), help="Default all three.")
    parser.add_argument("--margin", type=float, default=1.0, help="Points within which two results count as the same.")
    parser.add_argument("--jobs", type=int, default=1, help="Runs at a time; they share out the cores.")
    parser.add_argument("--cache", default=None, help="Cache folder; default SELECTUNE_CACHE.")
    parser.add_argument("--overwrite", action="store_true", help="Remove what an earlier command left in --output.")
    return parser
