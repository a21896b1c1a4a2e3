"""SIGTERM and Slurm's warning signal: a stop that loses nothing, and a job that is requeued by its own run alone."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.fabric.plugins.environments import LightningEnvironment, SLURMEnvironment
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from selectune import FineTuner
from selectune.callbacks import preemption
from selectune.callbacks.preemption import STOPPED, Preemption, requeue_signal
from selectune.common.errors import UserError
from selectune.costs.ledger import read_ledger
from selectune.signals import derived as solving
from selectune.signals import forward
from tests.conftest import Here, metrics_of
from tests.mistakes import mistake

WARNING = signal.SIGUSR1


class Scontrol:
    """A ``scontrol`` that notes its arguments and ends the job's process, as Slurm does, or refuses."""

    def __init__(self, folder: Path) -> None:
        self.notes, self.file = folder / "calls", folder / "scontrol"
        self.answers("kill -TERM $PPID")

    def answers(self, line: str) -> None:
        self.file.write_text(f'#!/bin/sh\necho "$@" >> {self.notes}\n{line}\n')
        self.file.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        return self.notes.read_text().splitlines() if self.notes.exists() else []


@pytest.fixture
def scontrol(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Scontrol:
    """The environment of a job of one task, with the `Scontrol` on its PATH."""
    folder = tmp_path_factory.mktemp("slurm")
    job = {"SLURM_JOB_ID": "41", "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SLURM_JOB_NAME", raising=False)
    monkeypatch.delenv("SLURM_ARRAY_JOB_ID", raising=False)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return Scontrol(folder)


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has this process get a signal in the nth call of a method or function."""

    def at(owner: Any, name: str, call: int, number: int) -> None:
        original, calls = getattr(owner, name), [0]

        def counted(*args: Any, **kwargs: Any) -> Any:
            calls[0] += 1
            if calls[0] == call:
                signal.raise_signal(number)
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, counted)

    return at


def test_a_run_that_is_stopped_in_each_stage_ends_as_one_that_was_not(
    here: Here, selecting: list[str], scontrol: Scontrol, signals: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a checkpoint of another run, where Lightning would look for its own."""
    foreign = tmp_path / "hpc_ckpt_1.ckpt"
    foreign.write_bytes(b"of another run")
    fit = ["fit", *selecting, "--data.batch_size", "8", "--output"]
    here(*fit, tmp_path / "whole")

    run = tmp_path / "run"
    again = [*fit, run, "--cache", tmp_path / "other"]
    with monkeypatch.context() as array:
        array.setenv("SLURM_ARRAY_JOB_ID", "40")
        array.setenv("SLURM_ARRAY_TASK_ID", "3")
        signals(forward.ShardWriter, "on_predict_batch_end", 2, WARNING)
        assert "job 40_3" in here(*again, code=STOPPED)
    signals(solving, "text_signal", 1, signal.SIGTERM)
    here(*again, code=STOPPED)
    assert not (run / "selection").exists()
    signals(FineTuner, "training_step", 10, WARNING)
    here(*again, code=STOPPED)
    saved = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 10, "no step is lost"
    signals(FineTuner, "test_step", 1, signal.SIGTERM)
    here(*again, code=STOPPED)
    here(*again)

    assert scontrol.calls == ["requeue 40_3", "requeue 41"]
    assert list(tmp_path.rglob("hpc_ckpt*")) == [foreign]
    whole, resumed = metrics_of(tmp_path / "whole"), metrics_of(run)
    for name in ("val/loss", "val/accuracy", "test/loss", "test/accuracy"):
        assert resumed[name] == pytest.approx(whole[name], abs=1e-6)
    records = [record for record in read_ledger(run / "cost.jsonl") if not record.cached]
    for stage, rows in (("score", 216), ("train", 2 * 54)):
        assert sum(record.examples for record in records if record.stage == stage) == rows, "nothing is done twice"


# A Trainer of one number, for what depends on the moment alone.


class Line(pl.LightningModule):
    """Each step adds 1 to a number; notes what was done."""

    def __init__(self) -> None:
        super().__init__()
        self.number = torch.nn.Parameter(torch.zeros(1))
        self.automatic_optimization = False
        self.done: list[str] = []

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer: Any = self.optimizers()
        optimizer.step()
        with torch.no_grad():
            self.number += 1
        self.done.append(f"train {self.current_epoch}.{batch_idx}")

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.done.append("validate")

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def train(asked: Preemption, folder: Path, after: str, number: int = signal.SIGTERM, **settings: Any) -> list[str]:
    """Outcome of a training that gets this signal in its first step; it goes on where it is ended."""
    module, batches = Line(), DataLoader(torch.zeros(4, 1))

    class Signal(pl.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            if module.done[-1] == after and module.done.count(after) == 1:
                signal.raise_signal(number)

        def on_validation_batch_start(self, trainer: Any, *_: Any) -> None:
            if after == "validate" and trainer.current_epoch == 0:
                signal.raise_signal(number)

    kept = ModelCheckpoint(folder, filename="last", save_top_k=1, enable_version_counter=False, every_n_epochs=1)

    def fit(callbacks: list[pl.Callback]) -> None:
        trainer = pl.Trainer(
            max_epochs=2, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
            num_sanity_val_steps=0, default_root_dir=folder, callbacks=[*callbacks, kept], **settings,
        )  # fmt: skip
        last = folder / "last.ckpt"
        trainer.fit(module, batches, batches, ckpt_path=last if last.exists() else None, weights_only=True)

    def until_stopped() -> int | None:
        with asked:
            try:
                fit([Signal(), asked])
            except SystemExit as end:
                return int(end.code or 0)
        return None

    code = until_stopped()
    if code is not None:
        assert code == STOPPED
        module.done.append("stopped")
        after = "never"
        fit([])
    return module.done


HALF = {"val_check_interval": 0.5}


@pytest.mark.parametrize(
    ("after", "settings", "steps"),
    [
        ("train 0.1", {}, 2), ("train 0.1", HALF, 3), ("train 0.3", {}, 4), ("train 0.3", HALF, 4),
        ("validate", {}, 4), ("train 1.0", {}, 5),
    ],
)  # fmt: skip
def test_a_training_stops_where_it_can_go_on(after: str, settings: dict, steps: int, tmp_path: Path) -> None:
    """After the batch, but not before the validation that is due then, which would be left out."""
    validates = "13" if settings else "3"
    expected = []
    for epoch in (0, 1):
        for batch in range(4):
            expected += [f"train {epoch}.{batch}", *["validate"] * (4 if str(batch) in validates else 0)]
    done = train(Preemption(), tmp_path, after, **settings)
    at = done.index("stopped")
    assert sum(one.startswith("train") for one in done[:at]) == steps
    assert [*done[:at], *done[at + 1 :]] == expected


def test_a_job_that_cannot_be_requeued_goes_on(scontrol: Scontrol, tmp_path: Path) -> None:
    scontrol.answers("echo not permitted >&2; exit 1")
    assert "stopped" not in train(Preemption(WARNING), tmp_path, "train 0.1", WARNING)
    assert scontrol.calls == ["requeue 41"]


def test_rank_zero_alone_requeues(scontrol: Scontrol, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_PROCID", "1")
    with Preemption(WARNING):
        signal.raise_signal(WARNING)
    assert scontrol.calls == []


def test_a_second_warning_while_requeueing_does_no_harm(scontrol: Scontrol) -> None:
    scontrol.answers(f"[ $(wc -l <{scontrol.notes}) = 1 ] && kill -USR1 $PPID; sleep 0.1; kill -TERM $PPID")
    with Preemption(WARNING), pytest.raises(SystemExit):
        signal.raise_signal(WARNING)


def test_users_environments_and_handlers_are_respected(
    scontrol: Scontrol, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert requeue_signal() == WARNING
    assert requeue_signal(SLURMEnvironment(requeue_signal=signal.SIGUSR2)) == signal.SIGUSR2
    assert requeue_signal([SLURMEnvironment(auto_requeue=False)]) is None
    assert requeue_signal([LightningEnvironment()]) is None
    got = []
    monkeypatch.setattr(signal, "getsignal", lambda number: got.append)  # as submitit's
    with Preemption(WARNING):
        pass
    monkeypatch.undo()
    assert requeue_signal() is None, "outside Slurm the signal is not ours"
    with Preemption(requeue_signal()):
        assert signal.getsignal(WARNING) == signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_foreign_checkpoint_where_the_user_points_is_refused(scontrol: Scontrol, tmp_path: Path) -> None:
    assert preemption.root_for(tmp_path) == str(tmp_path)
    (tmp_path / "hpc_ckpt_1.ckpt").touch()
    with mistake(UserError, tmp_path / "hpc_ckpt_1.ckpt"):
        preemption.root_for(tmp_path)


def test_a_second_signal_does_not_disturb_the_end() -> None:
    written = []

    def interrupted() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            written.append("all")

    with Preemption(), pytest.raises(SystemExit) as end:
        interrupted()
    assert end.value.code == STOPPED == 143
    assert written


def test_workers_leave_the_signals_to_their_parent(scontrol: Scontrol) -> None:
    """Slurm sends them to every process of a job."""
    ends = []
    with Preemption(WARNING):
        for number in (WARNING, signal.SIGTERM):
            if (child := os.fork()) == 0:
                os.kill(os.getpid(), number)
                os._exit(7)
            ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    assert ends == [7, -signal.SIGTERM]
    assert scontrol.calls == []


def test_a_long_call_does_not_keep_the_job_from_being_requeued(
    scontrol: Scontrol, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preemption, "PATIENCE_S", 0.1)
    monkeypatch.setattr(preemption, "SIGTERM_WITHIN_S", 0.0)
    ended = []

    def solve() -> None:
        try:
            while not scontrol.calls:  # each call is one of C, in which no handler of Python runs
                hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000)
        finally:
            ended.append(time.time())

    threading.Timer(0.1, os.kill, (os.getpid(), WARNING)).start()
    with Preemption(WARNING), pytest.raises(SystemExit):
        solve()
    assert scontrol.calls == ["requeue 41"]
    assert scontrol.notes.stat().st_mtime < ended[0], "while it was still computing"
