"""The Pareto front: which runs no other run beats."""

from __future__ import annotations

import numpy as np


def pareto_front(costs: np.ndarray, figures: np.ndarray) -> np.ndarray:
    """Whether no other run costs no more and is no worse, one of the two strictly.

    Runs that are alike in both stand on the front together, or not at all.

    Args:
        costs: less is better, finite, shape (n,).
        figures: more is better, finite, shape (n,).

    Returns:
        bool, shape (n,).
    """
    costs, figures = np.asarray(costs, dtype=np.float64), np.asarray(figures, dtype=np.float64)
    on_front = np.zeros(len(costs), dtype=bool)
    best = -np.inf
    for cost in np.unique(costs):  # from cheap to dear
        here = np.flatnonzero(costs == cost)
        top = figures[here].max()
        if top > best:
            on_front[here[figures[here] == top]] = True
            best = top
    return on_front
