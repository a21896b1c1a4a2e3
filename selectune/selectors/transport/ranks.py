"""What the ranks of a sharded solve tell each other: scalars, and vectors of the target's size."""

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
        found: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(found, value, group=self.group)
        return found

    def _reduce(self, values: Any, operation: str) -> np.ndarray:
        values = np.array(values, dtype=np.float64)
        if self.size == 1:
            return values
        nccl = torch.distributed.get_backend(self.group) == "nccl"
        tensor = torch.from_numpy(np.atleast_1d(values)).to("cuda" if nccl else "cpu")
        torch.distributed.all_reduce(tensor, getattr(torch.distributed.ReduceOp, operation), group=self.group)
        return tensor.cpu().numpy().reshape(values.shape)
