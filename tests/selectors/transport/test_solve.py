"""Laws of the dual potentials: they are the distance's gradient, they agree with POT, and they follow the rows."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import ot
import pytest
import torch
from scipy.stats import spearmanr

from selectune.common.errors import TransportError
from selectune.selectors.transport import (
    Eps,
    backends,
    calibrated_gradient,
    dual_potentials,
    passes,
    sinkhorn_divergences,
)
from tests.mistakes import mistake

BACKENDS = ("pot", "dense", "stream")
TIGHT: dict[str, Any] = {"tolerance": 1e-12, "max_iterations": 20_000, "dtype": torch.float64, "device": "cpu"}


def points(n: int, d: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)) + shift


def weights(n: int, seed: int | None) -> np.ndarray:
    return np.full(n, 1 / n) if seed is None else np.random.default_rng(seed).dirichlet(np.full(n, 2.0))


def costs(x: np.ndarray, y: np.ndarray, cost: str) -> np.ndarray:
    if cost == "cosine":
        x, y = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (x, y))
        return 1 - x @ y.T
    return np.square(x[:, None] - y).sum(-1)


@pytest.mark.parametrize("cost", ["sqeuclidean", "cosine"])
@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_gradient_is_a_finite_difference_of_the_distance(backend: str, seed: int | None, cost: Any) -> None:
    x, y = points(30, 5, 1), points(12, 5, 2, shift=0.5)
    a, b = weights(30, seed), weights(12, seed)

    def solve(moved: np.ndarray) -> Any:
        return dual_potentials(x, y, moved, b, cost=cost, eps={"absolute": 0.3}, backend=backend, **TIGHT)  # type: ignore[arg-type]

    found, step = solve(a), 1e-5
    for up, down in ((0, 1), (5, 29), (17, 3)):
        way = np.zeros(30)
        way[up], way[down] = step, -step
        difference = (solve(a + way).distance - solve(a - way).distance) / (2 * step)
        assert found.f[up] - found.f[down] == pytest.approx(difference, abs=1e-6)


@pytest.mark.parametrize("cost", ["sqeuclidean", "cosine"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_plan_has_its_marginals_and_the_distance_is_its_value(backend: Any, cost: Any) -> None:
    x, y, a, b = points(40, 5, 1), points(15, 5, 2), weights(40, 4), weights(15, 5)
    found = dual_potentials(x, y, a, b, cost=cost, eps={"std": 0.1}, backend=backend, **TIGHT)
    eps, c = found.diagnostics["eps"], costs(x, y, cost)
    plan = a[:, None] * b * np.exp((found.f[:, None] + found.g - c) / eps)
    np.testing.assert_allclose(plan.sum(1), a, atol=1e-11)
    np.testing.assert_allclose(plan.sum(0), b, atol=1e-11)
    value = (plan * c).sum() + eps * (plan * np.log(plan / (a[:, None] * b))).sum()
    assert found.distance == pytest.approx(value, abs=1e-10)


@pytest.mark.parametrize("std", [0.05, 0.02])
@pytest.mark.parametrize("backend", ["dense", "stream"])
def test_single_precision_ranks_as_pot_does(backend: Any, std: float) -> None:
    x, y = points(600, 20, 1) + 3, points(60, 20, 2) + 3.3
    pot = dual_potentials(x, y, eps={"std": std}, backend="pot", tolerance=1e-6, max_iterations=20_000)
    found = dual_potentials(x, y, eps={"std": std}, backend=backend, lowest=18, device="cpu")
    assert spearmanr(found.f, pot.f).statistic > 0.9999
    assert len(np.intersect1d(np.argsort(found.f)[:18], np.argsort(pot.f)[:18])) == 18
    assert found.distance == pytest.approx(pot.distance, rel=1e-4)


def test_pot_agrees_with_a_plan_of_its_own() -> None:
    x, y, a, b = points(20, 4, 1), points(9, 4, 2), weights(20, 1), weights(9, 2)
    found = dual_potentials(x, y, a, b, eps=Eps(absolute=0.5), backend="pot", tolerance=1e-12, max_iterations=5000)
    expected = ot.sinkhorn(a, b, costs(x, y, "sqeuclidean"), 0.5, stopThr=1e-14, numItermax=5000)
    plan = a[:, None] * b * np.exp((found.f[:, None] + found.g - costs(x, y, "sqeuclidean")) / 0.5)
    np.testing.assert_allclose(plan, expected, atol=1e-11)


@pytest.mark.parametrize("backend", BACKENDS)
def test_permuting_the_pool_permutes_the_gradients_and_copies_share_theirs(backend: Any) -> None:
    x, y = points(50, 6, 1), points(20, 6, 2)
    x[17], x[40] = x[3], x[3]
    order = np.random.default_rng(0).permutation(50)
    one = dual_potentials(x, y, backend=backend, **TIGHT)
    other = dual_potentials(x[order], y, backend=backend, **TIGHT)
    first, second = calibrated_gradient(one.f), calibrated_gradient(other.f)
    np.testing.assert_allclose(second, first[order], atol=1e-9)
    np.testing.assert_allclose(first[[17, 40]], first[3], atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_pool_that_is_the_target_has_equal_gradients(backend: Any) -> None:
    x = points(40, 6, 1)  # its rows lie far apart at this eps, else the regulariser would tell dense from lonely ones
    found = dual_potentials(x, x, eps={"std": 0.01}, backend=backend, **TIGHT | {"tolerance": 1e-9})
    np.testing.assert_allclose(calibrated_gradient(found.f), 0, atol=1e-4)
    assert found.distance == pytest.approx(found.diagnostics["eps"] * np.log(40), rel=1e-3)


@pytest.mark.parametrize("backend", ["dense", "stream"])
def test_blocks_and_absorption_change_nothing(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = points(70, 6, 1), points(20, 6, 2)
    whole = dual_potentials(x, y, eps={"std": 0.02}, backend=backend, **TIGHT)
    monkeypatch.setattr(passes, "CELLS", {"cpu": 130})
    monkeypatch.setattr(passes, "KERNEL_CELLS", {"cpu": 90})
    monkeypatch.setattr(passes, "ABSORB", {torch.float64: 0.01})
    pieces = dual_potentials(x, y, eps={"std": 0.02}, backend=backend, **TIGHT)
    np.testing.assert_allclose(pieces.f - pieces.f.mean(), whole.f - whole.f.mean(), atol=1e-9)
    assert backend == "stream" or pieces.diagnostics["absorptions"] > whole.diagnostics["absorptions"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_kernel_gives_the_same_by_numpy_and_by_torch(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy's mat-vecs are those of a CPU, torch's those of any other device."""
    x, y, stop = points(70, 6, 1), points(20, 6, 2), TIGHT | {"dtype": dtype, "tolerance": 1e-5}
    by_numpy = dual_potentials(x, y, eps={"std": 0.05}, backend="dense", **stop)
    by, times = passes.Dense.scaled, []
    monkeypatch.setattr(passes.Dense, "scaled_on_cpu", lambda kernel, v: times.append(1) or by(kernel, v))
    by_torch = dual_potentials(x, y, eps={"std": 0.05}, backend="dense", **stop)
    assert len(times) > 2
    atol = 1e-9 if dtype == torch.float64 else 1e-4
    np.testing.assert_allclose(by_numpy.f - by_numpy.f.mean(), by_torch.f - by_torch.f.mean(), atol=atol)


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_without_weight_have_potentials_and_no_say(backend: Any) -> None:
    x, y, a, b = points(30, 5, 1), points(12, 5, 2), weights(30, 1), weights(12, 2)
    a[[2, 7]], b[[0, 5]] = 0, 0
    a, b = a / a.sum(), b / b.sum()
    found = dual_potentials(x, y, a, b, backend=backend, **TIGHT)
    kept = dual_potentials(x[a > 0], y[b > 0], a[a > 0], b[b > 0], eps={"absolute": found.diagnostics["eps"]}, **TIGHT)
    shift = found.f[a > 0][0] - kept.f[0]
    np.testing.assert_allclose(found.f[a > 0] - shift, kept.f, atol=1e-9)
    np.testing.assert_allclose(found.g[b > 0] + shift, kept.g, atol=1e-9)
    eps, c = found.diagnostics["eps"], costs(x, y, "sqeuclidean")
    expected = -eps * np.log(np.exp((found.g - c) / eps) @ b)
    np.testing.assert_allclose(found.f, expected, atol=1e-9)
    expected = -eps * np.log(a @ np.exp((found.f[:, None] - c) / eps))
    np.testing.assert_allclose(found.g, expected, atol=1e-9)


