"""Measurements are scaled to the whole target, to several ranks, to another machine."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from selectune.costs.record import Total
from selectune.forecast import sampled_selection as selecting
from selectune.forecast.forecaster import Forecaster
from selectune.forecast.ledger import EstimatedCosts
from selectune.forecast.sampled_selection import Selecting, _Known
from selectune.selectors import Budget, Picked, Selector, Signals
from tests.selectors import pool_of


class Solver(Selector):
    """Says that it took 1,000 FLOPs; a clock that ticks says that it took a second."""

    def __init__(self, collective: bool = False) -> None:
        self.together = collective

    @property
    def requires(self) -> frozenset[str]:
        return frozenset()

    @property
    def collective(self) -> bool:
        return self.together

    def select(self, pool: Signals, target: Signals | None, budget: Budget, seed: int) -> Picked:
        return Picked(np.arange(5), np.zeros(pool.n_rows), {}, 1000.0, "made up")


def charged(
    monkeypatch: pytest.MonkeyPatch, share: float, ranks: int = 1, collective: bool = False, n_target: int = 10
) -> Any:
    clock = iter(range(100))
    monkeypatch.setattr(selecting.time, "perf_counter", lambda: float(next(clock)))
    estimated, request, pool = EstimatedCosts("cpu", ranks), SimpleNamespace(seed=0, part="fit"), pool_of(20)
    work = Selecting(request, None, estimated)  # type: ignore[arg-type]
    known = _Known(pool, pool, None, pool_of(n_target), share)
    work.select(Solver(collective), known, Budget(rows=5))
    monkeypatch.undo()
    (record,) = estimated.records
    return record


def test_time_and_flops_of_a_sampled_target_are_scaled_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    one, all_of_it = charged(monkeypatch, 1.0), charged(monkeypatch, 7.0)
    assert all_of_it.flops == 7 * one.flops == 7000
    assert all_of_it.device_s == 7 * one.device_s == 7.0


def test_ranks_share_a_large_solve_and_each_does_a_small_one(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = charged(monkeypatch, 1.0, ranks=4)
    assert (alone.wall_s, alone.device_s, alone.flops) == (1.0, 1.0, 1000), "rank 0"
    small = charged(monkeypatch, 1.0, ranks=4, collective=True)
    assert (small.wall_s, small.device_s, small.flops) == (1.0, 4.0, 4000)
    large = charged(monkeypatch, 1e6, ranks=4, collective=True)
    assert (large.wall_s, large.device_s, large.flops) == (0.25e6, 1e6, 1e9)


@pytest.mark.parametrize("stage", ["solve", "train"])
def test_what_is_unknown_in_flops_is_unknown_in_time_on_another_machine(stage: str) -> None:
    for speed in (None, 50.0):
        estimated = EstimatedCosts("cpu", 1, speed)
        for name in ("score", "solve", "train"):
            flops = None if name == stage else 100.0
            estimated.charge(name, "fit", Total(7.0, 7.0, flops, 50, 500, 500))
        saving = Forecaster(None, None, estimated)._saving("fit", 2.0, (50, 100, 500, 1000))  # type: ignore[arg-type]
        assert saving.flops.saving is None
        assert (saving.device_s.saving is None) == (speed is not None)
        assert getattr(saving.device_s, "training" if stage == "train" else stage) == (None if speed else 7.0)
