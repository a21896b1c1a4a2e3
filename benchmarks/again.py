"""Cells of a finished table, drawn at random and run again: do they give the same metrics, rows, answers?

    python benchmarks/again.py --table runs/gotd --jobs 2                  # two cells; about as long as they took
    python benchmarks/again.py --table runs/gotd --draw 3 --cells 4        # four others
    python benchmarks/again.py --table runs/gotd --csv out.csv --check     # exits with 1 when a metric differs

Each is `python main.py fit --config CELL/config.yaml`, with an empty cache, so that signals are computed anew too.
`--jobs` is that of the table: the runs get as many threads as its own had. Whoever draws must not have seen the metrics
first: the draw is by its number alone, and the first is 0.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
from _table import Row, finish, parser

from selectune.tables.running import threads_of

REPOSITORY = Path(__file__).resolve().parent.parent
TOLERANCE = 1e-6  # what docs/reproducing.md promises of the same machine


def run_again(cells: list[Path], folder: Path, jobs: int) -> None:
    """Run cells at the same time, each into a folder of its name.

    Raises:
        SystemExit: one of them failed.
    """
    environment = os.environ | {"SELECTUNE_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": str(threads_of(jobs))}
    for start in range(0, len(cells), jobs):
        running = []
        for cell in cells[start : start + jobs]:
            arguments = ["--config", cell / "config.yaml", "--output", folder / cell.name]
            command = [sys.executable, "main.py", "fit", *arguments]
            running.append(subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL))
        if any([process.wait() for process in running]):
            sys.exit(f"A run of {', '.join(cell.name for cell in cells)} failed.")


def compared(cell: Path, again: Path) -> Iterator[Row]:
    """Each held-out figure then and now, and how many of the rows chosen and of the answers given are the same."""
    then, now = metrics(cell), metrics(again)
    for name in sorted(then):
        yield Row(cell.name, name, "then", then[name])
        yield Row(cell.name, name, "again", now.get(name, float("nan")))
    for name, file, column in (
        ("rows_fine_tuned_on", "selection/rows.parquet", "row_id"),
        ("rows_warmed_up_on", "warm_up/selection/rows.parquet", "row_id"),
        ("predictions", "test_scores.parquet", "prediction"),
        ("f1_of_questions", "test_scores.parquet", "f1"),
    ):
        if (cell / file).is_file() and column in pq.read_schema(cell / file).names:
            old, new = (pq.read_table(run / file)[column].to_pylist() for run in (cell, again))
            yield Row(cell.name, name, "then", len(old))
            yield Row(cell.name, name, "again", sum(a == b for a, b in zip(old, new)) if len(old) == len(new) else 0)


def metrics(run: Path) -> dict[str, float]:
    """The held-out metrics of a finished run."""
    metrics = json.loads((run / "done.json").read_text())["metrics"]
    return {name: value for name, value in metrics.items() if name.startswith("test/")}


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--table", type=Path, required=True, help="folder of a finished table")
    made.add_argument("--cells", type=int, default=2, help="how many")
    made.add_argument("--draw", type=int, default=0, help="number of the draw")
    made.add_argument("--jobs", type=int, default=1, help="that the table was run with")
    options = made.parse_args()
    done = sorted(file.parent for file in options.table.absolute().glob("cells/*/done.json"))
    if len(done) < options.cells:
        sys.exit(f"{options.table} has {len(done)} finished cell(s), fewer than --cells {options.cells}.")
    drawn = random.Random(options.draw).sample(done, options.cells)
    with tempfile.TemporaryDirectory() as folder:
        run_again(drawn, Path(folder), options.jobs)
        rows = [row for cell in drawn for row in compared(cell, Path(folder) / cell.name)]
    values = {(row.case, row.variant, row.metric): row.value for row in rows}
    missed = [
        f"{row.variant} of {row.case} was {row.value} and is {values[row.case, row.variant, 'again']}"
        for row in rows
        if row.metric == "then" and not abs(row.value - values[row.case, row.variant, "again"]) <= TOLERANCE
    ]
    finish(rows, missed, options)


if __name__ == "__main__":
    main()
