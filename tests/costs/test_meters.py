"""Energy is what a meter shows, or unknown with a reason."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from selectune.costs import record as costs
from selectune.costs.ledger import Ledger, read_ledger
from selectune.costs.meters import NO_EXTRA, NO_GPU, EnergyMeter


class FakeNvml:
    """One GPU whose counter goes up by 500 mJ each time that it is read."""

    def __init__(self, fails: str = "") -> None:
        self.counter, self.fails, self.asked = 7_000_000, fails, ""

    def nvmlInit(self) -> None:  # noqa: N802
        if self.fails == "at once":
            raise RuntimeError("Driver Not Loaded")

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        self.asked = uuid
        return "handle"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:  # noqa: N802
        assert handle == "handle"
        if self.fails == "later" and self.counter > 7_000_500:
            raise RuntimeError("GPU is lost")
        self.counter += 500
        return self.counter


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)  # type: ignore[arg-type]
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="0a-1b", name="Made-up GPU")
    )
    return fake


def test_a_stage_on_a_gpu_has_the_energy_between_its_start_and_its_end(nvml: FakeNvml, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "cost.jsonl", device="cuda:1")
    with ledger.stage("score") as cost:
        cost.pause()
        nvml.counter += 10_000_000  # drawn by somebody else in a pause
        cost.resume()
    assert nvml.asked == "GPU-0a-1b"
    (written,) = read_ledger(tmp_path / "cost.jsonl")
    assert written.energy_j == pytest.approx(1.0), "two stretches of 0.5 J"
    assert written.energy_source == "NVML, the whole of cuda:1 (Made-up GPU)"
    assert costs.totals([written]).spent["score"].energy_j == pytest.approx(1.0)


def test_what_a_killed_stage_had_drawn_is_in_its_heartbeat(nvml: FakeNvml) -> None:
    cost = Ledger(device="cuda:0").open("train")
    assert cost.so_far().energy_j == pytest.approx(0.5)
    assert cost.so_far().energy_j == pytest.approx(1.0)


def test_without_a_meter_energy_is_unknown_and_why_is_said(monkeypatch: pytest.MonkeyPatch, nvml: FakeNvml) -> None:
    def of_a_stage(device: str) -> tuple[Any, str]:
        ledger = Ledger(device=device)
        with ledger.stage("train"):
            pass
        return ledger.records[0].energy_j, ledger.records[0].energy_source

    assert of_a_stage("cpu") == (None, NO_GPU)
    nvml.fails = "at once"
    assert of_a_stage("cuda:0") == (None, "not measured: NVML failed (Driver Not Loaded)")
    nvml.fails = "later"
    assert of_a_stage("cuda:0") == (None, "not measured: NVML failed (GPU is lost)")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert of_a_stage("cuda:0") == (None, NO_EXTRA)


def test_a_meter_that_never_ran_shows_nothing(nvml: FakeNvml) -> None:
    assert EnergyMeter("cuda:0").joules == 0
    assert EnergyMeter("cpu").joules is None


def test_one_unknown_energy_makes_the_sum_unknown() -> None:
    known, unknown = costs.Total(energy_j=2.0), costs.Total(energy_j=None)
    assert (known + known).energy_j == 4
    assert (known + unknown).energy_j is None