@pytest.mark.parametrize("backend", ["dense", "stream"])
@pytest.mark.parametrize(
    ("shift", "dtype"),
    # at 200 the exponents are of 640,000, of which float32 has no two digits after the point
    [(20.0, torch.float32), (60.0, torch.float32), (60.0, torch.float64), (200.0, torch.float64)],
)
def test_a_far_cloud_does_not_underflow(shift: float, dtype: torch.dtype, backend: str) -> None:
    """An accelerated step may send all mass to one cloud, whose own potential is no place to go on from."""
    for seed in range(1, 19, 3):
        x, y = points(300, 8, seed), np.concatenate([points(20, 8, seed + 1), points(5, 8, seed + 2, shift=shift)])
        stop: dict[str, Any] = {"tolerance": 1e-2, "max_iterations": 500}
        found = dual_potentials(x, y, eps={"absolute": 0.5}, backend=backend, dtype=dtype, device="cpu", **stop)  # type: ignore[arg-type]
        assert np.isfinite(found.f).all()
        assert np.isfinite(found.g).all()


def test_an_offset_common_to_all_costs_no_digits() -> None:
    x, y = points(200, 8, 1).astype(np.float32), points(30, 8, 2).astype(np.float32)
    near = dual_potentials(x, y, backend="dense", device="cpu")
    far = dual_potentials(x.astype(np.float64) + 1000, y.astype(np.float64) + 1000, backend="dense", device="cpu")
    np.testing.assert_allclose(far.f, near.f, atol=1e-3)


