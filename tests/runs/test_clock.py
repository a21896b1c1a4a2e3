"""A clock that is set back, as by a time server, changes no cost and stops no run."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from selectune.costs.ledger import read_ledger
from selectune.costs.saving import Saving
from tests.conftest import Here, metrics_of


def test_a_run_during_which_the_clock_goes_back_is_the_same(
    here: Here, selecting: list[str], finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, calls = time.time(), []

    def set_back() -> float:
        calls.append(1)
        return began - 3600 - len(calls)

    monkeypatch.setattr(time, "time", set_back)
    here("fit", *selecting, "--output", tmp_path / "run")
    assert calls, "somebody looked at it"
    assert metrics_of(tmp_path / "run")["test/loss"] == pytest.approx(metrics_of(finished)["test/loss"])
    assert Saving.read(tmp_path / "run").flops == Saving.read(finished).flops
    for record in read_ledger(tmp_path / "run" / "cost.jsonl"):
        assert 0 <= record.wall_s < 600
        assert 0 <= record.device_s < 600
