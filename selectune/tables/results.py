"""What the cells left: ``table.csv``, a row a run."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from selectune.common.files import atomic_file, read_mapping
from selectune.common.run_files import RunFiles
from selectune.common.training_outcome import TrainingOutcome
from selectune.costs.compute_saving import compute_saving
from selectune.costs.ledger import read_ledger
from selectune.costs.record import CostRecord, add_up, distinct
from selectune.costs.saving import SELECTION, Saving
from selectune.costs.uninterrupted import unbroken
from selectune.tables.grid import Cell
from selectune.tables.layers import read_config, without_place

FIRST = ("task", "method", "budget", "seed")
FROM = "from/"  # begins the columns of a pool's data sets
STEPS = ("selection", "warm_up", "training", "total")
LAST = (
    "rows", "tokens_kept", "pool_rows", "pool_tokens", "epochs", "warm_up_rows", "warm_up_tokens", "tokens_trained_on",
    *(f"{step}_{unit}" for unit in ("flops", "device_s") for step in STEPS), "saving_flops", "config", "commit",
    "finished_at", "warnings",
)  # fmt: skip
AGAIN = "remove the folder of that run to do it again"


@dataclass(frozen=True)
class Result:
    """What a done cell came to.

    Args:
        cell: that was run.
        row: of ``table.csv``, but for what names the cell.
        seconds: that its run took, over all attempts.
    """

    cell: Cell
    row: dict[str, Any]
    seconds: float

    @property
    def has_headline(self) -> bool:
        """Whether the run has the task's metric."""
        return f"test/{self.cell.metric}" in self.row

    @property
    def headline(self) -> float:
        """The task's metric on the held-out split."""
        return float(self.row[f"test/{self.cell.metric}"])

    def lacks_headline(self) -> str:
        """That the run has no such metric, in a sentence."""
        there = ", ".join(key.removeprefix("test/") for key in self.row if key.startswith("test/"))
        return (
            f"The runs of task '{self.cell.task}' have no metric '{self.cell.metric}', but {there}; mend the task's "
            "metric, and give the command again: what is done stays."
        )

    def figures(self) -> dict[str, np.ndarray]:
        """The figures of each held-out row, by column, with ``row_id``; nothing where the head has none."""
        import pyarrow.parquet as pq

        file = RunFiles(self.cell.folder).row_metrics
        if not file.is_file():
            return {}
        table = pq.read_table(file)
        return {name: table[name].to_numpy() for name in table.column_names}


def read_result(cell: Cell, output: Path) -> Result:
    """Read what a done cell left.

    Args:
        cell: that is done.
        output: folder of the table, which the hash of a config leaves out.
    """
    folder, files = cell.folder, RunFiles(cell.folder)
    done = read_mapping(files.done, AGAIN, "metrics", "commit", "finished_at")
    saving = Saving.read(folder)
    records = unbroken(folder)
    warm_up = [record for record in records if record.stage == "warm_up"]
    training = [record for record in records if record.stage == "train" and not record.cached]
    chosen, warmed_up = _manifest(files), _manifest(files.warm_up)
    warm_up_tokens = sum(record.tokens for record in warm_up)
    tokens = round(saving.kept_tokens * (saving.epochs or 0.0)) + warm_up_tokens
    row: dict[str, Any] = {name: value for name, value in done["metrics"].items() if name.startswith("test/")}
    row |= {
        "rows": saving.kept_rows,
        "tokens_kept": saving.kept_tokens,
        "pool_rows": saving.pool_rows,
        "pool_tokens": saving.pool_tokens,
        "epochs": saving.epochs,
        "warm_up_rows": warmed_up.get("n_rows"),
        "warm_up_tokens": warm_up_tokens or None,
        "tokens_trained_on": tokens,
    }
    domains = (warmed_up or chosen).get("diagnostics", {}).get("domains", {})
    row |= {f"{FROM}{name}": counted["kept"] for name, counted in domains.items()}
    for unit in ("flops", "device_s"):
        selection = _cost([record for record in records if record.stage in SELECTION], unit)
        parts = [selection, _cost(warm_up, unit), _cost(training, unit)]
        total = None if None in parts else sum(part for part in parts if part is not None)
        row |= {f"{step}_{unit}": value for step, value in zip(STEPS, [*parts, total])}
    row["saving_flops"] = _saving(saving, records)
    config = json.dumps(without_place(read_config(files.config), output), sort_keys=True)
    row["config"] = hashlib.blake2b(config.encode(), digest_size=8).hexdigest()
    row |= {"commit": done["commit"], "finished_at": done["finished_at"]}
    outcomes = [TrainingOutcome.read(place) for place in (files.warm_up.path, folder)]
    problems = [problem.message for outcome in outcomes if outcome for problem in outcome.problems]
    row["warnings"] = " ".join([*problems, *warmed_up.get("warnings", []), *chosen.get("warnings", [])])
    spent = [record for record in distinct(read_ledger(files.costs)) if not record.cached]
    return Result(cell, row, add_up(spent).wall_s)


def _saving(said: Saving, records: list[CostRecord]) -> float | None:
    """What selecting saved of the FLOPs of fine-tuning on everything, of a run without its interruptions."""
    sizes = said.kept_rows, said.pool_rows, said.kept_tokens, said.pool_tokens
    return compute_saving(records, *sizes, said.epochs).flops.saving


def _manifest(run: RunFiles) -> dict[str, Any]:
    """What a selection says of itself; nothing where there was none."""
    return read_mapping(run.manifest, AGAIN) if run.manifest.is_file() else {}


def write_csv(results: list[Result], file: Path) -> None:
    """Write ``table.csv`` whole or not at all, in the order of the results."""
    names = sorted({name for result in results for name in result.row})
    metrics, sources = ([name for name in names if name.startswith(start)] for start in ("test/", FROM))
    rows = []
    for result in results:
        cell = result.cell
        named = {"task": cell.task, "method": cell.method, "budget": cell.budget, "seed": cell.seed}
        rows.append(named | result.row)
    write_rows([*FIRST, *metrics, *sources, *LAST], rows, file)


def write_rows(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], file: Path) -> None:
    """Write a CSV whole or not at all.

    Args:
        columns: of the file; a row that lacks one has it empty.
        rows: by column.
        file: to write.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _told(value) for name, value in row.items()} for row in rows)
    with atomic_file(file) as partial:
        partial.write_text(text.getvalue())


def _told(value: Any) -> Any:
    """Numbers as they read best: whole ones without a point, seconds and metrics to nine digits."""
    if isinstance(value, float):
        whole = math.isfinite(value) and value == int(value) and abs(value) >= 1e6
        return str(int(value)) if whole else f"{value:.9g}"
    return value


def _cost(records: list[CostRecord], unit: str) -> float | None:
    """What some stages cost, also where a cache spared it; nothing for none, None when it is unknown."""
    found: float | None = getattr(add_up(records), unit)
    return found
