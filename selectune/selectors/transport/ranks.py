"""Communication between the ranks of a sharded solve: scalars, and vectors of the target's size.

Each rank holds a shard of the pool and the whole target.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


class Ranks:
    """The processes that hold a pool's shards; without a group, this process alone.

    Args:
        group: a process group of `torch.distributed`, e.g. ``torch.distributed.group.WORLD``.
    """

    def __init__(self, group: Any = None) -> None:
        self.group = group
        self.size = 1 if group is None else torch.distributed.get_world_size(group)
        self.rank = 0 if group is None else torch.distributed.get_rank(group)

    def sum(self, values: Any) -> np.ndarray:
        """The sum over ranks of an array of the same shape on each, float64."""
        return self._reduce(values, "SUM")

    def max(self, values: Any) -> np.ndarray:
        """The largest over ranks, element by element, float64."""
        return self._reduce(values, "MAX")

    def min(self, values: Any) -> np.ndarray:
        """The smallest over ranks, element by element, float64."""
        return self._reduce(values, "MIN")

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value, in order. It must be picklable."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(values, value, group=self.group)
        return values

    def raise_any(self, error: Exception | None) -> None:
        """Raise the first error of any rank on all: if one rank alone stopped, the others would wait for it."""
        for each in self.gather(error):
            if each is not None:
                raise each

    def _reduce(self, values: Any, operation: str) -> np.ndarray:
        values = np.array(values, dtype=np.float64)
        if self.size == 1:
            return values
        nccl = torch.distributed.get_backend(self.group) == "nccl"  # which reduces tensors on a GPU only
        tensor = torch.from_numpy(np.atleast_1d(values)).to("cuda" if nccl else "cpu")
        torch.distributed.all_reduce(tensor, getattr(torch.distributed.ReduceOp, operation), group=self.group)
        return tensor.cpu().numpy().reshape(values.shape)
