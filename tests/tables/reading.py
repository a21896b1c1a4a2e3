"""Files of a table, as its tests read them."""

from __future__ import annotations

import csv
from pathlib import Path

CELLS = [f"reviews-{method}-0.25-{seed}" for method in ("random", "same_cost", "band") for seed in (0, 1)]
OF_THE_HOUR = {"commit", "finished_at"} | {f"{step}_device_s" for step in ("selection", "warm_up", "training", "total")}


def read_csv(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def rows_of(output: Path) -> list[dict[str, str]]:
    return read_csv(output / "table.csv")


def lasting(output: Path) -> list[dict[str, str]]:
    """The rows without what differs from hour to hour."""
    return [{name: value for name, value in row.items() if name not in OF_THE_HOUR} for row in rows_of(output)]


def touched(folder: Path) -> dict[str, int]:
    return {str(file.relative_to(folder)): file.stat().st_mtime_ns for file in folder.rglob("*")}
