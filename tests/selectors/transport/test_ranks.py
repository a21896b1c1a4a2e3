"""A pool over several processes has the potentials of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from selectune.common.errors import UserError
from selectune.selectors.transport import backends, calibrated_gradient, dual_potentials
from tests.processes import fork

N, M, D, LOWEST = 10_000, 200, 16, 300


def problem() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    x = random.normal(size=(N, D)) + random.normal(size=(N, 1))
    return x, random.normal(size=(M, D)) + 0.5, random.dirichlet(np.full(N, 5.0))


def options(backend: str) -> dict[str, Any]:
    return {"backend": backend, "lowest": LOWEST, "dtype": torch.float64, "device": "cpu"}


def work(rank: int, size: int, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=size)
    backends.SAMPLE_CELLS = 1000 * M  # so that the start from a sample has its part
    group = torch.distributed.group.WORLD
    x, y, a = problem()
    bounds = np.linspace(0, N, size + 1).astype(int) + np.array([0, *[37] * (size - 1), 0])  # uneven
    own = slice(bounds[rank], bounds[rank + 1])
    for backend in ("dense", "stream"):
        found = dual_potentials(x[own], y, a[own], group=group, **options(backend))
        np.save(folder / f"{backend}-{rank}-f.npy", found.f)
        np.save(folder / f"{backend}-{rank}-g.npy", found.g)
        np.save(folder / f"{backend}-{rank}-c.npy", calibrated_gradient(found.f, group))
        np.save(folder / f"{backend}-{rank}-d.npy", [found.distance, found.diagnostics["iterations"]])
    chosen = dual_potentials(x[own], y, eps={"std": 0.5}, group=group).diagnostics["backend"]
    x[N - 1] = np.nan
    try:
        dual_potentials(x[own], y, group=group)
        message = "nothing"
    except UserError as error:
        message = f"{chosen}: {error}"
    (folder / f"message-{rank}.txt").write_text(message)
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("size", [2, 4])
def test_processes_give_the_potentials_of_one(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processes = [fork(work, rank, size, tmp_path) for rank in range(size)]
    monkeypatch.setattr(backends, "SAMPLE_CELLS", 1000 * M)
    x, y, a = problem()
    alone = {backend: dual_potentials(x, y, a, **options(backend)) for backend in ("dense", "stream")}
    for process in processes:
        process.join()
        assert process.exitcode == 0

    def read(backend: str, what: str) -> list[np.ndarray]:
        return [np.load(tmp_path / f"{backend}-{rank}-{what}.npy") for rank in range(size)]

    for backend, one in alone.items():
        f = np.concatenate(read(backend, "f"))
        np.testing.assert_allclose(f, one.f, atol=1e-9, rtol=0)
        lowest = [set(np.argsort(values)[:LOWEST].tolist()) for values in (f, one.f)]
        assert lowest[0] == lowest[1]
        np.testing.assert_allclose(np.concatenate(read(backend, "c")), calibrated_gradient(one.f), atol=1e-9, rtol=0)
        for g, (distance, iterations) in zip(read(backend, "g"), read(backend, "d")):
            np.testing.assert_allclose(g, one.g, atol=1e-9, rtol=0)
            assert distance == pytest.approx(one.distance, abs=1e-9)
            assert iterations == one.diagnostics["iterations"]
    for rank in range(size):
        message = (tmp_path / f"message-{rank}.txt").read_text()
        assert message == f"dense: 1 embeddings of the pool are not finite (rows {N - 1}); leave these rows out."
