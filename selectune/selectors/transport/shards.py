"""A solve over all ranks of a pool that each of them can read whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from selectune.common.ranks import world
from selectune.selectors.transport.backends import POT_CELLS
from selectune.selectors.transport.ranks import Ranks
from selectune.selectors.transport.solve import Potentials, dual_potentials


def pool_potentials(pool: np.ndarray, target: np.ndarray, **options: Any) -> Potentials:
    """`dual_potentials` of a whole pool, of which each rank of the job solves its share; the same answer on all.

    Args:
        pool: embeddings, shape (n, d), e.g. a memory map on a disk that all ranks see.
        target: embeddings, shape (m, d).
        **options: of `dual_potentials`, without weights of the pool.
    """
    rank, size = world()
    small = options.get("backend", "auto") in ("auto", "pot") and len(pool) * len(target) <= POT_CELLS
    if size == 1 or small:  # a small problem is solved by each, so that it does not depend on how many there are
        return dual_potentials(pool, target, **options)
    ranks = Ranks(torch.distributed.group.WORLD)
    bounds = [len(pool) * i // size for i in range(size + 1)]
    found = dual_potentials(pool[bounds[rank] : bounds[rank + 1]], target, group=ranks.group, **options)
    return replace(found, f=np.concatenate(ranks.gather(found.f)))
