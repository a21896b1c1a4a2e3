"""Jobs of a real Slurm that are sent a signal at a chosen moment."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, metrics_of

# main.py, but for a signal to the job at some moments, as `--signal` would send it: to every process of its steps
SCRIPT = """
import importlib, os, subprocess, time
from pathlib import Path
from selectune.cli import main

def signalled(module, owner, name, call, stage):
    owner = getattr(importlib.import_module(module), owner) if owner else importlib.import_module(module)
    original, calls, marker = getattr(owner, name), [0], Path(f"{name}-{stage}.signalled")

    def counted(*args, **kwargs):
        calls[0] += not stage or args[0].stage == stage
        if calls[0] == call and os.environ["SLURM_PROCID"] == "0" and not marker.exists():
            marker.touch()
            subprocess.run(["scancel", "--signal=SIGNAL", os.environ["SLURM_JOB_ID"]], check=True)
            time.sleep(3)
        return original(*args, **kwargs)

    setattr(owner, name, counted)

for moment in MOMENTS:
    signalled(*moment)
main()
"""
FINE_TUNER = ("selectune.lightning_modules", "FineTuner")
# module, class, function, at which call of it, and in which stage of the fine-tuner
MOMENTS: dict[str, tuple[str, str, str, int, str]] = {
    "scoring": ("selectune.signals.forward", "ShardWriter", "on_predict_batch_end", 2, ""),
    "solving": ("selectune.selectors.transport.solve", "", "dual_potentials", 1, ""),
    "warm_up": (*FINE_TUNER, "training_step", 3, "warm_up"),
    "training": (*FINE_TUNER, "training_step", 5, "train"),
    "test": (*FINE_TUNER, "test_step", 1, ""),
}
# the nodes of a Slurm that tests start are all this machine, which does not know their names
HERE = {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}


def slurm_answers() -> bool:
    commands = all(shutil.which(name) for name in ("sbatch", "srun", "scontrol", "sinfo"))
    return commands and subprocess.run(["sinfo"], capture_output=True).returncode == 0


def n_nodes() -> int:
    """Nodes of the Slurm that answers; 0 where none does."""
    if not slurm_answers():
        return 0
    told = subprocess.run(["sinfo", "--noheader", "--Node", "--format=%N"], capture_output=True, text=True, check=True)
    return len(set(told.stdout.split()))


def script(moments: Sequence[str], signal: str) -> str:
    """``main.py`` that is sent a signal once at each of some moments."""
    return SCRIPT.replace("MOMENTS", repr([MOMENTS[name] for name in moments])).replace("SIGNAL", signal)


def run_job(tmp_path: Path, script: Path, *args: str | Path | int, nodes: int = 1, tasks: int = 1) -> str:
    """Run a script as a job to its end, however often it is requeued; gives what it printed."""
    number = submit(tmp_path, script, *args, nodes=nodes, tasks=tasks)
    wait_for(number, tmp_path / "work" / "job.log")
    return (tmp_path / "work" / "job.log").read_text()


def submit(
    tmp_path: Path, script: Path, *args: str | Path | int, nodes: int = 1, tasks: int = 1, name: str = "job"
) -> str:
    """Submit a script as a job in ``work``, which prints to ``job.log`` there and puts its code into ``ends``."""
    command = " ".join(map(str, [sys.executable, script, *args]))
    folder = tmp_path / "work"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.sh").write_text(
        f"#!/bin/bash\n#SBATCH --requeue --open-mode=append --output={name}.log\n"
        f"#SBATCH --nodes={nodes} --ntasks-per-node={tasks}\n"
        f"export {' '.join(f'{key}={value}' for key, value in HERE.items())}\n"
        f"export PYTHONPATH={REPOSITORY} SELECTUNE_CACHE={tmp_path / 'jobs-cache'}\n"
        f"srun {command} && echo finished >>ends\n"
        "echo code $? >>ends\n"
    )
    submitted = ["sbatch", "--parsable", f"{name}.sh"]
    return subprocess.run(submitted, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def wait_for(number: str, log: Path) -> None:
    """Wait for the end of a job, whose requeued starts need not wait for two minutes."""
    began, started_again = time.monotonic(), 0
    while (state := _field(number, "JobState")) not in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT"):
        if state == "PENDING" and int(_field(number, "Restarts") or 0) > started_again:
            started_again += 1
            subprocess.run(["scontrol", "update", f"jobid={number}", "StartTime=now"], check=True)
        assert time.monotonic() - began < 900, log.read_text()
        time.sleep(1)


def _field(job: str, name: str) -> str:
    told = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True, check=True).stdout
    return next((word.split("=")[1] for word in told.split() if word.startswith(f"{name}=")), "")


def same_metrics(a: Path, b: Path, within: float = 1e-6) -> None:
    for name in ("val/loss", "val/accuracy", "test/loss", "test/accuracy"):
        assert metrics_of(a)[name] == pytest.approx(metrics_of(b)[name], abs=within)
