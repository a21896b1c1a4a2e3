"""``table --dry_run``: the runs of a table, done and to do, and the time that they took or will take."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from selectune.common.errors import RunDirectoryError
from selectune.common.files import read_mapping
from selectune.common.run_files import RunFiles
from selectune.forecast import estimate
from selectune.report.numbers import count, seconds
from selectune.runs.command import RunCLI
from selectune.tables.grid import Cell, Table
from selectune.tables.layers import setting
from selectune.tables.remaining_time import remaining_rows, remaining_seconds
from selectune.tables.results import read_result
from selectune.tables.running import run_cell, why_it_failed
from selectune.tables.server import limits, start_server, threads_of


def list_cells(table: Table, cells: list[Cell], output: Path, limit: int | None, jobs: int, forecast: bool) -> None:
    """Print each cell with the time that it took or will take.

    Args:
        table: of the cells.
        cells: in their order.
        output: folder of the table.
        limit: of the cells that are not done, so many will be run now; the total is of these.
        jobs: cells at a time, each on a machine or a share of one of its own.
        forecast: estimate a cell of each task, method and budget of which nothing is known.
    """
    results = [read_result(cell, output) for cell in cells if cell.done and not cell.keeps_models]
    taken = {result.cell.name: result.seconds for result in results}
    now = [cell for cell in cells if not cell.done][:limit]
    known: dict[tuple[str, str, str], float | str] = {}
    total, unknown = 0.0, 0
    for cell in cells:
        if cell.done:
            took = f"took {seconds(taken[cell.name])}" if cell.name in taken else ""
            print(f"{cell.name:44} done       {took}".rstrip())
            continue
        lacks = [folder.name for folder in cell.needs if not RunFiles(folder).finished]
        state = f"waits for {', '.join(lacks)}" if lacks else "to do"
        expected, n_rows = remaining_seconds(cell, table, results), remaining_rows(cell, table, results)
        time = "unknown" if cell.keeps_models else "unknown until one run of its task is done"
        if expected is None and forecast and not lacks:
            kind = cell.task, cell.method, cell.budget
            if kind not in known:
                known[kind] = forecast_of(cell)
            found = known[kind]
            expected, time = (found, time) if isinstance(found, float) else (None, f"unknown: {found}")
        if cell in now:
            total, unknown = total + (expected or 0.0), unknown + (expected is None)
        time = time if expected is None else seconds(expected)
        rows = "rows unknown" if n_rows is None else f"{count(n_rows)} rows"
        epochs = setting(cell.config, "trainer.max_epochs")
        print(f"{cell.name:44} {state:10} {rows}, {epochs} epochs, {time}", flush=True)
    rest = f", and {unknown} runs of unknown time" if unknown else ""
    done = sum(cell.done for cell in cells)
    which = "left" if limit is None else f"the next {len(now)}"
    how = "one at a time" if jobs == 1 else f"{jobs} at a time"
    print(f"{done} of {len(cells)} runs are done; {which}: {seconds(total / jobs)}{rest}, {how}.")


def forecast_of(cell: Cell) -> float | str:
    """Seconds that ``estimate`` forecasts for a cell on this machine, or why it could not, in a sentence."""
    threads = threads_of(1)
    start_server(threads)
    context = multiprocessing.get_context("forkserver")
    with tempfile.TemporaryDirectory() as folder:
        there = replace(cell, folder=Path(folder) / "run")
        there.folder.mkdir()
        process = context.Process(target=_estimate, args=(there, threads, os.environ | limits(threads)))
        process.start()
        process.join()
        files = RunFiles(there.folder)
        if not files.forecast.is_file():
            return why_it_failed(files.log, process.exitcode)
        return float(read_mapping(files.forecast, "run it again", error=RunDirectoryError)["total"]["wall_s"])


class _EstimateCLI(RunCLI):
    """The verb ``estimate`` alone, which stands higher than the other verbs of `RunCLI`."""

    def _run_subcommand(self, subcommand: str) -> None:
        with self.preemption:  # in this process alone
            estimate(self.job())


def _estimate(cell: Cell, threads: int, environment: dict[str, str]) -> None:
    """Estimate a cell in a worker, whose process it ends."""
    os.environ.clear()  # the server may have been started in another environment
    os.environ.update(environment)
    sys.exit(run_cell(cell, threads, False, "estimate", _EstimateCLI))
