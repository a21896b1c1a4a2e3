"""The choice of a backend, and the solve itself: by POT, or a start from a sample and Sinkhorn's iteration on all rows.

POT [1] is the reference: every cost in memory, float64, log domain. Its plan is exp(u + v - C / eps), so that
f = eps (u - ln a) and g = eps (v - ln b) are relative to a x b.

1. R. Flamary et al., "POT: Python Optimal Transport", JMLR 22 (2021).
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from selectune.common.errors import TransportError
from selectune.common.flop_formulas import transport_flops
from selectune.common.memory import free_bytes
from selectune.selectors.transport.iterate import CHECK_EVERY, Course, Stop, sinkhorn
from selectune.selectors.transport.passes import Dense, Stream
from selectune.selectors.transport.problem import Problem
from selectune.selectors.transport.ranks import Ranks

BACKENDS = ("pot", "dense", "stream")
POT_CELLS = 10**6  # POT's iteration takes some 30 ms at this size, so that a whole solve stays near a second
SHARE_OF_FREE = 0.5  # of the free memory, for the kernel; of the rest `problem.KEPT` may hold the pool's rows
SAMPLE_CELLS = 2**24  # of the sample's kernel, 64 MB in float32
SAMPLE_STOP = Stop(tolerance=1e-2, max_iterations=200)  # the sample itself is off by more, some 0.1 at 1,000 columns
SAMPLE_SEED = 0


def choose_backend(
    asked: str, n: int, m: int, dtype: torch.dtype, device: torch.device, ranks: Ranks
) -> tuple[str, str]:
    """A backend and the reason for it, the same on all ranks, for n rows of the pool on this rank and m of the target.

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
    needed, room = n * m * torch.finfo(dtype).bits // 8, SHARE_OF_FREE * free_bytes(device)
    if device.type != "cuda":  # the ranks of a machine share its memory
        room /= min(ranks.size, int(os.environ.get("LOCAL_WORLD_SIZE", ranks.size)))
    needed, room = min(ranks.gather((needed, room)), key=lambda one: one[1] - one[0])  # where it is tightest
    reason = f"a kernel of {needed / 1e9:.3g} GB, with {room / 1e9:.3g} GB of free memory to use"
    return ("dense" if needed <= room else "stream"), reason


def run_backend(
    problem: Problem, backend: str, stop: Stop, spread: bool
) -> tuple[np.ndarray, np.ndarray, Course, dict[str, Any]]:
    """Potentials of pool and target, the course of the solve, and its work, for the diagnostics.

    ``spread`` is whether the cost's standard deviation was computed, for the FLOPs.
    """
    weighty = problem.b > 0
    whole, problem = problem, problem if weighty.all() else problem.only_target(weighty)
    n, m, width = int(problem.ranks.sum(problem.pool.n)), problem.target.n, problem.pool.width
    g = np.empty(len(weighty))
    if backend == "pot":
        f, g[weighty], course = pot_potentials(problem, stop)
        # The cost once, then two log-sum-exps over all cells and the sums that go into them.
        flops = transport_flops(n, m, width, 1, 0, spread) + 8 * n * m * course.iterations
        work: dict[str, Any] = {"acceleration": "none"}
    else:
        kernel = (Dense if backend == "dense" else Stream)(problem)
        first, sample = start(problem, kernel)
        g[weighty], course = sinkhorn(kernel, first, stop)
        f = kernel.f
        flops = transport_flops(n, m, width, kernel.reads, kernel.kernel_passes, spread) + sample["flops"]
        work = {"acceleration": "anderson", "fallbacks": course.fallbacks, "sample_iterations": sample["iterations"]}
        work["absorptions"] = kernel.absorptions if isinstance(kernel, Dense) else None
    if not weighty.all():  # rows without mass have a potential all the same
        rest = Stream(whole.only_target(~weighty))
        rest.log_sums = torch.from_numpy((problem.pool_squares - f) / problem.eps).to(rest.device)
        g[~weighty] = rest.soft_columns()
    return f, g, course, work | {"flops": flops}


def start(problem: Problem, kernel: Stream) -> tuple[np.ndarray, dict[str, int]]:
    """A potential of the target to begin with, and the iterations and FLOPs that it took on a sample.

    Of a large pool a sample is solved first, the same rows however the pool is sharded: a pass over it costs little,
    and its potential is near to the whole pool's. At 100,000 x 1,000 the whole then takes, with `lowest`, 10 iterations
    with 1 absorption, and from nothing 15 with 4; at 0.01 std 15 with 1, and 30 with 9. So eps is not scaled down.
    """
    ranks, m = problem.ranks, problem.target.n
    sizes = ranks.gather(problem.pool.n)
    n, size = sum(sizes), SAMPLE_CELLS // m
    if n >= 4 * size and size >= 2 * m:
        # Each rank draws the whole sample and takes the rows of its own shard.
        rows = np.sort(np.random.default_rng(SAMPLE_SEED).choice(n, size, replace=False)) - sum(sizes[: ranks.rank])
        sample = problem.only_pool(rows[(rows >= 0) & (rows < problem.pool.n)])
        mass = float(ranks.sum(sample.a.sum()))
        if mass > 0:
            inner = Dense(replace(sample, a=sample.a / mass))
            g, course = sinkhorn(inner, _first_guess(inner), SAMPLE_STOP)
            flops = transport_flops(size, m, problem.pool.width, inner.reads, inner.kernel_passes, False)
            return g, {"iterations": course.iterations, "flops": flops}
    return _first_guess(kernel), {"iterations": 0, "flops": 0}


def _first_guess(kernel: Stream) -> np.ndarray:
    """A potential that is exact for the columns given the f of g = 0, so that no column underflows."""
    kernel.read(np.zeros(kernel.problem.target.n))
    return kernel.soft_columns()


def pot_potentials(problem: Problem, stop: Stop) -> tuple[np.ndarray, np.ndarray, Course]:
    """Potentials of pool and target by POT, and the course, recorded after 1, 6, 11, ... iterations.

    The problem is of one rank, its rows float64, and the weights of its target are positive.
    """
    import ot

    x, y = (rows.block().cpu().double().numpy() for rows in (problem.pool, problem.target))
    squares = problem.pool_squares[:, None] + problem.target_squares
    costs = np.maximum(squares - 2 * problem.pool.scale * (x @ y.T), 0.0)  # below 0 is rounding
    course, ends, n, eps = Course(stop, problem.ranks), False, 0, problem.eps
    positive = problem.a > 0  # POT takes the logarithm of the weights
    f, a = np.zeros(len(positive)), problem.a[positive]
    log: dict[str, Any] = {"log_u": np.zeros(len(a)), "log_v": np.zeros(len(problem.b))}
    while not ends:  # POT cannot be watched while it runs, so it is stopped and started again from where it was
        more = min(CHECK_EVERY, stop.max_iterations - n) if n else 1
        plan, log = ot.bregman.sinkhorn_log(
            a, problem.b, costs[positive], eps, numItermax=more, stopThr=0.0, log=True, warn=False,
            warmstart=(log["log_u"], log["log_v"]),
        )  # fmt: skip
        n += more
        f[positive] = eps * (log["log_u"] - np.log(a))
        ends = course.ends(n, float(np.abs(plan.sum(axis=0) - problem.b).sum()), f)
    if not positive.all():  # rows without mass have a potential all the same
        from scipy.special import logsumexp

        f[~positive] = -eps * logsumexp(log["log_v"] - costs[~positive] / eps, axis=1)
    return f, eps * (log["log_v"] - np.log(problem.b)), course
