"""A forecast refuses what the fit refuses, and leaves finished runs alone."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import Here
from tests.mistakes import names


def test_more_devices_than_rows_of_a_batch_are_refused_in_a_sentence(
    here: Here, arguments: list[str], tmp_path: Path
) -> None:
    several = ["--trainer.devices", "4", "--trainer.strategy", "ddp", "--output", str(tmp_path / "run")]
    output = here("estimate", *arguments, *several, "--data.batch_size", "2", code=2)
    assert names(output, "data.batch_size", 2, 4)
    few = ["--data.selector", "Random", "--data.keep_rows", "3"]
    assert names(here("estimate", *arguments, *several, *few, code=2), 3, 4)
    assert not (tmp_path / "run").exists()


def test_a_forecast_removes_nothing(here: Here, arguments: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    here("fit", *arguments, "--trainer.max_steps", "2", "--output", run)
    there = {file: file.stat().st_mtime for file in run.rglob("*") if file.is_file() and file.name != ".lock"}
    output = here("estimate", *arguments, "--trainer.max_steps", "2", "--overwrite", "--output", run, code=2)
    assert names(output, "estimate", "--overwrite")
    assert there == {file: file.stat().st_mtime for file in there}
