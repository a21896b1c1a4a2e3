"""Jobs of a real Slurm, warned while they score and while they train; `slow`, and skipped where there is no Slurm."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from selectune.costs.ledger import read_ledger
from tests.conftest import REPOSITORY, Here, Shared
from tests.processes import run_main
from tests.runs.slurm_jobs import MOMENTS, run_job, same_metrics, script, slurm_answers

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not slurm_answers(), reason="there is no Slurm here")]


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., str]:
    """Runs a script as a job to its end."""
    return partial(run_job, tmp_path)


@pytest.mark.parametrize("tasks", [1, 2])
def test_a_warned_job_is_requeued_and_ends_as_one_that_was_not(
    tasks: int, job: Callable[..., str], here: Here, selecting: list[str], arguments: list[str], tmp_path: Path
) -> None:
    """Beside it, in the same folder, one of another config starts from its own weights."""
    fit = ["fit", *selecting, "--data.batch_size", "8", "--output"]
    other = ["fit", *arguments, "--model.seed", "5", "--output"]
    here(*fit, tmp_path / "whole")
    here(*other, tmp_path / "other")
    ranks = ["--trainer.devices", "2", "--trainer.strategy", "ddp"] if tasks == 2 else []
    work = tmp_path / "work"
    (tmp_path / "warned.py").write_text(script(["scoring", "training"], "USR1"))
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
    job: Callable[..., str], here: Here, selecting: list[str], tmp_path: Path
) -> None:
    fit = ["fit", *selecting, "--data.batch_size", "8", "--data.num_workers", "1", "--output"]
    here(*fit, tmp_path / "whole")
    (tmp_path / "warned.py").write_text(script(["scoring", "training"], "TERM"))
    for _ in range(3):
        told = job(tmp_path / "warned.py", *fit, "run")
    assert "Traceback" not in told
    ends = (tmp_path / "work" / "ends").read_text().split("\n")
    assert ends == ["code 143", "code 143", "finished", "code 0", ""]
    same_metrics(tmp_path / "work" / "run", tmp_path / "whole")


@pytest.mark.parametrize("signal", ["USR1", "TERM"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_whatever_it_does_a_signalled_job_goes_on_and_ends_as_one_that_was_not(
    moment: str, signal: str, job: Callable[..., str], unbroken: tuple[list[str], Path], tmp_path: Path
) -> None:
    fit, whole = unbroken
    (tmp_path / "signalled.py").write_text(script([moment], signal))
    told = job(tmp_path / "signalled.py", *fit, "run")
    if signal == "TERM":
        told = job(tmp_path / "signalled.py", *fit, "run")
    assert "Traceback" not in told
    assert len(list((tmp_path / "work").glob("*.signalled"))) == 1, "the moment came"
    ends = (tmp_path / "work" / "ends").read_text().split()
    assert ends == ["code", "143"] * (signal == "TERM") + ["finished", "code", "0"]
    same_metrics(tmp_path / "work" / "run", whole)


@pytest.fixture(scope="session")
def unbroken(shared: Shared, small_task: tuple[str, ...], data_folder: Path) -> tuple[list[str], Path]:
    """The command of a run that warms up, scores, solves, trains and is tested, and that run."""

    def make(folder: Path) -> None:
        texts = {"dataset": str(data_folder), "max_length": 16, "window": 8, "join": True, "max_train_rows": 150}
        warm_up = {"data": {"class_path": "LanguageModeling", "init_args": texts}, "max_epochs": 1}
        (folder / "warm_up.yaml").write_text(json.dumps({"warm_up": warm_up | {"learning_rate": 5.0e-3}}))
        environment = os.environ | {"SELECTUNE_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
        done = run_main([*command(folder), str(folder / "run")], folder, environment)
        assert done.returncode == 0, done.stderr[-6000:]

    def command(folder: Path) -> list[str]:
        choosing = ["--data.selector", "GOTD", "--data.keep", "0.5", "--scorer.max_batch_tokens", "512"]
        rest = ["--data.batch_size", "8", "--config", str(folder / "warm_up.yaml"), "--output"]
        return ["fit", *small_task, *choosing, *rest]

    folder = shared("unbroken", make)
    return command(folder), folder / "run"
