"""Which backend solves a problem, and the solve itself: a start from a sample, then all rows."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch

from selectune.common.errors import TransportError
from selectune.common.flop_formulas import transport_flops
from selectune.selectors.transport.iterate import Course, Stop, sinkhorn
from selectune.selectors.transport.passes import Dense, Problem, Stream
from selectune.selectors.transport.ranks import Ranks
from selectune.selectors.transport.reference import pot_potentials

BACKENDS = ("pot", "dense", "stream")
POT_CELLS = 10**6  # POT's iteration takes some 30 ms at this size, so that a whole solve stays near a second
SHARE_OF_FREE = 0.5  # of the free memory, for the kernel; the rest is the caller's
SAMPLE_CELLS = 2**24  # of the sample's kernel, 64 MB in float32
SAMPLE_STOP = Stop(tolerance=1e-2, max_iterations=200)  # the sample itself is off by more, some 0.1 at 1,000 columns
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
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by torch, for what comes next
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    import psutil

    return int(psutil.virtual_memory().available)


def run_backend(
    problem: Problem, backend: str, stop: Stop, spread: bool
) -> tuple[np.ndarray, np.ndarray, Course, dict[str, Any]]:
    """Potentials of pool and target, how the solve went, and the work it took, for the diagnostics.

    Args:
        problem: whose target may have rows without weight.
        backend: ``pot``, ``dense`` or ``stream``.
        stop: when it is done.
        spread: whether the cost's standard deviation was taken, for the FLOPs.
    """
    weighty = problem.b > 0
    whole, problem = problem, problem if weighty.all() else problem.only(target=weighty)
    n, m, width = int(problem.ranks.sum(problem.pool.n)), problem.target.n, problem.pool.width
    if backend == "pot":
        f, course = pot_potentials(problem, stop)
        # The cost once, then two log-sum-exps over all cells and the sums that go into them.
        flops = transport_flops(n, m, width, 1, 0, spread) + 8 * n * m * course.iterations
        work: dict[str, Any] = {"acceleration": "none"}
    else:
        kernel = (Dense if backend == "dense" else Stream)(problem)
        g, sample = start(problem, kernel)
        course = sinkhorn(kernel, problem.b, problem.eps, g, stop, problem.ranks)
        f = kernel.f
        flops = transport_flops(n, m, width, kernel.reads, kernel.kernel_passes, spread) + sample["flops"]
        work = {"acceleration": "anderson", "fallbacks": course.fallbacks, "sample_iterations": sample["iterations"]}
        work["absorptions"] = kernel.absorptions if isinstance(kernel, Dense) else None
    g = np.empty(len(weighty))
    g[weighty] = course.g
    if not weighty.all():
        rest = Stream(whole.only(target=~weighty))
        rest.take_f(f)
        g[~weighty] = rest.soft_columns()
    return f, g, course, work | {"flops": flops}


def start(problem: Problem, kernel: Stream) -> tuple[np.ndarray, dict[str, int]]:
    """A potential of the target to begin with, and the iterations and FLOPs that it took on a sample.

    Of a large pool a sample is solved first, the same rows however the pool is sharded: a pass over it costs little,
    and its potential is near to the whole pool's. At 100,000 x 1,000 the whole then takes, with `lowest`, 10 iterations
    with 1 absorption, and from nothing 15 with 4; at 0.01 std 15 with 1, and 30 with 9. So eps is not scaled down.

    Args:
        problem: of this rank.
        kernel: of the problem.
    """
    ranks, m = problem.ranks, problem.target.n
    sizes = ranks.gather(problem.pool.n)
    n, offset = sum(sizes), sum(sizes[: ranks.rank])
    size = SAMPLE_CELLS // m
    nothing = {"iterations": 0, "flops": 0}
    if n < 4 * size or size < 2 * m:
        return _first_guess(kernel), nothing
    rows = np.sort(np.random.default_rng(SAMPLE_SEED).choice(n, size, replace=False)) - offset
    sample = problem.only(pool=rows[(rows >= 0) & (rows < problem.pool.n)])
    mass = float(ranks.sum(sample.a.sum()))
    if not mass > 0:
        return _first_guess(kernel), nothing
    sample.a = sample.a / mass
    inner = Dense(sample)
    course = sinkhorn(inner, problem.b, problem.eps, _first_guess(inner), SAMPLE_STOP, ranks)
    flops = transport_flops(size, m, problem.pool.width, inner.reads, inner.kernel_passes, False)
    return course.g, {"iterations": course.iterations, "flops": flops}


def _first_guess(kernel: Stream) -> np.ndarray:
    """A potential that is exact for the columns given the f of g = 0, so that no column underflows."""
    kernel.read(np.zeros(kernel.problem.target.n))
    return kernel.soft_columns()


def _processes_here(ranks: Ranks) -> int:
    """Ranks that share this machine's memory."""
    return min(ranks.size, int(os.environ.get("LOCAL_WORLD_SIZE", ranks.size)))
