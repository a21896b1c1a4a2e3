"""Jobs of a real Slurm, warned while they score and while they train; `slow`, and skipped where there is no Slurm."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from selectune.costs.ledger import read_ledger
from tests.conftest import REPOSITORY, Here, metrics_of


def slurm_answers() -> bool:
    commands = all(shutil.which(name) for name in ("sbatch", "srun", "scontrol", "sinfo"))
    return commands and subprocess.run(["sinfo"], capture_output=True).returncode == 0


pytestmark = [pytest.mark.slow, pytest.mark.skipif(not slurm_answers(), reason="there is no Slurm here")]

# main.py, but for a warning of the job at two moments, as `--signal` would send it: to every process of its steps
WARNED = """
import os, subprocess, time
from pathlib import Path
from selectune.cli import main
from selectune.lightning_modules import FineTuner
from selectune.signals.forward import ShardWriter

def warned(owner, name, call):
    original, calls, marker = getattr(owner, name), [0], Path(f"{name}.warned")

    def counted(*args, **kwargs):
        calls[0] += 1
        if calls[0] == call and os.environ["SLURM_PROCID"] == "0" and not marker.exists():
            marker.touch()
            subprocess.run(["scancel", "--signal=USR1", os.environ["SLURM_JOB_ID"]], check=True)
            time.sleep(3)
        return original(*args, **kwargs)

    setattr(owner, name, counted)

warned(ShardWriter, "on_predict_batch_end", 2)
warned(FineTuner, "training_step", 5)
main()
"""

Job = Callable[..., str]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Runs a script as a job to its end, however often it is requeued; gives what it printed."""

    def run(script: Path, *args: str | Path, tasks: int = 1) -> str:
        command = " ".join(map(str, [sys.executable, script, *args]))
        folder = tmp_path / "work"
        folder.mkdir(exist_ok=True)
        (folder / "job.sh").write_text(
            f"#!/bin/bash\n#SBATCH --requeue --open-mode=append --output=job.log --ntasks-per-node={tasks}\n"
            f"export PYTHONPATH={REPOSITORY} OMP_NUM_THREADS=1 SELECTUNE_CACHE={tmp_path / 'jobs-cache'}\n"
            f"srun {command} && echo finished >>ends\n"
            "echo code $? >>ends\n"
        )
        number = subprocess.run(
            ["sbatch", "--parsable", "job.sh"], cwd=folder, check=True, capture_output=True, text=True
        ).stdout.strip()
        began, started_again = time.monotonic(), 0
        while (state := _field(number, "JobState")) not in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT"):
            if state == "PENDING" and int(_field(number, "Restarts") or 0) > started_again:
                started_again += 1  # else it waits for two minutes
                subprocess.run(["scontrol", "update", f"jobid={number}", "StartTime=now"], check=True)
            assert time.monotonic() - began < 900, (folder / "job.log").read_text()
            time.sleep(1)
        return (folder / "job.log").read_text()

    return run


def _field(job: str, name: str) -> str:
    told = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True, check=True).stdout
    return next((word.split("=")[1] for word in told.split() if word.startswith(f"{name}=")), "")


def same_metrics(a: Path, b: Path, within: float = 1e-6) -> None:
    for name in ("val/loss", "val/accuracy", "test/loss", "test/accuracy"):
        assert metrics_of(a)[name] == pytest.approx(metrics_of(b)[name], abs=within)


@pytest.mark.parametrize("tasks", [1, 2])
def test_a_warned_job_is_requeued_and_ends_as_one_that_was_not(
    tasks: int, job: Job, here: Here, selecting: list[str], arguments: list[str], tmp_path: Path
) -> None:
    """Beside it, in the same folder, one of another config starts from its own weights."""
    fit = ["fit", *selecting, "--data.batch_size", "8", "--output"]
    other = ["fit", *arguments, "--model.seed", "5", "--output"]
    here(*fit, tmp_path / "whole")
    here(*other, tmp_path / "other")
    ranks = ["--trainer.devices", "2", "--trainer.strategy", "ddp"] if tasks == 2 else []
    work = tmp_path / "work"
    (tmp_path / "warned.py").write_text(WARNED)
    told = job(tmp_path / "warned.py", *fit, "run", *ranks, tasks=tasks)
    assert told.count("is being requeued") == 2
    assert "Traceback" not in told
    assert (work / "ends").read_text().split("\n")[-3:-1] == ["finished", "code 0"]
    assert (work / "ends").read_text().count("finished") == 1, "the script did not take a requeued run for finished"
    same_metrics(work / "run", tmp_path / "whole", 1e-4 if tasks == 2 else 1e-6)
    records = [record for record in read_ledger(work / "run" / "cost.jsonl") if not record.cached]
    for stage, rows in (("score", 216), ("train", 2 * 54)):
        assert sum(record.examples for record in records if record.stage == stage) == rows, "nothing is done twice"

    job(REPOSITORY / "main.py", *other, "other")
    assert not list(work.rglob("hpc_ckpt*"))
    same_metrics(work / "other", tmp_path / "other")


def test_a_cancelled_job_goes_on_when_it_is_submitted_again(
    job: Job, here: Here, selecting: list[str], tmp_path: Path
) -> None:
    fit = ["fit", *selecting, "--data.batch_size", "8", "--data.num_workers", "1", "--output"]
    here(*fit, tmp_path / "whole")
    (tmp_path / "warned.py").write_text(WARNED.replace("--signal=USR1", "--signal=TERM"))
    for _ in range(3):
        told = job(tmp_path / "warned.py", *fit, "run")
    assert "Traceback" not in told
    ends = (tmp_path / "work" / "ends").read_text().split("\n")
    assert ends == ["code 143", "code 143", "finished", "code 0", ""]
    same_metrics(tmp_path / "work" / "run", tmp_path / "whole")
