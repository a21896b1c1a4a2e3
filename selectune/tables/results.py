"""Results of the done cells: ``table.csv``, a row a run."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from selectune.common.files import atomic_file, read_mapping
from selectune.common.run_files import RunFiles
from selectune.common.training_outcome import TrainingOutcome
from selectune.costs.compute_saving import compute_saving
from selectune.costs.ledger import read_ledger
from selectune.costs.record import BESIDE, add_up, distinct
from selectune.costs.saving import SELECTION, UNITS, Saving
from selectune.costs.uninterrupted import uninterrupted
from selectune.tables.grid import PLACE, Cell
from selectune.tables.layers import read_config, without_place
from selectune.verdict.evidence import Cost
from selectune.verdict.judged import Judged
from selectune.verdict.metric_kinds import REDUCTION

FROM = "from/"  # begins the columns of a pool's data sets
STEPS = ("selection", "warm_up", "training", "total")
LAST = (
    "rows", "tokens_kept", "pool_rows", "pool_tokens", "epochs", "warm_up_rows", "warm_up_tokens", "tokens_trained_on",
    *(f"{step}_{unit}" for unit in UNITS for step in STEPS), "saving_flops", "config", "commit", "finished_at",
    "warnings",
)  # fmt: skip
AGAIN = "remove the folder of that run to do it again"


@dataclass(frozen=True)
class Result:
    """Result of a done cell.

    Args:
        cell: that was run.
        row: of ``table.csv``, without the cell's place.
        seconds: that its run took, over all attempts.
        judged: the run as a verdict needs it.
    """

    cell: Cell
    row: dict[str, Any]
    seconds: float
    judged: Judged

    @property
    def headline(self) -> float:
        """The task's metric on the held-out split."""
        return float(self.row[f"test/{self.cell.metric}"])

    def by(self, metric: str) -> Result:
        """The same run with another metric as its headline; `REDUCTION` is the share of its rows that was left out."""
        run = replace(self, cell=replace(self.cell, metric=metric))
        if metric != REDUCTION:
            return run
        share = 1 - self.judged.kept_rows / self.judged.pool_rows
        judged = replace(self.judged, metrics={**self.judged.metrics, REDUCTION: share})
        return replace(run, row=self.row | {f"test/{REDUCTION}": share}, judged=judged)

    @property
    def no_headline(self) -> str:
        """A sentence that names the metrics of the run where one of the task's is none of them; else empty."""
        names = ", ".join(key.removeprefix("test/") for key in self.row if key.startswith("test/"))
        wanted = (self.cell.metric, *self.cell.further)
        missing = next((metric for metric in wanted if f"test/{metric}" not in self.row), None)
        if missing is None:
            return ""
        return (
            f"The runs of task '{self.cell.task}' have no metric '{missing}', but {names}; correct the task's "
            f"{'metric' if missing == self.cell.metric else 'more_metrics'}, and give the command again: what is done "
            "stays."
        )


def read_result(cell: Cell, output: Path) -> Result:
    """Read the result of a done cell; the hash of its config leaves out the folder of the table, `output`."""
    files = RunFiles(cell.folder)
    done = read_mapping(files.done, AGAIN, "metrics", "commit", "finished_at")
    saving = Saving.read(cell.folder)
    manifest, warm_up_manifest = (
        read_mapping(file, AGAIN) if file.is_file() else {} for file in (files.manifest, files.warm_up.manifest)
    )
    records = uninterrupted(cell.folder)  # a method's cost must not depend on when its run was interrupted
    steps = [
        [record for record in records if record.stage in SELECTION and record.part not in BESIDE],
        [record for record in records if record.stage == "warm_up"],
        [record for record in records if record.stage == "train" and not record.cached],
    ]
    warm_up_tokens = sum(record.tokens for record in steps[1])
    row: dict[str, Any] = {name: value for name, value in done["metrics"].items() if name.startswith("test/")}
    row |= {
        "rows": saving.kept_rows,
        "tokens_kept": saving.kept_tokens,
        "pool_rows": saving.pool_rows,
        "pool_tokens": saving.pool_tokens,
        "epochs": saving.epochs,
        "warm_up_rows": warm_up_manifest.get("n_rows"),
        "warm_up_tokens": warm_up_tokens or None,
        "tokens_trained_on": round(saving.kept_tokens * (saving.epochs or 0.0)) + warm_up_tokens,
    }
    domains = (warm_up_manifest or manifest).get("diagnostics", {}).get("domains", {})
    row |= {f"{FROM}{name}": counted["kept"] for name, counted in domains.items()}
    for unit in UNITS:
        costs = [getattr(add_up(step), unit) for step in steps]
        total = None if None in costs else sum(costs)
        row |= {f"{step}_{unit}": value for step, value in zip(STEPS, [*costs, total])}
    sizes = saving.kept_rows, saving.pool_rows, saving.kept_tokens, saving.pool_tokens
    row["saving_flops"] = compute_saving(records, *sizes, saving.epochs).flops.saving
    config = json.dumps(without_place(read_config(files.config), output), sort_keys=True)
    row["config"] = hashlib.blake2b(config.encode(), digest_size=8).hexdigest()
    row |= {"commit": done["commit"], "finished_at": done["finished_at"]}
    outcomes = [TrainingOutcome.read(run.path) for run in (files.warm_up, files)]
    problems = [problem.message for outcome in outcomes if outcome for problem in outcome.problems]
    row["warnings"] = " ".join([*problems, *warm_up_manifest.get("warnings", []), *manifest.get("warnings", [])])
    spent = [record for record in distinct(read_ledger(files.costs)) if not record.cached]
    judged = Judged.read(cell.folder, done["metrics"])
    if cell.selects_in != "data":  # what was selected for the warm-up is judged, whose cost all share else
        part, cost = saving.warm_up or saving, Cost(row["total_flops"], row["total_device_s"])
        judged = replace(judged, kept_rows=part.kept_rows, pool_rows=part.pool_rows, cost=cost, cost_of_all_rows=None)
    return Result(cell, row, add_up(spent).wall_s, judged)


def write_csv(results: list[Result], file: Path) -> None:
    """Write ``table.csv`` whole or not at all, in the order of the results."""
    names = sorted({name for result in results for name in result.row})
    metrics, sources = ([name for name in names if name.startswith(start)] for start in ("test/", FROM))
    write_rows([*PLACE, *metrics, *sources, *LAST], [result.cell.place | result.row for result in results], file)


def write_rows(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], file: Path) -> None:
    """Write a CSV whole or not at all; a row that lacks a column has it empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell_text(value) for name, value in row.items()} for row in rows)
    with atomic_file(file) as partial:
        partial.write_text(text.getvalue())


def _cell_text(value: Any) -> Any:
    """Large whole numbers without a point, other floats to nine digits."""
    if not isinstance(value, float):
        return value
    whole = math.isfinite(value) and value == int(value) and abs(value) >= 1e6
    return str(int(value)) if whole else f"{value:.9g}"
