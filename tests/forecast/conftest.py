"""The command line in this process, as it starts many times."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import seed_everything

from selectune.cli import main
from selectune.forecast import measure

Here = Callable[..., str]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    """Runs a verb, and gives what it printed, in one line; fails unless it ends with the code that is expected."""
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("SELECTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(measure, "STEPS", 6)  # figures of time are not tested here
    monkeypatch.chdir(tmp_path)

    def run(*args: str | Path, code: int = 0) -> str:
        ended = 0
        monkeypatch.setattr("sys.argv", ["main.py"])
        try:
            main([str(arg) for arg in args])
        except SystemExit as error:
            ended = int(error.code or 0)
        seed_everything(0, verbose=False)
        told = capfd.readouterr()
        assert ended == code, told.out[-2000:] + told.err[-4000:]
        assert "Traceback" not in told.err
        return " ".join((told.out + told.err).split())

    return run


def forecast_of(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "forecast.json").read_text())
    return content
