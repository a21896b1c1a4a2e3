"""Jobs of a real Slurm, warned while they score and while they train; `slow`, and skipped where there is no Slurm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from selectune.common.run_files import RunFiles
from selectune.costs.ledger import read_ledger
from tests.conftest import REPOSITORY, Here, Shared
from tests.processes import run_main
from tests.runs.slurm_jobs import HERE, MOMENTS, n_nodes, run_job, same_metrics, script, slurm_answers, submit, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not slurm_answers(), reason="there is no Slurm here")]


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., str]:
    """Runs a script as a job to its end."""
    return partial(run_job, tmp_path)


two_nodes = pytest.mark.skipif(n_nodes() < 2, reason="this Slurm has one node")


@pytest.mark.parametrize(("nodes", "tasks"), [(1, 1), (1, 2), pytest.param(2, 1, marks=two_nodes)])
def test_a_warned_job_is_requeued_and_ends_as_one_that_was_not(
    nodes: int, tasks: int, job: Callable[..., str], here: Here, selecting: list[str], arguments: list[str],
    tmp_path: Path,
) -> None:  # fmt: skip
    """Beside it, in the same folder, one of another config starts from its own weights."""
    fit = ["fit", *selecting, "--data.batch_size", "8", "--output"]
    other = ["fit", *arguments, "--model.seed", "5", "--output"]
    here(*fit, tmp_path / "whole")
    here(*other, tmp_path / "other")
    several = nodes * tasks > 1
    ranks = ["--trainer.num_nodes", nodes, "--trainer.devices", tasks, "--trainer.strategy", "ddp"] if several else []
    work = tmp_path / "work"
    (tmp_path / "warned.py").write_text(script(["scoring", "training"], "USR1"))
    told = job(tmp_path / "warned.py", *fit, "run", *ranks, nodes=nodes, tasks=tasks)
    assert told.count("is being requeued") == 2
    assert "Traceback" not in told
    assert (work / "ends").read_text().split("\n")[-3:-1] == ["finished", "code 0"]
    assert (work / "ends").read_text().count("finished") == 1, "the script did not take a requeued run for finished"
    same_metrics(work / "run", tmp_path / "whole", 1e-4 if several else 1e-6)
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


def test_of_two_jobs_of_one_folder_the_second_is_refused_in_a_sentence(
    here: Here, selecting: list[str], tmp_path: Path
) -> None:
    here("fit", *selecting, "--output", tmp_path / "whole")
    fit = REPOSITORY / "main.py", "fit", *selecting, "--output", "run"
    numbers = [submit(tmp_path, *fit, name=name) for name in ("one", "other")]
    work = tmp_path / "work"
    for number, name in zip(numbers, ("one", "other")):
        wait_for(number, work / f"{name}.log")
    assert sorted((work / "ends").read_text().split("\n")) == ["", "code 0", "code 2", "finished"]
    told = [(work / f"{name}.log").read_text() for name in ("one", "other")]
    assert sum("is in use by another process" in one for one in told) == 1
    assert not any("Traceback" in one for one in told)
    same_metrics(work / "run", tmp_path / "whole")


JOBS = {  # options of sbatch that a node without GPUs needs, and the runs that are made
    "one_node": (["--ntasks-per-node=2", "--gpus-per-node=0"], ["run"]),
    "array": (["--array=3,4", "--gpus-per-node=0"], ["run-3", "run-4"]),
    "several_nodes": (["--ntasks-per-node=1", "--gpus-per-node=0"], ["run"]),
}


@pytest.mark.parametrize("name", ["one_node", "array", pytest.param("several_nodes", marks=two_nodes)])
def test_a_job_that_is_shipped_runs_as_it_stands(name: str, arguments: list[str], tmp_path: Path) -> None:
    options, runs = JOBS[name]
    settings = dict(zip(arguments[::2], arguments[1::2]))
    init_args = {key.removeprefix("--data."): value for key, value in settings.items() if key.startswith("--data.")}
    data = {"class_path": settings["--data"], "init_args": init_args | {"max_length": 32}}
    model = {"checkpoint": settings["--model.checkpoint"], "learning_rate": 1e-3}
    (tmp_path / "task.yaml").write_text(json.dumps({"data": data, "model": model, "trainer": {"max_epochs": 1}}))
    places = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "SELECTUNE_CACHE": str(tmp_path / "cache")}
    file = REPOSITORY / "configs" / "cluster" / f"{name}.sbatch"
    submitted = subprocess.run(
        ["sbatch", "--wait", *options, f"--output={tmp_path}/%j.log", file, tmp_path / "task.yaml", tmp_path / "run",
         "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"],
        cwd=REPOSITORY, env=os.environ | places | HERE, capture_output=True, text=True,
    )  # fmt: skip
    told = submitted.stderr + "".join(log.read_text() for log in tmp_path.glob("*.log"))
    assert submitted.returncode == 0, told[-4000:]
    assert "srun` command is available" not in told
    for run in runs:
        assert RunFiles(tmp_path / run).finished


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
