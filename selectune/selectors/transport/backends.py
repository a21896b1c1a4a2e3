"""Which backend solves a problem, and the solve itself: a start from a sample, then all rows."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch

from selectune.errors import TransportError
from selectune.flops import transport_flops
from selectune.selectors.transport.iterate import Course, Stop, sinkhorn
from selectune.selectors.transport.passes import Dense, Problem, Stream
from selectune.selectors.transport.ranks import Ranks
from selectune.selectors.transport.reference import pot_potentials

BACKENDS = ("pot", "dense", "stream")
POT_CELLS = 10**6  # POT's iteration takes some 30 ms at this size, so that a whole solve stays near a second
SHARE_OF_FREE = 0.5  # of the free memory, for the kernel; the rest is the caller's
SAMPLE_CELLS = 2**24  # of the sample's kernel, 64 MB in float32
SAMPLE_SEED = 0


def choose_backend(
    asked: str, n: int, m: int, dtype: torch.dtype, device: torch.device, ranks: Ranks
) -> tuple[str, str]:
    """A backend and the reason for it, the same on all ranks.

    Args:
        asked: ``auto`` or a backend.
        n: this rank's rows of the pool.
        m: rows of the target.
        dtype: of the kernel.
        device: where it would be.
        ranks: who holds the other rows.

    Raises:
        TransportError: an unknown backend, or POT on several ranks.
    """
    if asked not in (*BACKENDS, "auto"):
        raise TransportError(f"There is no transport backend {asked!r}; choose one of {', '.join(BACKENDS)} or auto.")
    if asked == "pot" and ranks.size > 1:
        raise TransportError("POT solves in one process; use the backend dense or stream on several.")
    if asked != "auto":
        return asked, "asked for"
    cells = float(ranks.sum(float(n) * m))
    if cells <= POT_CELLS and ranks.size == 1:
        return "pot", f"{cells:,.0f} costs are at most {POT_CELLS:,}"
    needed = n * m * torch.finfo(dtype).bits // 8
    room = SHARE_OF_FREE * free_bytes(device) / (1 if device.type == "cuda" else _processes_here(ranks))
    needed, room = min(ranks.gather((needed, room)), key=lambda one: one[1] - one[0])  # where it is tightest
    told = f"a kernel of {needed / 1e9:.3g} GB, with {room / 1e9:.3g} GB of free memory to use"
    return ("dense" if needed <= room else "stream"), told


def free_bytes(device: torch.device) -> int:
    """Memory that is free on a device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return int(psutil.virtual_memory().available)


def run_backend(problem: Problem, backend: str, stop: Stop) -> tuple[np.ndarray, np.ndarray, Course, dict[str, Any]]:
    """Potentials of pool and target, how the solve went, and the work it took, for the diagnostics.

    Args:
        problem: whose target may have rows without weight.
        backend: ``pot``, ``dense`` or ``stream``.
        stop: when it is done.
    """
    weighty = problem.b > 0
    whole, problem = problem, problem if weighty.all() else problem.only(target=weighty)
    sample = Course(np.zeros(0))
    n = int(problem.ranks.sum(problem.pool.n))
    m, width = problem.target.n, problem.pool.width
    if backend == "pot":
        f, course = pot_potentials(problem, stop)
        flops = transport_flops(n, m, width, 1, 0, False) + 8 * n * m * course.iterations
        work: dict[str, Any] = {"acceleration": "none", "absorptions": 0, "sample_iterations": 0}
    else:
        made = Dense if backend == "dense" else Stream
        g, sample = _start(problem, stop)
        kernel = made(problem)
        if g is None:
            g = _first_guess(kernel)
        course = sinkhorn(kernel, problem.b, problem.eps, g, stop, problem.ranks)
        f = kernel.f
        flops = transport_flops(n, m, width, kernel.reads, kernel.kernel_passes, False)
        absorptions = kernel.reads if backend == "dense" else 0
        work = {"acceleration": "anderson", "fallbacks": course.fallbacks, "absorptions": absorptions}
        work |= {"sample_iterations": sample.iterations}
    g = np.empty(len(weighty))
    g[weighty] = course.g
    if not weighty.all():
        rest = Stream(whole.only(target=~weighty))
        rest.take_f(f)
        g[~weighty] = rest.soft_columns()
    return f, g, course, work | {"flops": flops}


def _start(problem: Problem, stop: Stop) -> tuple[np.ndarray | None, Course]:
    """The target's potential for a sample of a large pool, the same rows however it is sharded; None for a small one.

    A pass over the sample costs little, and its potential is near to the whole pool's.
    """
    ranks, m = problem.ranks, problem.target.n
    sizes = ranks.gather(problem.pool.n)
    n, offset = sum(sizes), sum(sizes[: ranks.rank])
    size = SAMPLE_CELLS // m
    if n < 4 * size or size < 2 * m:
        return None, Course(np.zeros(0))
    rows = np.sort(np.random.default_rng(SAMPLE_SEED).choice(n, size, replace=False)) - offset
    sample = problem.only(pool=rows[(rows >= 0) & (rows < problem.pool.n)])
    mass = float(ranks.sum(sample.a.sum()))
    if not mass > 0:
        return None, Course(np.zeros(0))
    sample.a = sample.a / mass
    kernel = Dense(sample)
    course = sinkhorn(
        kernel, problem.b, problem.eps, _first_guess(kernel), Stop(stop.tolerance, stop.max_iterations), ranks
    )
    return course.g, course


def _first_guess(kernel: Stream) -> np.ndarray:
    """A potential that is exact for the columns given the f of g = 0, so that no column underflows."""
    kernel.read(np.zeros(kernel.problem.target.n))
    return kernel.soft_columns()


def _processes_here(ranks: Ranks) -> int:
    """Ranks that share this machine's memory."""
    return min(ranks.size, int(os.environ.get("LOCAL_WORLD_SIZE", ranks.size)))
