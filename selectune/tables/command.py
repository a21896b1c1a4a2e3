"""The verb ``table``: run the missing cells of a table, and write its results."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from selectune.common import checks
from selectune.common.errors import RunDirectoryError, UserError
from selectune.common.files import check_folder, read_mapping, use_cache, write_json
from selectune.common.locks import take_lock
from selectune.common.parser_errors import VerbParser
from selectune.common.run_files import RunFiles
from selectune.report.numbers import seconds
from selectune.runs.directory import differences
from selectune.tables.grid import Cell, Table
from selectune.tables.layers import without_place
from selectune.tables.listing import list_cells
from selectune.tables.page import metric_text
from selectune.tables.reading import check_configs, read_table
from selectune.tables.remaining_time import remaining_seconds
from selectune.tables.results import Result
from selectune.tables.running import Outcome, check_launch, run_cells
from selectune.tables.submitted import run_submitted
from selectune.tables.writing import write_table

STOPPED = 130  # as a shell says of what Ctrl-C ended


LAUNCH = ("jobs", "keep_models", "limit", "launcher", "launcher_options")


@dataclass(frozen=True)
class _Launch:
    """The options by which cells are run."""

    jobs: int
    keep_models: bool
    limit: int | None
    launcher: str
    launcher_options: dict[str, Any]

    def outcomes(
        self, todo: list[Cell], start: Callable[[Cell], None], output: Path
    ) -> Generator[Outcome, None, None]:  # fmt: skip
        """Run cells, and give each as it ends."""
        if self.launcher == "local":
            return run_cells(todo, self.jobs, self.keep_models, start)
        folder = output / self.launcher
        return run_submitted(todo, self.jobs, self.keep_models, start, folder, self.launcher_options, self.launcher)


def main(args: list[str]) -> int:
    """Run ``table``. Returns the exit code: 0, or 1 when a cell failed.

    Raises:
        UserError: the table's config has a mistake, or its folder is of another one.
    """
    parser = VerbParser(
        "table",
        description="Run a grid of tasks, methods, budgets and seeds, each cell as fit does, and write what they say.",
    )
    parser.add_argument("--config", type=str, required=True, help="The table, see docs/tables.md.")
    parser.add_argument("--output", type=str, required=True, help="Folder of the table; what is done there is kept.")
    parser.add_argument("--jobs", type=int, default=1, help="Runs at a time; they share out the cores.")
    parser.add_argument("--limit", type=int | None, default=None, help="Run so many of those that are not done.")
    parser.add_argument(
        "--launcher", type=Literal["local", "slurm"], default="local",
        help="Run here, or as jobs of Slurm, each with a place of its own in the queue.",
    )  # fmt: skip
    parser.add_argument(
        "--launcher_options", type=dict[str, Any], default={},
        help="Of a job, as submitit names them: {timeout_min: 60, cpus_per_task: 8, slurm_partition: gpu}.",
    )  # fmt: skip
    parser.add_argument(
        "--protocol", type=str, default="", help="Run it another way that the table names, such as a paper's own."
    )
    parser.add_argument("--cache", type=str | None, default=None, help="Cache folder; default SELECTUNE_CACHE.")
    parser.add_argument("--keep_models", action="store_true", help="Keep checkpoints and exported models.")
    parser.add_argument("--dry_run", action="store_true", help="List the runs, and what they will take; run nothing.")
    parser.add_argument(
        "--forecast", action="store_true",
        help="With --dry_run: estimate a run of each kind of which none is done, as the verb estimate does.",
    )  # fmt: skip
    given = parser.parse_args(args)
    checks.at_least("--jobs", given.jobs, 1)
    checks.at_least("--limit", given.limit, 1)
    if given.forecast and not given.dry_run:
        raise UserError("--forecast tells what runs would take without running them; say --dry_run too.")
    if given.launcher_options and given.launcher == "local":
        raise UserError("--launcher_options are those of a job, but --launcher is local; say --launcher slurm.")
    use_cache(given.cache)
    check_folder(given.output, "--output", RunDirectoryError)
    table = read_table(Path(given.config))
    table = table.under(given.protocol) if given.protocol else table
    output = Path(given.output).resolve()
    cells = table.cells(output)
    check_configs(cells)
    table.figures  # noqa: B018  (a mistake in them is found now)
    check_launch("table", [cell.config for cell in cells])
    _check_begun(cells, output)
    if given.dry_run:
        list_cells(table, cells, output, given.limit, given.jobs if given.launcher != "local" else 1, given.forecast)
        return 0
    with alone_in(output):
        try:
            return _run(table, cells, output, _Launch(**{name: given[name] for name in LAUNCH}))
        except KeyboardInterrupt:
            print("\nStopped; the same command goes on where it stood.", file=sys.stderr)
            return STOPPED


def _run(table: Table, cells: list[Cell], output: Path, launch: _Launch) -> int:
    def start(cell: Cell) -> None:
        cell.folder.mkdir(parents=True, exist_ok=True)
        write_json(RunFiles(cell.folder).cell, _described(cell, cells, output))
        print(f"{cell.name}: started", flush=True)

    left = [cell for cell in cells if not cell.done]
    jobs, where = launch.jobs, "" if launch.launcher == "local" else f" as jobs of {launch.launcher}"
    limited = "" if launch.limit is None else f", of which {min(launch.limit, len(left))} now"
    print(f"{len(cells)} runs, {len(left)} to do{limited}, {jobs} at a time{where}, into {output}")
    todo = left[: launch.limit]
    failures: list[Outcome] = []
    results = write_table(table, cells, output)
    with closing(launch.outcomes(todo, start, output)) as outcomes:
        for outcome in outcomes:
            cell = outcome.cell
            left = [other for other in left if other != cell and not other.done]
            if outcome.failure is not None:
                failures.append(outcome)
                print(f"{cell.name}: failed: {outcome.failure}", flush=True)
                continue
            results = write_table(table, cells, output)
            progress = f"{seconds(outcome.seconds)}; {_remaining(table, left, results, jobs)}"
            print(f"{cell.name}: {_headline(cell, results)}{progress}", flush=True)
    if failures:
        print(f"\n{len(failures)} of {len(cells)} runs are not done:", file=sys.stderr)
        for outcome in failures:
            print(f"  {outcome.cell.name}: {outcome.failure} ({outcome.cell.folder}/log.txt)", file=sys.stderr)
    if wrong := {result.cell.task: result.no_headline for result in results if result.no_headline}:
        raise UserError(" ".join(wrong.values()))
    if failures:
        return 1
    print(f"{output / 'table.md'}, {output / 'table.csv'}, {output / 'summary.csv'}")
    return 0


def _headline(cell: Cell, results: list[Result]) -> str:
    """The headline of a cell, or that it has none; empty for a prepared model."""
    for result in results:
        if result.cell == cell:
            text = result.no_headline or f"{cell.metric} {metric_text(cell.metric, result.headline)},"
            return f"{text} "
    return ""


def _remaining(table: Table, left: list[Cell], results: list[Result], jobs: int) -> str:
    if not left:
        return "none left"
    estimates = [remaining_seconds(cell, table, results) for cell in left]
    known = [estimate for estimate in estimates if estimate is not None]
    time = seconds(sum(known) / jobs) if known else "unknown time"
    return f"{len(left)} left, {'at least ' if known and len(known) < len(estimates) else ''}{time}"


def _described(cell: Cell, cells: list[Cell], output: Path) -> dict[str, Any]:
    """A cell as its folder holds it, without the place of the table: its config, and those of the runs it needs."""
    described = cell.place | {"config": without_place(cell.config, output)}
    needs = {one.name: without_place(one.config, output) for one in cells if one.folder in cell.needs}
    return described | {"needs": needs} if needs else described


def _check_begun(cells: list[Cell], output: Path) -> None:
    """Refuse cells that were begun with another config."""
    for cell in cells:
        file = RunFiles(cell.folder).cell
        if not file.is_file() or not RunFiles(cell.folder).config.is_file():
            continue
        begun = read_mapping(file, "remove its folder to run that cell anew")
        if differs := differences(begun, _described(cell, cells, output)):
            raise RunDirectoryError(
                f"{cell.folder} was made with another config (it differs in {', '.join(differs[:5])}); use another "
                "--output, or remove that folder to run it anew."
            )


@contextmanager
def alone_in(output: Path) -> Iterator[None]:
    """Lock a folder of runs, so that no two commands run the same ones."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        lock = (output / ".lock").open("w")
    except OSError as error:
        raise RunDirectoryError(f"{output} cannot be written ({error.strerror}); use another --output.") from None
    with lock as handle:
        if not take_lock(handle):
            raise RunDirectoryError(f"{output} is in use by another command; wait for it, or use another --output.")
        yield
