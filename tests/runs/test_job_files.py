"""The jobs of Slurm that are shipped hand `fit` what they were given; `test_slurm` runs them where there is a Slurm."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

FILES = sorted((REPOSITORY / "configs" / "cluster").glob("*.sbatch"))
VARIABLES = {"SLURM_NNODES": "2", "SLURM_NTASKS_PER_NODE": "4", "SLURM_ARRAY_TASK_ID": "7"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_job_starts_a_fit_with_what_it_was_given(file: Path, tmp_path: Path) -> None:
    (tmp_path / "srun").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "srun").chmod(0o755)
    environment = os.environ | VARIABLES | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    given = ["a config.yaml", "runs/a run", "--trainer.max_epochs", "1"]
    done = subprocess.run(["bash", file, *given], env=environment, capture_output=True, text=True, check=True)
    words = done.stdout.splitlines()
    options = dict(zip(words[3::2], words[4::2]))
    of_seed = file.stem == "array"
    assert words[:3] == ["python", "main.py", "fit"]
    assert options["--config"] == "a config.yaml"
    assert options["--output"] == ("runs/a run-7" if of_seed else "runs/a run")
    assert options["--trainer.devices"] == ("1" if of_seed else "4")
    assert options.get("--trainer.num_nodes") == (None if of_seed else "2")
    assert options.get("--seed_everything") == ("7" if of_seed else None)
    assert words[-2:] == given[2:]
    assert subprocess.run(["bash", file], env=environment, capture_output=True).returncode != 0, "a config is missing"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_job_can_go_on_after_its_time(file: Path) -> None:
    options = {
        line.split()[1].partition("=")[0] for line in file.read_text().splitlines() if line.startswith("#SBATCH")
    }
    assert {"--requeue", "--signal", "--open-mode", "--ntasks-per-node"} <= options
