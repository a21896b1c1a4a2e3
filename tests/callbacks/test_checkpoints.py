"""A checkpoint is written whole or not at all, and a damaged one is reported."""

from __future__ import annotations

import csv
import os
import resource
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from _file_calls import Call
from _forked import forked
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.plugins import AsyncCheckpointIO

from selectune import Trainer, cli
from selectune.callbacks import checkpoints
from selectune.callbacks.checkpoint_io import WholeCheckpointIO, previous, restored
from selectune.common.errors import CheckpointError, DamagedCheckpoint, NoRoomError
from selectune.runs.command import RunTrainer
from selectune.runs.directory import Run
from selectune.runs.metrics_log import MetricsLog
from tests.conftest import Here, metrics_of
from tests.forked import at_every_call

IO = WholeCheckpointIO()


def save(path: Path, value: float) -> None:
    IO.save_checkpoint({"weights": torch.full((30_000,), value), "more": [torch.arange(5)]}, path)


def value_of(path: Path) -> float:
    return float(IO.load_checkpoint(path, weights_only=True)["weights"][0])


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def flip(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def test_a_kill_in_a_save_leaves_a_whole_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "nowhere"))  # so nothing goes by another file system
    monkeypatch.setattr("tempfile.tempdir", None)
    root = tmp_path / "run"
    root.mkdir()
    run = Run(root)
    config = {"seed_everything": 0}

    def begin() -> None:
        (root / "config.yaml").write_text("seed_everything: 0\n")
        for value in (1.0, 2.0):
            save(run.last, value)

    def check() -> None:
        again = Run(root)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            claim = again.claim("fit", config, None, overwrite=False)
        again.release()
        assert claim.checkpoint == str(run.last)
        assert value_of(run.last) in (2.0, 3.0)
        left = {path.name for path in root.rglob("*")} - {"last.previous.ckpt"}
        assert left == {".lock", "config.yaml", "checkpoints", "last.ckpt"}

    assert at_every_call(root, begin, lambda: save(run.last, 3.0), check) >= 6


@pytest.mark.parametrize("harm", [cut, empty, flip, Path.unlink])
def test_the_one_before_takes_the_place_of_a_damaged_one(harm: Callable[[Path], None], tmp_path: Path) -> None:
    run = Run(tmp_path)
    for name in (run.last, run.best):
        for value in (1.0, 2.0):
            save(name, value)
        harm(name)
        if name.is_file():
            with pytest.raises(CheckpointError):
                IO.load_checkpoint(name)
        with pytest.warns(DamagedCheckpoint):
            assert restored(name) == name
        assert value_of(name) == 1.0
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert restored(name) == name, "warned once"
    assert not previous(run.last).exists()


