"""The moments of the cost against all pairs, and the errors of bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from selectune.common.errors import DataError, TransportError, UserError
from selectune.selectors.transport import Eps, backends, dual_potentials
from tests.mistakes import mistake
from tests.selectors.transport.test_solve import costs, points


@pytest.mark.parametrize("cost", ["sqeuclidean", "cosine"])
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("stated", ["std", "mean"])
def test_eps_is_of_the_cost_of_all_pairs(stated: str, kind: Any, cost: Any, tmp_path: Path) -> None:
    x, y = (points(57, 6, 1) * [5, 1, 1, 1, 1, 1] + 2).astype(kind), points(23, 6, 2, shift=1.0).astype(kind)
    mapped = np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=kind, shape=x.shape)
    mapped[:] = x
    mapped.flush()
    read = np.load(tmp_path / "x.npy", mmap_mode="r")
    found = dual_potentials(
        read, y, cost=cost, eps={stated: 0.5}, backend="stream", dtype=torch.float64, device="cpu"
    ).diagnostics["eps"]
    c = costs(x.astype(np.float64), y.astype(np.float64), cost)
    assert found == pytest.approx(0.5 * getattr(c, stated)(), rel=1e-9)


def test_a_large_offset_leaves_the_spread_exact() -> None:
    x, y = points(57, 6, 1), points(23, 6, 2)
    found = dual_potentials(x + 1e4, y + 1e4, backend="stream", dtype=torch.float64, device="cpu").diagnostics
    assert found["eps"] == pytest.approx(0.05 * costs(x, y, "sqeuclidean").std(), rel=1e-6)


def bad(value: float, *rows: int) -> np.ndarray:
    x = points(10, 4, 1)
    x[list(rows)] = value
    return x


GOOD = points(8, 4, 2)
REFUSED: list[tuple[dict[str, Any], type[UserError], list[object], list[int]]] = [
    ({"target": np.zeros((0, 4))}, DataError, ["target"], []),
    ({"pool": np.zeros((0, 4))}, DataError, ["pool"], []),
    ({"pool": bad(np.nan, 3, 7)}, DataError, [2, "pool"], [3, 7]),
    ({"pool": bad(np.inf, *range(7))}, DataError, [7, "pool", "..."], list(range(7))),
    ({"target": bad(np.nan, 2)}, DataError, [1, "target"], [2]),
    ({"pool": bad(0, 5), "cost": "cosine"}, DataError, ["pool", "cosine"], [5]),
    ({"pool": bad(1e200, 5)}, DataError, ["pool"], [5]),
    ({"target": points(8, 3, 1)}, DataError, [4, 3], []),
    ({"pool": points(10, 4, 1)[0]}, DataError, ["pool", (4,)], []),
    ({"pool": np.ones((10, 4), dtype=int)}, DataError, ["pool", "int64"], []),
    ({"eps": {"absolute": 0.0}}, TransportError, ["eps.absolute", 0.0], []),
    ({"eps": {"std": -1.0}}, TransportError, ["eps.std", -1.0], []),
    ({"eps": {"std": float("nan")}}, TransportError, ["eps.std", "nan"], []),
    ({"eps": {"std": 0.1, "mean": 0.1}}, TransportError, ["eps", "absolute", "std", "mean"], []),
    ({"eps": {}}, TransportError, ["eps", "absolute", "std", "mean"], []),
    ({"eps": 0.1}, TransportError, ["eps", 0.1, "absolute"], []),
    ({"eps": {"median": 0.1}}, TransportError, ["eps", "median", "absolute"], []),
    ({"pool_weights": np.full(9, 1 / 9)}, TransportError, ["pool", (9,), 10], []),
    ({"pool_weights": np.full(10, 0.2)}, TransportError, ["pool", 2], []),
    ({"target_weights": np.full(8, 0.1)}, TransportError, ["target", 0.8], []),
    ({"pool_weights": np.array([-0.1, 1.1] + [0.0] * 8)}, TransportError, ["pool", -0.1, 0], [0]),
    ({"target_weights": np.array([np.nan] * 8)}, TransportError, ["target", "nan", 0], list(range(8))),
    ({"cost": "manhattan"}, TransportError, ["manhattan", "sqeuclidean", "cosine"], []),
    ({"backend": "exact"}, TransportError, ["exact", "pot", "dense", "stream", "auto"], []),
    ({"lowest": 11}, TransportError, ["lowest", 11, 10], []),
    ({"tolerance": 0.0}, TransportError, ["tolerance", 0.0, 2], []),
    ({"max_iterations": 0}, TransportError, ["max_iterations", 0, 1], []),
    ({"pool": np.ones((10, 4)), "target": np.ones((8, 4))}, TransportError, ["eps", "0.05 std", "absolute"], []),
]


@pytest.mark.parametrize(("given", "kind", "named", "rows"), REFUSED)
def test_bad_input_is_refused_in_a_sentence(
    given: dict[str, Any], kind: type[UserError], named: list[object], rows: list[int]
) -> None:
    with mistake(kind, *named, rows=rows):
        dual_potentials(**({"pool": points(10, 4, 1), "target": GOOD, "device": "cpu"} | given))


def test_eps_is_one_of_three() -> None:
    assert Eps.of({"mean": 0.5}).describe() == "0.5 mean"
    assert Eps(std=0.05).value(mean=1.0, std=2.0) == pytest.approx(0.1)


def test_memory_that_torch_keeps_for_later_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("mem_get_info", (70, 100)), ("memory_reserved", 25), ("memory_allocated", 5)):
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    assert backends.free_bytes(torch.device("cuda", 0)) == 90


def test_auto_goes_by_size_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "POT_CELLS", 10)
    chosen = {}
    for free in (10**9, 100):
        monkeypatch.setattr(backends, "free_bytes", lambda device, free=free: free)
        chosen[free] = dual_potentials(points(30, 4, 1), GOOD, device="cpu").diagnostics
    assert [each["backend"] for each in chosen.values()] == ["dense", "stream"]
    assert "GB" in chosen[100]["backend_why"]
