"""Intervals over the rows of evaluations: each arm of a table against random rows, and against the untouched model.

    python main.py table --config configs/tables/small/detox.yaml --output runs/detox
    python benchmarks/evaluated_rows.py runs/detox --csv results/small_detox_intervals.csv

A table of one seed has no interval for a metric of an `evaluations` entry. Its rows lie in each cell, so that a paired
t interval over prompts, questions or texts can be had: it says what others of these would do, and nothing of another
seed. `difference` is of the expected maximum toxicity, of the share of right answers by length-normalised likelihood,
or of nats a token (a ratio of sums, its interval by linearisation).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from _table import Row, finish, parser
from scipy.stats import t

LEVEL, RANDOM, BEFORE = 0.95, "random", "_before"


def sums_of(file: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Numerators and denominators of a metric by row; None where the file has none that is known here."""
    rows = {name: np.asarray(values) for name, values in pq.read_table(file).to_pydict().items()}
    if "max_toxicity" in rows:
        return rows["max_toxicity"].astype(float), np.ones(len(rows["row_id"]))
    if "prediction_accuracy_norm" in rows:
        return (rows["prediction_accuracy_norm"] == rows["label"]).astype(float), np.ones(len(rows["row_id"]))
    if "loss_sum" in rows:
        return rows["loss_sum"].astype(float), rows["tokens"].astype(float)
    return None


def compared(ours: Path, theirs: Path) -> dict[str, float]:
    """The difference of a metric between two files of the same rows, with its interval."""
    (mine, weights), (other, same) = sums_of(ours) or ((), ()), sums_of(theirs) or ((), ())
    assert np.array_equal(weights, same), f"{ours} and {theirs} are of other rows"
    gaps = (np.asarray(mine) - np.asarray(other)) / np.mean(weights)
    difference = float(gaps.mean())
    spread = float(np.std(gaps - difference * np.asarray(weights) / np.mean(weights), ddof=1))
    half = float(t.ppf((1 + LEVEL) / 2, len(gaps) - 1)) * spread / np.sqrt(len(gaps))
    return {"difference": difference, "low": difference - half, "high": difference + half, "rows": float(len(gaps))}


def main() -> None:
    made = parser(__doc__ or "")
    made.add_argument("table", type=Path, help="the folder of a table")
    options = made.parse_args()
    rows = []
    for cell in sorted((options.table / "cells").iterdir()):
        task, method, *rest = cell.name.split("-")
        rival = cell.with_name("-".join([task, RANDOM, *rest]))
        for file in sorted((cell / "evaluations").glob("*.parquet")):
            before = file.with_name(f"{file.stem}{BEFORE}.parquet")
            if file.stem.endswith(BEFORE) or sums_of(file) is None:
                continue
            against = {"the untouched model": before}
            if method != RANDOM:
                against["random"] = rival / "evaluations" / file.name
            for name, other in against.items():
                if other.is_file():
                    figures = compared(file, other).items()
                    rows += [Row(f"{file.stem}: {method}", f"against {name}", *figure) for figure in figures]
    finish(rows, [], options)


if __name__ == "__main__":
    main()
