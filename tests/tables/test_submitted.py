"""Cells as jobs: on this machine in the place of a cluster, by the same library."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from selectune.common.run_files import RunFiles
from selectune.tables import command, submitted
from selectune.tables.grid import Cell
from selectune.tables.running import Outcome
from tests.conftest import Here
from tests.mistakes import names
from tests.tables.conftest import Write

SLURM = ["--launcher", "slurm"]
RANDOM = {"random": {"set": {"data.selector": {"class_path": "Random"}}}}


@pytest.fixture
def on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs are processes here instead of Slurm's."""
    monkeypatch.setattr(submitted, "POLL_S", 0.2)

    def run(todo: list[Cell], jobs: int, keep: bool, start: Any, folder: Path, options: Any, cluster: str) -> Any:
        return submitted.run_submitted(todo, jobs, keep, start, folder, options, "local")

    monkeypatch.setattr(command, "run_submitted", run)


@pytest.mark.slow
@pytest.mark.usefixtures("on_this_machine")
def test_cells_run_as_jobs_and_a_limit_leaves_the_rest(here: Here, write: Write, tmp_path: Path) -> None:
    table = ["table", "--config", write(methods=RANDOM), "--output", "out"]
    told = here(*table, *SLURM, "--limit", "1", "--launcher_options", "{timeout_min: 5}")
    assert names(told, "2 runs, 2 to do, of which 1 now", "as jobs of slurm")
    (folder,) = (tmp_path / "out" / "cells").iterdir()
    assert RunFiles(folder).finished
    assert "attempt of" in RunFiles(folder).log.read_text()
    assert list((tmp_path / "out" / "slurm").iterdir()), "what the cluster says of its jobs"
    here(*table)  # the other launcher goes on where the first one stopped
    assert len((tmp_path / "out" / "table.csv").read_text().splitlines()) == 3


@pytest.mark.usefixtures("on_this_machine")
def test_a_cell_that_fails_is_told_and_those_that_need_it_are_not_queued(tmp_path: Path) -> None:
    def cell(name: str, *needs: Path) -> Cell:
        return Cell("t", name, "none", 0, tmp_path / name, {"data": "no such thing"}, needs=needs)

    first, second = cell("first"), cell("second", tmp_path / "first")
    for one in (first, second):
        one.folder.mkdir()
    run = partial(submitted.run_submitted, folder=tmp_path / "jobs", options={}, cluster="local")
    outcomes: list[Outcome] = list(run([first, second], 2, False, lambda cell: None))
    assert [outcome.cell.method for outcome in outcomes] == ["first", "second"]
    assert outcomes[0].failure
    assert outcomes[1].failure == "it needs first, which failed"


def test_mistakes_of_a_launcher_are_sentences(
    here: Here, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = ["table", "--config", write(), "--output", "out"]
    assert names(here(*table, "--launcher_options", "{timeout_min: 5}", code=2), "--launcher_options", "slurm")
    assert names(here(*table, "--limit", "0", code=2), "--limit")
    monkeypatch.setenv("PATH", str(tmp_path))  # no sbatch
    assert names(here(*table, *SLURM, code=2), "slurm", "sbatch")
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert names(here(*table, *SLURM, code=2), "selectune[cluster]")


@pytest.mark.usefixtures("on_this_machine")
def test_an_option_that_no_job_has_is_refused(here: Here, write: Write) -> None:
    table = ["table", "--config", write(), "--output", "out", *SLURM, "--launcher_options", "{gpu_kind: h100}"]
    assert names(here(*table, code=2), "gpu_kind", "--launcher_options")
