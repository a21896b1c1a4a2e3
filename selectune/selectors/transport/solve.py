"""Entropic optimal transport between a pool and a target, and its gradient in the weight of each row of the pool.

    OT = min_P  sum_ij P_ij C_ij + eps KL(P | a x b)    over P >= 0 with row sums a and column sums b
       = max_fg <f, a> + <g, b>                         with P_ij = a_i b_j exp((f_i + g_j - C_ij) / eps)

so that f is the gradient of OT in the pool's weights, up to a constant [1]. Rows with the smallest f are those whose
mass, if there were more of it, would bring the pool nearest to the target [2, 3]. Two samples are compared by the
divergence OT(x, y) - (OT(x, x) + OT(y, y)) / 2, without the bias of the regulariser [4].

1. G. Peyré, M. Cuturi, "Computational optimal transport", Foundations and Trends in Machine Learning 11 (2019).
2. H. A. Just et al., "LAVA: data valuation without pre-specified learning algorithms", ICLR 2023.
3. F. Kang et al., "Get more for less: principled data selection for warming up fine-tuning in LLMs", ICLR 2024.
4. J. Feydy et al., "Interpolating between optimal transport and MMD using Sinkhorn divergences", AISTATS 2019.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch

from selectune.common import checks
from selectune.common.errors import TransportError
from selectune.selectors.transport import backends
from selectune.selectors.transport.iterate import Course, Stop
from selectune.selectors.transport.problem import DEFAULT_EPS, Eps, make_problem
from selectune.selectors.transport.ranks import Ranks
from selectune.selectors.transport.rows import Cost

Backend = Literal["auto", "pot", "dense", "stream"]


@dataclass(frozen=True)
class Potentials:
    """The dual of a transport problem, relative to a x b; f and g are unique up to a constant shifted between them.

    Args:
        f: of the pool, this rank's rows, float64, shape (n,): the gradient of the distance in the pool's weights.
        g: of the target, float64, shape (m,).
        distance: the regularised transport value, <f, a> + <g, b>, in units of the cost.
        diagnostics: of the solve, JSON types.
    """

    f: np.ndarray
    g: np.ndarray
    distance: float
    diagnostics: dict[str, Any]


def dual_potentials(
    pool: np.ndarray | torch.Tensor,
    target: np.ndarray | torch.Tensor,
    pool_weights: np.ndarray | None = None,
    target_weights: np.ndarray | None = None,
    *,
    cost: Cost = "sqeuclidean",
    eps: Eps | Mapping[str, float] = DEFAULT_EPS,
    backend: Backend = "auto",
    tolerance: float = 1e-3,
    max_iterations: int = 1000,
    lowest: int | None = None,
    churn: float = 1e-3,
    highest: bool = False,
    allow_unconverged: bool = False,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
    group: Any = None,
) -> Potentials:
    """Solve the transport problem of the top of this page.

    Args:
        pool, target: embeddings, floats, shapes (n, d), (m, d): memory maps, read in blocks, or tensors of any device.
        pool_weights, target_weights: at least 0, sum 1, shapes (n,) and (m,); default uniform.
        cost: ``sqeuclidean``, |x - y|^2, or ``cosine``, 1 - cos(x, y).
        eps: of the regulariser: ``absolute``, or relative to the ``std`` or ``mean`` of the cost over all pairs.
        backend: ``pot`` (the reference), ``dense`` (the kernel is kept), ``stream`` (memory O(n + m)), or ``auto``.
        tolerance: stop when sum_j |column sum of the plan - b_j|, in [0, 2], is at most this; row sums are exact.
        max_iterations: upper limit of iterations.
        lowest: number of rows of smallest f (``highest``: largest) that will be kept; the solve lets them settle.
        churn: share of the lowest that may still change in five iterations.
        allow_unconverged: return the potentials of the last iteration, and say so in the diagnostics.
        dtype, device: of ``dense`` and ``stream``, default float32 on ``cuda`` where it is; results are float64.
        group: of processes that each give some rows of the pool, all weights summing to 1, and all of the target.

    Raises:
        TransportError: weights, eps or options out of range; no convergence.
        DataError: embeddings that are missing, of different widths, not finite, or zero under the cosine.
    """
    began = time.perf_counter()
    ranks, eps = Ranks(group), Eps.of(eps)
    device, dtype = torch.device(device or default_device()), dtype or torch.float32
    used, reason = backends.choose_backend(backend, len(pool), len(target), dtype, device, ranks)
    if used == "pot":
        dtype, device = torch.float64, torch.device("cpu")
    stop = checked_stop(tolerance, max_iterations, lowest, churn, int(ranks.sum(len(pool))), highest)
    with _exact_products(), torch.no_grad():
        problem, known = make_problem(pool, target, pool_weights, target_weights, cost, eps, dtype, device, ranks)
        f, g, course, work = backends.run_backend(problem, used, stop, spread=eps.std is not None)
    if not course.converged and not allow_unconverged:
        raise _unconverged(course)
    distance = float(ranks.sum(f @ problem.a)) + float(g @ problem.b)
    diagnostics = known | {
        "backend": used, "backend_why": reason, "eps": problem.eps, "dtype": str(dtype).removeprefix("torch."),
        "device": str(device), "converged": course.converged, "iterations": course.iterations,
        "marginal_error": course.errors[course.iterations], "tolerance": tolerance, "lowest": lowest,
        "churn": course.churns.get(course.iterations), "history": course.history(),
        "distance": distance, **work, "seconds": time.perf_counter() - began,
    }  # fmt: skip
    return Potentials(f, g, distance, diagnostics)


def pool_potentials(pool: np.ndarray, target: np.ndarray, group: Any = None, **options: Any) -> Potentials:
    """`dual_potentials` of a pool that all ranks of a group can read and each solves a share of; the same on all.

    The options are those of `dual_potentials`, without weights of the pool.
    """
    ranks = Ranks(group)
    small = options.get("backend", "auto") in ("auto", "pot") and len(pool) * len(target) <= backends.POT_CELLS
    if ranks.size == 1 or small:  # each rank solves a small problem, so that the result is the same for any number
        return dual_potentials(pool, target, **options)
    start, stop = (len(pool) * i // ranks.size for i in (ranks.rank, ranks.rank + 1))
    solved = dual_potentials(pool[start:stop], target, group=group, **options)
    return replace(solved, f=np.concatenate(ranks.gather(solved.f)))


def calibrated_gradient(f: np.ndarray, group: Any = None) -> np.ndarray:
    """Growth of the distance with a row's mass, when the others give it up evenly [2], shape (n,).

    g_i = f_i - mean of f over the other rows, which ranks as f does, and does not depend on its constant. A pool of one
    row has nothing to be measured against: 0.

    Args:
        f: of this rank's rows, float64, shape (n,).
        group: of `torch.distributed`, when the pool is sharded over its processes.
    """
    n, total = Ranks(group).sum([len(f), f.sum()])  # over all shards
    return f - (total - f) / (n - 1) if n > 1 else np.zeros_like(f)


def sinkhorn_divergences(
    samples: Sequence[np.ndarray],
    target: np.ndarray,
    target_weights: np.ndarray | None = None,
    *,
    cost: Cost = "sqeuclidean",
    eps: Eps | Mapping[str, float] = DEFAULT_EPS,
    **options: Any,
) -> tuple[list[float], float]:
    """Divergences OT(x, y) - (OT(x, x) + OT(y, y)) / 2 of several samples x to one target y, and their FLOPs [4].

    A divergence is 0 between equal samples and else above 0. One eps holds for all: where it is relative, of the cost
    between the union of the samples and the target. The target's own transport is solved once.

    Args:
        samples: embeddings, each of shape (n_i, d), rows of equal weight.
        target: embeddings, shape (m, d).
        target_weights: of its rows, sum 1, shape (m,); default uniform.
        cost: as in `dual_potentials`, as are the errors.
        eps: as in `dual_potentials`.
        **options: more of `dual_potentials`: backend, tolerance, max_iterations, allow_unconverged, dtype, device.
    """
    cpu = torch.device("cpu")
    union = make_problem(np.concatenate(samples), target, None, None, cost, Eps.of(eps), torch.float32, cpu, Ranks())[0]
    options |= {"cost": cost, "eps": Eps(absolute=union.eps)}
    own = dual_potentials(target, target, target_weights, target_weights, **options)
    flops, divergences = own.diagnostics["flops"], []
    for sample in samples:
        between = dual_potentials(sample, target, target_weights=target_weights, **options)
        within = dual_potentials(sample, sample, **options)
        divergences.append(between.distance - (within.distance + own.distance) / 2)
        flops += between.diagnostics["flops"] + within.diagnostics["flops"]
    return divergences, flops


def default_device() -> torch.device:
    """This process's GPU where it has one, else the CPU. Not another accelerator: Apple's knows no float64."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def checked_stop(
    tolerance: float, max_iterations: int, lowest: int | None, churn: float, n: int, highest: bool = False
) -> Stop:
    """The conditions on which a solve over a pool of n rows ends.

    Raises:
        TransportError: it never would.
    """
    checks.refuse_unless(0 < tolerance <= 2, "tolerance", tolerance, "over 0 and at most 2", TransportError)
    checks.between("churn", churn, 0, 1, TransportError)
    checks.at_least("max_iterations", max_iterations, 1, TransportError)
    if lowest is not None and not 1 <= lowest <= n:
        raise TransportError(f"The {lowest} lowest rows of a pool of {n} cannot be watched; lowest lies in 1 to {n}.")
    return Stop(tolerance, max_iterations, lowest, churn, highest)


def _unconverged(course: Course) -> TransportError:
    n, stop = course.iterations, course.stop
    reached = f"a marginal error of {course.errors[n]:.3g} (tolerance {stop.tolerance:g})"
    if stop.lowest is not None:
        reached += f" and a churn of {course.churns.get(n, 1.0):.3g} (at most {stop.churn:g})"
    return TransportError(
        f"Transport did not converge in {n} iterations: {reached}. Allow more of them, a larger eps or tolerance, "
        "or pass allow_unconverged."
    )


@contextmanager
def _exact_products() -> Iterator[None]:
    """Products in full precision, whatever the training asked for: a cost in tf32 or bf16 is off by more than eps."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