def test_that_no_checkpoint_is_whole_is_an_error(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert run.newest_checkpoint() is None
    assert run.best_checkpoint() is None
    for path in (run.last, run.best):
        for _ in range(2):
            save(path, 1.0)
        cut(path)
        empty(previous(path))
    with pytest.warns(DamagedCheckpoint):
        assert run.newest_checkpoint() is None
    with pytest.raises(CheckpointError):
        run.best_checkpoint()
    (tmp_path / "config.yaml").write_text("a: 1\n")
    for asked in ("last", str(run.last)):
        with pytest.raises(CheckpointError):
            Run(tmp_path).claim("fit", {"a": 1}, asked, overwrite=False)


def test_a_removed_checkpoint_leaves_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        save(tmp_path / "a.ckpt", 1.0)
    IO.remove_checkpoint(tmp_path / "a.ckpt")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_says_what_is_needed_and_leaves_the_one_before(tmp_path: Path) -> None:
    save(tmp_path / "last.ckpt", 1.0)

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        with pytest.raises(NoRoomError) as raised:
            save(tmp_path / "last.ckpt", 2.0)
        assert raised.value.path == tmp_path / "last.ckpt"
        assert raised.value.needed == 120_040
        assert raised.value.free

    assert forked(fill) == 0
    assert value_of(tmp_path / "last.ckpt") == 1.0
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_every_trainer_saves_so_but_one_with_an_io_of_its_own() -> None:
    for made in (Trainer, RunTrainer):
        assert type(made(logger=False, accelerator="cpu").strategy.checkpoint_io) is WholeCheckpointIO
    asynchronous = AsyncCheckpointIO()
    assert Trainer(logger=False, accelerator="cpu", plugins=[asynchronous]).strategy.checkpoint_io is asynchronous
    assert type(pl.Trainer(logger=False, accelerator="cpu").strategy.checkpoint_io) is TorchCheckpointIO


def test_metrics_survive_a_kill(tmp_path: Path) -> None:
    def log(step: int, *names: str) -> None:
        log = MetricsLog(tmp_path)
        for name in names:
            log.log_metrics({name: step + 0.5}, step)
            log.save()

    def check() -> None:
        log(3, "train/loss")
        rows = (tmp_path / "metrics.csv").read_text().splitlines()
        assert len({row.count(",") for row in rows}) == 1
        assert metrics_of(tmp_path)["train/loss"] == 3.5
        if len(rows) > 4:
            assert metrics_of(tmp_path)["val/loss"] == 2.5

    assert at_every_call(tmp_path, lambda: log(1, "train/loss"), lambda: log(2, "train/loss", "val/loss"), check) >= 4


def test_a_new_run_that_was_killed_in_its_claim_is_claimed_again(tmp_path: Path) -> None:
    path = tmp_path / "run"

    def claim() -> None:
        assert Run(path).claim("fit", {"a": 1}, None, overwrite=False).attempt == 1

    def check() -> None:
        assert forked(claim) == 0

    assert at_every_call(tmp_path, lambda: None, claim, check) >= 5


def end_to_end(arguments: list[str], run: Path) -> Callable[[], None]:
    return lambda: cli.main(["fit", *arguments, "--output", str(run)])


def test_a_run_goes_on_after_a_kill_and_a_full_disk(
    here: Here, arguments: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The second `last.ckpt` is torn by a kill, the third does not fit: nothing is lost, and one sentence says so."""
    run, fit = tmp_path / "run", end_to_end(arguments, tmp_path / "run")
    here("fit", *arguments, "--output", tmp_path / "uninterrupted")
    torn = Call("write", "root/checkpoints/last.ckpt (partial)", 2)
    assert forked(fit, torn, run) == -9
    assert len(list((run / "checkpoints").glob(".last*"))) == 1
    limit = 2 * (run / "checkpoints" / "best.ckpt").stat().st_size

    def in_little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        fit()

    capfd.readouterr()
    assert forked(in_little_room) == 2
    printed = capfd.readouterr().err
    assert str(run / "checkpoints" / "last.ckpt") in printed
    assert "Traceback" not in printed
    here("fit", *arguments, "--output", run)
    mine, uninterrupted = metrics_of(run), metrics_of(tmp_path / "uninterrupted")
    for name in ("val/loss", "test/loss", "test/accuracy"):
        assert mine[name] == pytest.approx(uninterrupted[name], abs=1e-6)
    names = [{str(path.relative_to(place)) for path in place.rglob("*")} for place in (run, tmp_path / "uninterrupted")]
    assert names[0] == names[1], "nothing stray"
    shutil.rmtree(run)


@pytest.mark.parametrize(("settings", "saved"), [({}, [0, 1, 2]), ({"val_check_interval": 2}, [0, 2])])
def test_none_is_saved_before_a_validation_that_would_be_left_out(
    settings: dict[str, int], saved: list[int], tmp_path: Path
) -> None:
    after: list[int] = []

    class Saved(pl.Callback):
        def on_save_checkpoint(self, trainer: pl.Trainer, *args: object) -> None:
            batches = trainer.fit_loop.epoch_loop.batch_progress.current
            if batches.completed < batches.ready:  # else it is saved at the end of the fit
                after.append(trainer.fit_loop.epoch_loop.batch_idx)

    last = checkpoints._Last(tmp_path, filename="last", every_n_train_steps=1, enable_version_counter=False)
    trainer = Trainer(
        max_epochs=1, limit_train_batches=4, limit_val_batches=1, accelerator="cpu", logger=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, callbacks=[last, Saved()],
        **settings,
    )  # fmt: skip
    data = torch.utils.data.DataLoader(torch.zeros(8, 32), batch_size=2)
    trainer.fit(BoringModel(), data, data)
    assert after == saved


def test_what_a_checkpoint_counts_as_done_is_in_the_metrics(tmp_path: Path) -> None:
    """A kill right after it must not lose the row of its last step; and each step has one row in the end."""
    seen = []

    class Model(BoringModel):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = super().training_step(batch, batch_idx)["loss"]
            self.log("train/loss", loss)
            return loss

    class Save(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
            trainer.save_checkpoint(tmp_path / "last.ckpt")
            with (tmp_path / "metrics.csv").open(newline="") as file:
                seen.append([int(row["step"]) for row in csv.DictReader(file)])

    trainer = Trainer(
        callbacks=[Save()], logger=MetricsLog(tmp_path), max_epochs=1, limit_train_batches=3, limit_val_batches=0,
        accelerator="cpu", log_every_n_steps=1, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Model())
    assert seen == [[0], [0, 1], [0, 1, 2]]
    with (tmp_path / "metrics.csv").open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file) if row["train/loss"]] == ["0", "1", "2"]