def test_calibration_is_the_difference_to_the_mean_of_the_others() -> None:
    f = points(7, 1, 0)[:, 0]
    expected = [f[i] - np.delete(f, i).mean() for i in range(7)]
    np.testing.assert_allclose(calibrated_gradient(f), expected)
    assert calibrated_gradient(np.array([3.0])).tolist() == [0.0]


def test_a_start_from_a_sample_leads_to_the_same_potentials(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = points(400, 6, 1), points(20, 6, 2)
    whole = dual_potentials(x, y, backend="dense", **TIGHT)
    monkeypatch.setattr(backends, "SAMPLE_CELLS", 80 * 20)
    sampled = dual_potentials(x, y, backend="dense", **TIGHT)
    assert whole.diagnostics["sample_iterations"] == 0 < sampled.diagnostics["sample_iterations"]
    np.testing.assert_allclose(sampled.f - sampled.f.mean(), whole.f - whole.f.mean(), atol=1e-9)


def test_not_converging_is_an_error_unless_allowed() -> None:
    x, y = points(60, 5, 1), points(20, 5, 2)
    for backend in BACKENDS:
        options: dict[str, Any] = {"backend": backend, "eps": {"std": 0.01}, "tolerance": 1e-9, "max_iterations": 4}
        with mistake(TransportError, 4, "allow_unconverged"):
            dual_potentials(x, y, **options)
        found = dual_potentials(x, y, **options, allow_unconverged=True)
        assert found.diagnostics["converged"] is False
        assert found.diagnostics["iterations"] == 4


@pytest.mark.parametrize("backend", ["auto", *BACKENDS])
def test_diagnostics_are_json_and_say_what_was_done(backend: Any) -> None:
    x, y = points(60, 5, 1), points(20, 5, 2)
    diagnostics = dual_potentials(x, y, backend=backend, lowest=6).diagnostics
    assert json.loads(json.dumps(diagnostics)) == diagnostics
    assert diagnostics["backend"] == ("pot" if backend == "auto" else backend)
    assert diagnostics["eps"] == pytest.approx(0.05 * costs(x, y, "sqeuclidean").std())
    assert diagnostics["eps_stated"] == "0.05 std"
    assert diagnostics["converged"]
    assert diagnostics["marginal_error"] <= diagnostics["tolerance"]
    assert diagnostics["churn"] <= 1e-3
    assert diagnostics["flops"] > 2 * 60 * 20 * 5
    assert (diagnostics["n"], diagnostics["m"], diagnostics["d"], diagnostics["ranks"]) == (60, 20, 5, 1)
    assert diagnostics["history"][-1]["iteration"] == diagnostics["iterations"]


def test_the_divergence_is_zero_between_equals_and_grows_with_distance() -> None:
    x, y = points(80, 5, 1), points(70, 5, 2)
    options: dict[str, Any] = {"eps": {"absolute": 1.0}, "tolerance": 1e-6}
    assert sinkhorn_divergences([x], x[::-1].copy(), **options)[0] == pytest.approx([0], abs=1e-6)
    near, farther, farthest = sinkhorn_divergences([y, y + 0.5, y + 1], x, **options)[0]
    assert 0 < near < farther < farthest
    assert sinkhorn_divergences([x], y, **options)[0] == pytest.approx([near], abs=1e-5)
