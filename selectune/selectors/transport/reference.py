"""Potentials by POT, the reference: every cost in memory, float64, log domain [1].

POT's plan is exp(u + v - C / eps), so that f = eps (u - ln a) and g = eps (v - ln b) are relative to a x b.

1. R. Flamary et al., "POT: Python Optimal Transport", JMLR 22 (2021).
"""

from __future__ import annotations

import numpy as np

from selectune.selectors.transport.iterate import CHECK_EVERY, Course, Stop, Watch
from selectune.selectors.transport.passes import Problem


def pot_potentials(problem: Problem, stop: Stop) -> tuple[np.ndarray, Course]:
    """The pool's potential, shape (n,), and how the solve went; POT is looked at after 1, 6, 11, ... iterations.

    Args:
        problem: of one rank, its rows float64; weights of the target are positive.
        stop: when it is done.
    """
    import ot

    costs = costs_of(problem)
    watch, course = Watch(stop, problem.ranks), Course(np.zeros(len(problem.b)))
    warm = np.zeros(len(problem.a)), np.zeros(len(problem.b))
    f, n = np.zeros(len(problem.a)), 0
    positive = problem.a > 0
    while not course.converged and n < stop.max_iterations:
        some = min(CHECK_EVERY, stop.max_iterations - n) if n else 1
        plan, log = ot.bregman.sinkhorn_log(
            problem.a[positive], problem.b, costs[positive], problem.eps, numItermax=some, stopThr=0.0, log=True,
            warn=False, warmstart=(warm[0][positive], warm[1]),
        )  # fmt: skip
        n += some
        warm[0][positive], warm = log["log_u"], (warm[0], log["log_v"])
        f[positive] = problem.eps * (log["log_u"] - np.log(problem.a[positive]))
        course.g = problem.eps * (log["log_v"] - np.log(problem.b))
        error = float(np.abs(plan.sum(axis=0) - problem.b).sum())
        course.errors[n] = error
        if stop.lowest is not None:
            course.churns[n] = watch.churn(f)
        steady = stop.lowest is None or course.churns[n] <= stop.churn
        course.converged = error <= stop.tolerance and steady
    if not positive.all():  # rows without mass have a potential all the same
        from scipy.special import logsumexp

        f[~positive] = -problem.eps * logsumexp(warm[1] - costs[~positive] / problem.eps, axis=1)
    return f, course


def costs_of(problem: Problem) -> np.ndarray:
    """All costs, float64, shape (n, m)."""
    x, y = (rows.block(0, rows.n).cpu().double().numpy() for rows in (problem.pool, problem.target))
    squares = problem.pool_squares[:, None] + problem.target_squares
    return np.asarray(np.maximum(squares - 2 * problem.pool.scale * (x @ y.T), 0.0))
