"""Files, metrics and saving of a run that was killed, compared with one that was not."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from _file_calls import RANDOM

TOLERANCE = 1e-6


@dataclass(frozen=True)
class Place:
    """Where a run is made.

    Args:
        run: its directory.
        cache: its cache.
        log: what its attempts print.
    """

    run: Path
    cache: Path
    log: Path

    def files(self) -> set[str]:
        """Names of all that lies in run and cache."""
        found = [(kind, path) for kind in ("run", "cache") for path in getattr(self, kind).rglob("*")]
        return {f"{kind}/{RANDOM.sub('*', str(path.relative_to(getattr(self, kind))))}" for kind, path in found}

    def remove(self) -> None:
        """Remove all of it."""
        for folder in (self.run, self.cache):
            shutil.rmtree(folder, ignore_errors=True)
        self.log.unlink(missing_ok=True)


def differences(place: Place, expected: Place) -> dict[str, float]:
    """Whether a run equals the undisturbed one, by column of the table."""
    return {
        "selection_equal": float(selection(place.run) == selection(expected.run)),
        "metrics_equal": float(alike(metrics(place.run), metrics(expected.run))),
        "saving_equal": float(alike(saving(place.run), saving(expected.run))),
        "stray_or_missing_files": float(len(place.files() ^ expected.files())),
    }


def selection(run: Path) -> dict[str, Any]:
    """The selected rows, all scores, and the answer to each held-out row, as columns."""
    names = ("selection/rows.parquet", "selection/scores.parquet", "test_scores.parquet")
    return {name: pq.read_table(run / name).to_pydict() for name in names if (run / name).is_file()}


def metrics(run: Path) -> dict[str, float]:
    """Each metric at each step, the last value where a step was done again; costs and times are left out."""
    found = {}
    with (run / "metrics.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            for name, value in row.items():
                if value and "/" in name and not name.startswith("cost/"):
                    found[f"{name} at {row['step']}"] = float(value)
    done = json.loads((run / "done.json").read_text())["metrics"]
    return found | {name: value for name, value in done.items() if not name.startswith("cost/")}


def saving(run: Path) -> dict[str, float]:
    """The terms of the saving in FLOPs, but for what a kill had done again, which stands beside them."""
    terms = json.loads((run / "saving.json").read_text())["flops"]
    return {name: float("nan") if value is None else float(value) for name, value in terms.items() if name != "redone"}


def alike(mine: dict[str, float], theirs: dict[str, float]) -> bool:
    """Whether all values are present and equal to a millionth."""

    def same(a: float, b: float) -> bool:
        return (a != a and b != b) or abs(a - b) <= TOLERANCE * max(1.0, abs(b))

    return mine.keys() == theirs.keys() and all(same(value, theirs[name]) for name, value in mine.items())
