"""One of several processes is ended, or dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from selectune.callbacks.preemption import STOPPED
from tests.conftest import REPOSITORY, Here, metrics_of

ENDED = """
import os, signal
from pathlib import Path
from selectune.cli import main
from selectune.lightning_modules import FineTuner
from selectune.signals.forward import ShardWriter

def ended(owner, name, call):
    original, calls = getattr(owner, name), [0]

    def counted(*args, **kwargs):
        calls[0] += 1
        if calls[0] == call and os.environ["LOCAL_RANK"] == "0" and os.environ.pop("ENDED", None) == name:
            Path(__file__).with_name("killed").touch()
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*args, **kwargs)

    setattr(owner, name, counted)

ended(ShardWriter, "on_predict_batch_end", 2)
ended(FineTuner, "training_step", 5)
main()
"""


@pytest.mark.slow
def test_a_sigterm_for_the_first_process_ends_all(here: Here, selecting: list[str], tmp_path: Path) -> None:
    fit = ["fit", *selecting, "--data.batch_size", "8"]
    here(*fit, "--output", tmp_path / "whole")
    (tmp_path / "ended.py").write_text(ENDED)
    ranks = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--output", str(tmp_path / "run")]
    command = [sys.executable, str(tmp_path / "ended.py"), *fit, *ranks, "--cache", str(tmp_path / "ranks")]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    codes, told = [], ""
    for when in ("on_predict_batch_end", "training_step", ""):
        done = subprocess.run(command, env=environment | {"ENDED": when}, capture_output=True, text=True, timeout=500)
        codes.append(done.returncode)
        told += done.stderr
    assert codes == [STOPPED, STOPPED, 0], told[-6000:]
    assert "Traceback" not in told
    for name in ("val/loss", "test/loss"):
        assert metrics_of(tmp_path / "run")[name] == pytest.approx(metrics_of(tmp_path / "whole")[name], abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("dead", ["0", "1"])
def test_a_process_that_dies_ends_the_others_within_a_minute_with_one_sentence(
    dead: str, arguments: list[str], tmp_path: Path
) -> None:
    (tmp_path / "ended.py").write_text(ENDED.replace('== "0"', f'== "{dead}"').replace("SIGTERM", "SIGKILL"))
    ranks = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--output", str(tmp_path / "run")]
    command = [sys.executable, str(tmp_path / "ended.py"), "fit", *arguments, "--data.batch_size", "8", *ranks]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "ENDED": "training_step"}
    environment["SELECTUNE_CACHE"] = str(tmp_path / "cache")
    # a pipe is read until the last process that writes to it is gone, so the timeout is that of all of them
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == (-signal.SIGKILL if dead == "0" else 1), done.stderr[-6000:]
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error: Another of the 2 processes") == 1
    killed_at = (tmp_path / "killed").stat().st_mtime
    assert time.time() - killed_at < 60
