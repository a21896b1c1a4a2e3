"""A solve over the ranks of a group of a pool that each of them can read whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from selectune.selectors.transport.backends import POT_CELLS
from selectune.selectors.transport.ranks import Ranks
from selectune.selectors.transport.solve import Potentials, dual_potentials


def pool_potentials(pool: np.ndarray, target: np.ndarray, group: Any = None, **options: Any) -> Potentials:
    """`dual_potentials` of a whole pool, of which each rank of a group solves its share; the same answer on all.

    Args:
        pool: embeddings, shape (n, d), e.g. a memory map on a disk that all ranks see.
        target: embeddings, shape (m, d).
        group: of `torch.distributed`; None for this process alone.
        **options: of `dual_potentials`, without weights of the pool.
    """
    ranks = Ranks(group)
    small = options.get("backend", "auto") in ("auto", "pot") and len(pool) * len(target) <= POT_CELLS
    if ranks.size == 1 or small:  # a small problem is solved by each, so that it does not depend on how many there are
        return dual_potentials(pool, target, **options)
    bounds = [len(pool) * i // ranks.size for i in range(ranks.size + 1)]
    found = dual_potentials(pool[bounds[ranks.rank] : bounds[ranks.rank + 1]], target, group=group, **options)
    return replace(found, f=np.concatenate(ranks.gather(found.f)))
