"""Optimal transport between a pool and a target: dual potentials, their calibration, a divergence of samples."""

from selectune.selectors.transport.problem import Eps
from selectune.selectors.transport.solve import (
    Potentials,
    calibrated_gradient,
    checked_stop,
    dual_potentials,
    pool_potentials,
    sinkhorn_divergences,
)

__all__ = [
    "Eps",
    "Potentials",
    "calibrated_gradient",
    "checked_stop",
    "dual_potentials",
    "pool_potentials",
    "sinkhorn_divergences",
]
