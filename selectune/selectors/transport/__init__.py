"""Optimal transport between a pool and a target: dual potentials, their calibration, a divergence of samples."""

from selectune.selectors.transport.divergence import sinkhorn_divergence, sinkhorn_divergences
from selectune.selectors.transport.inputs import Eps
from selectune.selectors.transport.shards import pool_potentials
from selectune.selectors.transport.solve import Potentials, calibrated_gradient, checked_stop, dual_potentials

__all__ = [
    "Eps",
    "Potentials",
    "calibrated_gradient",
    "checked_stop",
    "dual_potentials",
    "pool_potentials",
    "sinkhorn_divergence",
    "sinkhorn_divergences",
]
