"""A table whose cells are jobs of a real Slurm; `slow`, and skipped where there is no Slurm."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from selectune.common.run_files import RunFiles
from tests.conftest import Here
from tests.mistakes import names
from tests.runs.slurm_jobs import HERE, slurm_answers
from tests.tables.conftest import Write

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not slurm_answers(), reason="there is no Slurm here")]
RANDOM = {"random": {"set": {"data.selector": {"class_path": "Random"}}}}
OPTIONS = "{timeout_min: 5, mem_gb: 1, cpus_per_task: 1}"


def test_cells_run_as_jobs_of_slurm_and_give_what_they_give_here(
    here: Here, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in HERE.items():
        monkeypatch.setenv(name, value)
    table = ["table", "--config", write(methods=RANDOM)]
    told = here(*table, "--output", "out", "--launcher", "slurm", "--jobs", "2", "--launcher_options", OPTIONS)
    assert names(told, "2 runs, 2 to do", "as jobs of slurm")
    folders = list((tmp_path / "out" / "cells").iterdir())
    assert len(folders) == 2
    assert all(RunFiles(folder).finished for folder in folders)
    here(*table, "--output", "alone")

    def accuracies(name: str) -> dict[str, str]:
        with (tmp_path / name / "table.csv").open(newline="") as file:
            return {row["method"]: row["test/accuracy"] for row in csv.DictReader(file)}

    assert accuracies("out") == accuracies("alone")
