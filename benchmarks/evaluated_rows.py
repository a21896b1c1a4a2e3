"""Differences over the rows of all evaluations of a table: each arm against random rows, and the untouched model.

    python main.py table --config configs/tables/small/detox.yaml --output runs/detox
    python benchmarks/evaluated_rows.py runs/detox --csv results/small_detox_intervals.csv

`table` has the difference of a task's headline to random rows, with its interval; this one has it of every evaluation,
and of the model before it was trained, by the same code (`selectune.verdict`). `difference` is of the expected maximum
toxicity, of the share of right answers by length-normalised likelihood, or of nats a token. With one seed an interval
is over prompts, questions or texts alone: it says what others of these would do, and nothing of another seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from _table import Row, finish, parser

from selectune.common.run_files import BEFORE, RunFiles
from selectune.verdict.intervals import paired_difference
from selectune.verdict.row_metrics import Rows, read_rows

RANDOM = "random"
METRICS = {"max_toxicity": "expected_max_toxicity", "prediction_accuracy_norm": "accuracy_norm", "loss_sum": "loss"}
Arm = dict[str, dict[int, Rows]]  # the rows of each evaluation by seed


def arms_of(table: Path) -> dict[tuple[str, str, str], Arm]:
    """The evaluated rows of a table, by task, method and budget."""
    arms: dict[tuple[str, str, str], Arm] = {}
    for cell in sorted((table / "cells").iterdir()):
        task, method, budget, seed = cell.name.split("-")
        for file in sorted(RunFiles(cell).evaluations.glob("*.parquet")):
            arms.setdefault((task, method, budget), {}).setdefault(file.stem, {})[int(seed)] = read_rows(file)
    return arms


def random_of(arms: Mapping[tuple[str, str, str], Arm], task: str, budget: str) -> Arm:
    """Random rows of a budget; those of the only budget beside an arm that has a size of its own."""
    found = {of: arm for (name, method, of), arm in arms.items() if (name, method) == (task, RANDOM)}
    return found.get(budget) or (next(iter(found.values())) if len(found) == 1 else {})


def compared(name: str, ours: Mapping[int, Rows], theirs: Mapping[int, Rows]) -> dict[str, float]:
    """The difference of an evaluation between two arms, with its interval and rows; none without a seed of both."""
    metric = next((metric for column, metric in METRICS.items() if column in next(iter(ours.values()))), None)
    if metric is None or not ours.keys() & theirs:
        return {}
    found = paired_difference(f"{name}/{metric}", ours, theirs)
    if found is None:
        return {}
    return {"difference": found.value, "low": found.low, "high": found.high, "rows": float(found.n_rows)}


def main() -> None:
    made = parser(__doc__ or "")
    made.add_argument("table", type=Path, help="the folder of a table")
    options = made.parse_args()
    rows, arms = [], arms_of(options.table)
    for (task, method, budget), arm in arms.items():
        for name, ours in arm.items():
            if name.endswith(BEFORE):
                continue
            against = {"the untouched model": arm.get(f"{name}{BEFORE}", {})}
            if method != RANDOM:
                against["random"] = random_of(arms, task, budget).get(name, {})
            for rival, theirs in against.items():
                figures = compared(name, ours, theirs).items()
                rows += [Row(f"{name}: {method}", f"against {rival}", *figure) for figure in figures]
    finish(rows, [], options)


if __name__ == "__main__":
    main()
