"""SIGTERM for the first of several processes that it has started itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from selectune.callbacks.preemption import STOPPED
from tests.conftest import REPOSITORY, Here, metrics_of

ENDED = """
import os, signal
from selectune.cli import main
from selectune.lightning_modules import FineTuner
from selectune.signals.forward import ShardWriter

def ended(owner, name, call):
    original, calls = getattr(owner, name), [0]

    def counted(*args, **kwargs):
        calls[0] += 1
        if calls[0] == call and os.environ["LOCAL_RANK"] == "0" and os.environ.pop("ENDED", None) == name:
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
