"""The summaries of the committed tables from their runs: intervals over seeds, and the verdict on each method.

    python benchmarks/verdicts.py            # writes results/small_*_summary.csv, and prints the tables and verdicts;
                                             # and results/small_gotd_lm_against_gotd.csv, GOT-D less each other method
    python benchmarks/verdicts.py --check    # writes nothing; exits with 1 when a summary is not that of its runs

`results/small_*.csv` have a metric for each run, and none for each held-out row. So the interval of a difference is the
t interval over the seeds' paired differences, as `table` has it where a metric does not follow from rows; it takes the
held-out rows for all there are. Rivals and words are those of `table`.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import tempfile
from pathlib import Path
from typing import Any

from selectune.tables.formats import table_of
from selectune.tables.grid import Cell
from selectune.tables.layers import setting
from selectune.tables.reading import read_table
from selectune.tables.results import Result
from selectune.tables.summary import Group, summarise, write_summary
from selectune.verdict.evidence import Cost
from selectune.verdict.intervals import difference_of_seeds
from selectune.verdict.judged import Judged

REPOSITORY = Path(__file__).parent.parent
TABLES = ("euds", "gotd", "gotd_lm", "gotd_lm_long", "gotd_labels", "quick")
AGAINST = REPOSITORY / "results" / "small_gotd_lm_against_gotd.csv"
COUNTED = ("tokens_trained_on", "total_flops", "selection_flops", "total_device_s")


def groups_of(table: str) -> list[Group]:
    """The lines of a table, with their differences and verdicts, from the CSV of its runs."""
    config = read_table(REPOSITORY / "configs" / "tables" / "small" / f"{table}.yaml")
    cells = {cell.name: cell for cell in config.cells(Path(table))}
    return summarise([_result(run, cells[_name(run)]) for run in _runs(table)])


def against_gotd() -> str:
    """GOT-D less each other method in `gotd_lm`, by task, as a CSV: over the seeds, which both have."""
    by_seed: dict[tuple[str, str], dict[int, float]] = {}
    for run in _runs("gotd_lm"):
        values = by_seed.setdefault((run["task"], run["method"]), {})
        values[int(run["seed"])] = float(run[f"test/{run['task']}/loss"])
    lines = io.StringIO()
    written = csv.writer(lines, lineterminator="\n")
    written.writerow(("task", "method", "difference", "low", "high", "n"))
    for (task, method), theirs in by_seed.items():
        if method != "gotd" and (found := difference_of_seeds(by_seed[task, "gotd"], theirs)) is not None:
            written.writerow(
                (task, method, *(f"{one:.6g}" for one in (found.value, found.low, found.high)), found.n_seeds)
            )
    return lines.getvalue()


def summary_file(table: str) -> Path:
    """The file that a table's lines lie in."""
    return REPOSITORY / "results" / f"small_{table}_summary.csv"


def _runs(table: str) -> list[dict[str, str]]:
    with (REPOSITORY / "results" / f"small_{table}.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


def _name(run: dict[str, str]) -> str:
    return "-".join(run[name] for name in ("task", "method", "budget", "seed"))


def _result(run: dict[str, str], cell: Cell) -> Result:
    metrics = {name.removeprefix("test/"): float(run[name]) for name in run if name.startswith("test/") and run[name]}
    row: dict[str, Any] = {name: float(run[name]) for name in COUNTED} | {"warnings": run.get("warnings", "")}
    row |= {f"test/{name}": value for name, value in metrics.items()}
    kept, pool = int(run["rows"]), int(run["pool_rows"])
    if run["warm_up_rows"]:  # what is judged is the choice of rows to warm up on
        kept, pool = int(run["warm_up_rows"]), setting(cell.config, "warm_up.data.max_train_rows")
    cost = Cost(row["total_flops"], row["total_device_s"])
    return Result(cell, row, 0.0, Judged(metrics=metrics, kept_rows=kept, pool_rows=pool, cost=cost))


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--check", action="store_true", help="compare with the files instead of writing them")
    options = made.parse_args()
    stale = []
    for table in TABLES:
        groups, file = groups_of(table), summary_file(table)
        with tempfile.TemporaryDirectory() as folder:
            write_summary(groups, Path(folder) / file.name)
            summary = (Path(folder) / file.name).read_text()
        if not options.check:
            file.write_text(summary)
        elif file.read_text() != summary:
            stale.append(file.name)
        for group in groups:
            print(f"\n{group.task}, {group.budget}\n\n{table_of(group)}\n")
            for line in group.lines:
                if line.verdict is not None:
                    print(f"{line.method}: {line.verdict.sentence}")
    if not options.check:
        AGAINST.write_text(against_gotd())
    elif AGAINST.read_text() != against_gotd():
        stale.append(AGAINST.name)
    print(f"\nGOT-D less the others, nats a token\n\n{AGAINST.read_text()}")
    for name in stale:
        print(f"not of its runs: results/{name}; run benchmarks/verdicts.py", file=sys.stderr)
    sys.exit(1 if stale else 0)


if __name__ == "__main__":
    main()
