"""The moments of the cost against all pairs, and the errors of bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from selectune.common.errors import DataError, TransportError, UserError
from selectune.selectors.transport import Eps, backends, dual_potentials
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
REFUSED: list[tuple[dict[str, Any], type[UserError], str]] = [
    ({"target": np.zeros((0, 4))}, DataError, "target is empty"),
    ({"pool": np.zeros((0, 4))}, DataError, "pool is empty"),
    ({"pool": bad(np.nan, 3, 7)}, DataError, r"2 embeddings of the pool are not finite \(rows 3, 7\)"),
    ({"pool": bad(np.inf, *range(7))}, DataError, r"rows 0, 1, 2, 3, 4, \.\.\."),
    ({"target": bad(np.nan, 2)}, DataError, r"of the target are not finite \(rows 2\)"),
    ({"pool": bad(0, 5), "cost": "cosine"}, DataError, r"pool are zero, which have no cosine \(rows 5\)"),
    ({"pool": bad(1e200, 5)}, DataError, "pool are too large to be squared"),
    ({"target": points(8, 3, 1)}, DataError, "4 wide, the target's 3"),
    ({"pool": points(10, 4, 1)[0]}, DataError, "shape"),
    ({"pool": np.ones((10, 4), dtype=int)}, DataError, "give floats"),
    ({"eps": {"absolute": 0.0}}, TransportError, "eps.absolute must be a number above 0"),
    ({"eps": {"std": -1.0}}, TransportError, "eps.std must be a number above 0"),
    ({"eps": {"std": float("nan")}}, TransportError, "above 0"),
    ({"eps": {"std": 0.1, "mean": 0.1}}, TransportError, "exactly one of absolute, std and mean, and has std and mean"),
    ({"eps": {}}, TransportError, "has none"),
    ({"eps": 0.1}, TransportError, "give one of absolute, std and mean"),
    ({"eps": {"median": 0.1}}, TransportError, "give one of absolute, std and mean"),
    ({"pool_weights": np.full(9, 1 / 9)}, TransportError, r"pool have shape \(9,\); 10 rows"),
    ({"pool_weights": np.full(10, 0.2)}, TransportError, "pool sum to 2; divide"),
    ({"target_weights": np.full(8, 0.1)}, TransportError, "target sum to 0.8; divide"),
    ({"pool_weights": np.array([-0.1, 1.1] + [0.0] * 8)}, TransportError, "Row 0 of the pool has the weight -0.1"),
    ({"target_weights": np.array([np.nan] * 8)}, TransportError, "Row 0 of the target has the weight nan"),
    ({"cost": "manhattan"}, TransportError, "choose sqeuclidean or cosine"),
    ({"backend": "exact"}, TransportError, "choose one of pot, dense, stream or auto"),
    ({"lowest": 11}, TransportError, "lowest lies in 1 to 10"),
    ({"tolerance": 0.0}, TransportError, "tolerance is 0.0, but must be over 0 and at most 2"),
    ({"max_iterations": 0}, TransportError, "max_iterations is 0, but must be at least 1"),
    ({"pool": np.ones((10, 4)), "target": np.ones((8, 4))}, TransportError, "same for all pairs; state absolute"),
]


@pytest.mark.parametrize(("given", "kind", "message"), REFUSED)
def test_bad_input_is_refused_in_a_sentence(given: dict[str, Any], kind: type[UserError], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        dual_potentials(**({"pool": points(10, 4, 1), "target": GOOD, "device": "cpu"} | given))
    assert "\n" not in str(caught.value)


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
