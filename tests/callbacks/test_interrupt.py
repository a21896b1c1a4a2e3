"""Ctrl-C stops a run where it loses nothing, and says how to go on; a second one stops it at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from selectune import FineTuner
from selectune.callbacks.preemption import INTERRUPTED, Preemption
from tests.conftest import Here, metrics_of
from tests.mistakes import names


@pytest.fixture(autouse=True)
def usual_handler() -> Iterator[None]:
    """A shell's job in the background is started with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_training_that_is_interrupted_goes_on_and_ends_as_one_that_was_not(
    here: Here, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = ["fit", *arguments, "--data.batch_size", "8", "--output"]
    here(*fit, tmp_path / "whole")
    step, calls = FineTuner.training_step, []

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 5:
            signal.raise_signal(signal.SIGINT)
        return step(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(FineTuner, "training_step", interrupted)
        told = here(*fit, tmp_path / "run", code=INTERRUPTED)
    assert "Ctrl-C again" in told
    assert "goes on from there" in told
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 5, "no step is lost"
    here(*fit, tmp_path / "run")
    assert metrics_of(tmp_path / "run")["test/loss"] == pytest.approx(metrics_of(tmp_path / "whole")["test/loss"])


def test_a_second_interrupt_does_not_wait_for_the_batch() -> None:
    with Preemption(interrupts=True) as handler:
        handler._in_trainer = True
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(SystemExit) as end:
            signal.raise_signal(signal.SIGINT)
    assert end.value.code == INTERRUPTED == 130


def test_outside_of_a_trainer_it_ends_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    handler = Preemption(interrupts=True)
    handler.folder = Path("runs/first")
    with handler, pytest.raises(SystemExit) as end:
        signal.raise_signal(signal.SIGINT)
    assert end.value.code == INTERRUPTED
    assert names(capfd.readouterr().err, "--output runs/first", "goes on from there")
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_verbs_that_catch_it_themselves_are_left_alone() -> None:
    with Preemption(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
