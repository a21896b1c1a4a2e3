"""Cost records made up for tests."""

from __future__ import annotations

import itertools
from typing import Any

from selectune.costs.record import CostRecord, Stage

MOMENTS = itertools.count()


def record(stage: Stage, **changed: Any) -> CostRecord:
    """A record of a stage, of 1 s and 10 FLOPs on 1,000 tokens, with some fields changed."""
    given: dict[str, Any] = {
        "part": "fit",
        "wall_s": 1.0,
        "device_s": 1.0,
        "flops": 10,
        "flops_method": "by hand",
        "energy_j": None,
        "energy_source": "not measured: made up",
        "peak_rss_bytes": 900_000_000,
        "peak_cuda_bytes": None,
        "examples": 100,
        "tokens": 1000,
        "world_size": 1,
        "rank": 0,
        "device": "cpu",
        "cached": False,
        "attempt": 1,
        "finished": True,
        "commit": "0" * 40,
        "started_at": f"2026-01-01T00:00:00.{next(MOMENTS):06}+00:00",
    } | changed
    return CostRecord(stage=stage, **{"padded_tokens": given["tokens"] * 11 // 10} | given)


def an_honest_run() -> list[CostRecord]:
    """Selection 60 + 30 + 7 + 3 = 100 FLOPs, training 200 FLOPs on a quarter of the tokens, two ranks."""
    return [
        record("prepare", flops=5000, device_s=50.0),
        record("warm_up", part="warm_up", flops=9000, device_s=90.0),
        record("score", part="warm_up", flops=8000, device_s=80.0),
        record("tune_scorer", flops=60, device_s=0.6),
        record("score", flops=30, device_s=0.3),
        record("solve", flops=7, device_s=0.07),
        record("select", flops=3, device_s=0.03),
        record("train", flops=120, device_s=1.2, rank=0, world_size=2),
        record("train", flops=80, device_s=0.8, rank=1, world_size=2),
        record("evaluate", flops=400, device_s=4.0),
    ]
