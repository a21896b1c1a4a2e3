"""How far apart two samples are by transport, without the bias of its regulariser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from selectune.selectors.transport.inputs import DEFAULT_EPS, Eps, make_problem
from selectune.selectors.transport.ranks import Ranks
from selectune.selectors.transport.rows import Cost
from selectune.selectors.transport.solve import dual_potentials


def sinkhorn_divergence(
    x: np.ndarray,
    y: np.ndarray,
    *,
    cost: Cost = "sqeuclidean",
    eps: Eps | Mapping[str, float] = DEFAULT_EPS,
    **options: Any,
) -> float:
    """OT(x, y) - (OT(x, x) + OT(y, y)) / 2 with uniform weights, 0 between equal samples and else above 0 [1].

    One eps holds for all three, that of the pair (x, y) where it is relative. Divergences to one target are compared at
    one absolute eps. Memory is that of the backend; `auto` streams what takes more than half of the free memory.

    1. J. Feydy et al., "Interpolating between optimal transport and MMD using Sinkhorn divergences", AISTATS 2019.

    Args:
        x: embeddings, shape (n, d).
        y: embeddings, shape (m, d).
        cost: as in `dual_potentials`.
        eps: as in `dual_potentials`.
        **options: more of `dual_potentials`: backend, tolerance, max_iterations, allow_unconverged, dtype, device.

    Raises:
        TransportError: as in `dual_potentials`.
        DataError: as in `dual_potentials`.
    """
    between = dual_potentials(x, y, cost=cost, eps=eps, **options)
    same = Eps(absolute=between.diagnostics["eps"])
    within = [dual_potentials(rows, rows, cost=cost, eps=same, **options).distance for rows in (x, y)]
    return between.distance - sum(within) / 2


def sinkhorn_divergences(
    samples: Sequence[np.ndarray],
    target: np.ndarray,
    target_weights: np.ndarray | None = None,
    *,
    cost: Cost = "sqeuclidean",
    eps: Eps | Mapping[str, float] = DEFAULT_EPS,
    **options: Any,
) -> tuple[list[float], float]:
    """The `sinkhorn_divergence` of several samples to one target, and the FLOPs that they took.

    One eps holds for all: where it is relative, of the cost between all samples together and the target. The target's
    own transport is solved once.

    Args:
        samples: embeddings, each of shape (n_i, d).
        target: embeddings, shape (m, d).
        target_weights: of its rows, sum 1, shape (m,); default uniform.
        cost: as in `dual_potentials`.
        eps: as in `dual_potentials`.
        **options: as in `sinkhorn_divergence`.

    Raises:
        TransportError: as in `dual_potentials`.
        DataError: as in `dual_potentials`.
    """
    cpu = torch.device("cpu")
    whole = make_problem(np.concatenate(samples), target, None, None, cost, Eps.of(eps), torch.float32, cpu, Ranks())[0]
    options |= {"cost": cost, "eps": Eps(absolute=whole.eps)}
    own = dual_potentials(target, target, target_weights, target_weights, **options)
    flops, divergences = own.diagnostics["flops"], []
    for sample in samples:
        between = dual_potentials(sample, target, target_weights=target_weights, **options)
        within = dual_potentials(sample, sample, **options)
        divergences.append(between.distance - (within.distance + own.distance) / 2)
        flops += between.diagnostics["flops"] + within.diagnostics["flops"]
    return divergences, flops
