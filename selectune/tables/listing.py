"""``table --dry_run``: the runs of a table, done and to do, and the time that they took or will take."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from selectune.common.errors import RunDirectoryError
from selectune.common.files import read_mapping
from selectune.common.run_files import RunFiles
from selectune.report.numbers import count, seconds
from selectune.tables.grid import Cell, Table
from selectune.tables.layers import setting
from selectune.tables.remaining_time import remaining_rows, remaining_seconds
from selectune.tables.results import read_result
from selectune.tables.running import said_last


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
        print(f"{cell.name:44} {state:10} {rows}, {length_of(cell)}, {time}", flush=True)
    rest = f", and {unknown} runs of unknown time" if unknown else ""
    done = sum(cell.done for cell in cells)
    which = "left" if limit is None else f"the next {len(now)}"
    how = "one at a time" if jobs == 1 else f"{jobs} at a time"
    print(f"{done} of {len(cells)} runs are done; {which}: {seconds(total / jobs)}{rest}, {how}.")


def length_of(cell: Cell) -> str:
    """The length of a cell's training: "3 epochs", "250 steps", or what its Trainer has by itself."""
    epochs, steps = (setting(cell.config, f"trainer.max_{unit}") for unit in ("epochs", "steps"))
    known = [f"{n} {unit}" for n, unit in ((epochs, "epochs"), (steps, "steps")) if n is not None and n > 0]
    return " or ".join(known) or "the Trainer's own length"


def forecast_of(cell: Cell) -> float | str:
    """Seconds that the verb ``estimate`` forecasts for a cell on this machine, or why it could not, in a sentence."""
    with tempfile.TemporaryDirectory() as folder:
        config, run = Path(folder) / f"{cell.name}.yaml", RunFiles(Path(folder) / "run")
        config.write_text(yaml.safe_dump(cell.config, sort_keys=False, allow_unicode=True), encoding="utf-8")
        command = [sys.executable, "-m", "selectune.cli", "estimate", "--config", str(config), "--output"]
        done = subprocess.run([*command, str(run.forecast.parent)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        if done.returncode:
            return said_last(done.stderr.decode(errors="replace"), done.returncode)
        return float(read_mapping(run.forecast, "run it again", error=RunDirectoryError)["total"]["wall_s"])
