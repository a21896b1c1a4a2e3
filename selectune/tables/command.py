"""The verb ``table``: run what is missing of a table, and write what it says."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from selectune.common import checks
from selectune.common.errors import RunDirectoryError, UserError
from selectune.common.files import atomic_file, check_folder, read_mapping, use_cache, write_json
from selectune.common.locks import take_lock
from selectune.common.run_files import RunFiles
from selectune.report.numbers import count, seconds
from selectune.runs.directory import differences
from selectune.tables.grid import Cell, Table
from selectune.tables.layers import without_place
from selectune.tables.markdown import markdown, told
from selectune.tables.plot import draw
from selectune.tables.reading import check_configs, read_table
from selectune.tables.remaining_time import forecast
from selectune.tables.results import Result, read_result, write_csv
from selectune.tables.running import Outcome, run_cells
from selectune.tables.summary import summarise, write_summary

STOPPED = 130  # as a shell says of what Ctrl-C ended


def main(args: list[str]) -> int:
    """Run ``table``. Returns the exit code: 0, or 1 when a cell failed.

    Raises:
        UserError: the table's config says something wrong, or its folder is of another one.
    """
    given = _parser().parse_args(args)
    checks.at_least("--jobs", given.jobs, 1)
    use_cache(given.cache)
    check_folder(given.output, "--output", RunDirectoryError)
    of = read_table(Path(given.config))
    output = Path(given.output).resolve()
    cells = of.cells(output)
    check_configs(cells)
    _check_made(cells, output)
    if given.dry_run:
        _show(of, cells, output)
        return 0
    with _alone_in(output):
        try:
            return _run(of, cells, output, given.jobs, given.keep_models)
        except KeyboardInterrupt:
            print("\nStopped; the same command goes on where it stood.", file=sys.stderr)
            return STOPPED


def write_table(of: Table, cells: list[Cell], output: Path) -> list[Result]:
    """Write all files of a table from the cells that are done; the same however often.

    Args:
        of: the table.
        cells: all of them.
        output: folder of the table.

    Returns:
        What is done, in the table's order.
    """
    results = [read_result(cell, output) for cell in cells if cell.done and not cell.keeps_models]
    tasks, methods = ({name: place for place, name in enumerate(names)} for names in (of.tasks, of.methods))
    results.sort(key=lambda one: (tasks[one.cell.task], methods[one.cell.method], _place(of, one), one.cell.seed))
    prepared = [read_result(cell, output) for cell in cells if cell.done and cell.keeps_models]
    write_csv(results, output / "table.csv")
    groups = summarise([result for result in results if result.has_headline])
    write_summary(groups, output / "summary.csv")
    picture = draw(groups, output / "table.png")
    rows = sum(not cell.keeps_models for cell in cells)
    page = markdown(groups, prepared[0] if prepared else None, len(results), rows, of.budget, picture)
    with atomic_file(output / "table.md") as partial:
        partial.write_text(page)
    return results


def _run(of: Table, cells: list[Cell], output: Path, jobs: int, keep_models: bool) -> int:
    todo = [cell for cell in cells if not cell.done]
    print(f"{len(cells)} runs, {len(todo)} to do, {jobs} at a time, into {output}")
    failures: list[Outcome] = []
    results = write_table(of, cells, output)
    with closing(run_cells(todo, jobs, keep_models, lambda cell: _start(cell, cells, output))) as outcomes:
        for outcome in outcomes:
            cell = outcome.cell
            if outcome.failure is not None:
                failures.append(outcome)
                print(f"{cell.name}: failed: {outcome.failure}", flush=True)
                continue
            results = write_table(of, cells, output)
            left = [one for one in todo if not one.done and one not in [failed.cell for failed in failures]]
            told = f"{_metric(cell, results)}{seconds(outcome.seconds)}; {_eta(of, left, results, jobs)}"
            print(f"{cell.name}: {told}", flush=True)
    if failures:
        print(f"\n{len(failures)} of {len(cells)} runs are not done:", file=sys.stderr)
        for outcome in failures:
            print(f"  {outcome.cell.name}: {outcome.failure} ({RunFiles(outcome.cell.folder).log})", file=sys.stderr)
    if wrong := {result.cell.task: result for result in results if not result.has_headline}:
        raise UserError(" ".join(result.lacks_headline() for result in wrong.values()))
    if failures:
        return 1
    print(f"{output / 'table.md'}, {output / 'table.csv'}, {output / 'summary.csv'}")
    return 0


def _start(cell: Cell, cells: list[Cell], output: Path) -> None:
    cell.folder.mkdir(parents=True, exist_ok=True)
    write_json(RunFiles(cell.folder).cell, _described(cell, cells, output))
    print(f"{cell.name}: started", flush=True)


def _described(cell: Cell, cells: list[Cell], output: Path) -> dict[str, Any]:
    """A cell as its folder holds it, without the place of the table: its config, and those of the runs it needs."""
    named = {"task": cell.task, "method": cell.method, "budget": cell.budget, "seed": cell.seed}
    described = named | {"config": without_place(cell.config, output)}
    needs = {one.name: without_place(one.config, output) for one in cells if one.folder in cell.needs}
    return described | {"needs": needs} if needs else described


def _check_made(cells: list[Cell], output: Path) -> None:
    """Refuse cells that were begun with another config.

    Raises:
        RunDirectoryError: there is one.
    """
    for cell in cells:
        files = RunFiles(cell.folder)
        if not files.cell.is_file() or not files.config.is_file():
            continue
        made = read_mapping(files.cell, "remove its folder to run that cell anew")
        differs = differences(made, _described(cell, cells, output))
        if differs:
            raise RunDirectoryError(
                f"{cell.folder} was made with another config (it differs in {', '.join(differs[:5])}); use another "
                "--output, or remove that folder to run it anew."
            )


def _show(of: Table, cells: list[Cell], output: Path) -> None:
    """Print each cell with what it will take."""
    results = [read_result(cell, output) for cell in cells if cell.done and not cell.keeps_models]
    taken = {result.cell.name: result.seconds for result in results}
    total, unknown = 0.0, 0
    for cell in cells:
        if cell.done:
            took = f"took {seconds(taken[cell.name])}" if cell.name in taken else ""
            print(f"{cell.name:44} done       {took}".rstrip())
            continue
        lacks = [folder.name for folder in cell.needs if not RunFiles(folder).finished]
        guess = forecast(cell, of, results)
        total, unknown = total + (guess.seconds or 0.0), unknown + (guess.seconds is None)
        unknown_time = "unknown" if cell.keeps_models else "unknown until one run of its task is done"
        time = unknown_time if guess.seconds is None else seconds(guess.seconds)
        rows = "rows unknown" if guess.rows is None else f"{count(guess.rows)} rows"
        state = f"waits for {', '.join(lacks)}" if lacks else "to do"
        print(f"{cell.name:44} {state:10} {rows}, {guess.epochs} epochs, {time}")
    rest = f", and {unknown} runs of unknown time" if unknown else ""
    done = sum(cell.done for cell in cells)
    print(f"{done} of {len(cells)} runs are done; left: {seconds(total)}{rest}, one at a time.")


def _eta(of: Table, left: list[Cell], results: list[Result], jobs: int) -> str:
    if not left:
        return "none left"
    guesses = [forecast(cell, of, results).seconds for cell in left]
    known = [guess for guess in guesses if guess is not None]
    time = seconds(sum(known) / jobs) if known else "unknown time"
    return f"{len(left)} left, {'at least ' if known and len(known) < len(guesses) else ''}{time}"


def _metric(cell: Cell, results: list[Result]) -> str:
    found = [result for result in results if result.cell == cell]
    if not found:
        return ""
    if not found[0].has_headline:
        return f"{found[0].lacks_headline()} "
    return f"{cell.metric} {told(cell.metric, found[0].headline)}, "


def _place(of: Table, result: Result) -> int:
    budgets = [str(budget) for budget in of.tasks[result.cell.task].budgets]
    return budgets.index(result.cell.budget) if result.cell.budget in budgets else -1


@contextmanager
def _alone_in(output: Path) -> Iterator[None]:
    """Hold a table's folder, so that two commands do not run the same cells.

    Raises:
        RunDirectoryError: another process holds it, or it cannot be written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        lock = (output / ".lock").open("w")
    except OSError as error:
        raise RunDirectoryError(f"{output} cannot be written ({error.strerror}); use another --output.") from None
    with lock as handle:
        if not take_lock(handle):
            raise RunDirectoryError(f"{output} is in use by another `table`; wait for it, or use another --output.")
        yield


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="main.py table",
        description="Run a grid of tasks, methods, budgets and seeds, each cell as fit does, and write what they say.",
    )
    parser.add_argument("--config", type=str, required=True, help="The table, see docs/tables.md.")
    parser.add_argument("--output", type=str, required=True, help="Folder of the table; what is done there is kept.")
    parser.add_argument("--jobs", type=int, default=1, help="Runs at a time; they share out the cores.")
    parser.add_argument("--cache", type=str | None, default=None, help="Cache folder; default SELECTUNE_CACHE.")
    parser.add_argument("--keep_models", action="store_true", help="Keep checkpoints and exported models.")
    parser.add_argument("--dry_run", action="store_true", help="List the runs, and what they will take; run nothing.")
    return parser
