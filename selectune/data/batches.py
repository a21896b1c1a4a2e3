"""Plans of batches: the rows of each, and its rank; the same rows for every number of processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

CPU_TOKENS = 2048  # padded tokens of a pass on a CPU, whose cache does not hold the activations of more
EVALUATION_PADDING = 0.1  # of a batch of an evaluation, at most
SMALLEST = 8  # rows of a batch that is ended for its padding: fewer would leave the device idle
GROUP_BATCHES = 100  # rows are sorted by length within groups of so many batches: little padding, yet well shuffled


def plan_batches(
    lengths: np.ndarray, max_tokens: int, at_least: int = 1, padding: float | None = None
) -> list[np.ndarray]:
    """Cut rows, longest first, into batches whose padded size stays within a token budget; the same on every rank.

    Args:
        lengths: tokens of each row, shape (n_rows,).
        max_tokens: most tokens a batch may hold, padding counted; a longer row is a batch of its own.
        at_least: split batches until they are so many (one for every rank), as far as the rows reach.
        padding: end a batch before more than this share of it is padding, once it has 8 rows; default never.

    Returns:
        Row positions of each batch.
    """
    order = np.argsort(-lengths, kind="stable")
    total = np.concatenate([[0], np.cumsum(lengths[order])])
    batches, start = [], 0
    while start < len(order):
        longest = max(1, int(lengths[order[start]]))
        size = min(max(1, max_tokens // longest), len(order) - start)
        if padding is not None and size > SMALLEST:
            rows = np.arange(1, size + 1)
            padded = 1 - (total[start + 1 : start + size + 1] - total[start]) / (longest * rows)
            # rows get shorter, so that the share of padding only grows
            size = max(SMALLEST, int(np.searchsorted(padded, padding, side="right")))
        batches.append(order[start : start + size])
        start += size
    while len(batches) < at_least and max(map(len, batches), default=0) > 1:
        largest = max(range(len(batches)), key=lambda i: len(batches[i]))
        half = len(batches[largest]) // 2
        batches[largest : largest + 1] = [batches[largest][:half], batches[largest][half:]]
    return batches


def tokens_at_once(max_tokens: int, device: torch.device) -> int:
    """Padded tokens of one pass of a network on a device, of which memory has room for ``max_tokens``."""
    return min(max_tokens, CPU_TOKENS) if device.type == "cpu" else max_tokens


def split_batch(
    rows: np.ndarray, lengths: np.ndarray, max_tokens: int, at_once: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Cut one training batch into micro-batches.

    Args:
        rows: row ids of the batch.
        lengths: tokens of each row of the pool.
        max_tokens: padded tokens whose activations are kept for the backward pass.
        at_once: padded tokens of a micro-batch.

    Returns:
        Row ids of each micro-batch whose forward pass is to be computed again in the backward pass, as the batch is
        over ``max_tokens``, and of each other one.
    """
    *first, last = (rows[part] for part in plan_batches(lengths[rows], max_tokens))

    def cut(rows: np.ndarray) -> list[np.ndarray]:
        return [rows[part] for part in plan_batches(lengths[rows], at_once)]

    return [micro for part in first for micro in cut(part)], cut(last)


def limited(n_batches: int, limit: int | float) -> int:
    """Number of batches under a limit of Lightning's: a number, or as a float a share of them."""
    return min(n_batches, limit) if isinstance(limit, int) else int(n_batches * limit)


class PlannedBatches(Dataset):
    """A data set whose item is one batch of a plan, made by `collate`; for `batch_loader`."""

    def __init__(self, plan: list[np.ndarray], collate: Callable[[np.ndarray], Any]) -> None:
        self.plan, self.collate = plan, collate

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, index: int) -> Any:
        return self.collate(self.plan[index])


class EvalSampler(DistributedSampler):
    """Every world_size-th planned batch to each rank: none repeated, none dropped.

    It is a `DistributedSampler` so that Lightning leaves it in place.
    """

    def __init__(self, n_batches: int, rank: int = 0, world_size: int = 1) -> None:
        self.n_batches, self.rank, self.num_replicas = n_batches, rank, world_size

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.rank, self.n_batches, self.num_replicas))

    def __len__(self) -> int:
        return len(range(self.rank, self.n_batches, self.num_replicas))

    def set_epoch(self, epoch: int) -> None:
        """Every epoch is alike."""


class TrainSampler(DistributedSampler):
    """Batches of ``batch_size`` rows over all ranks, grouped by length and shuffled anew every epoch.

    Each rank gets every world_size-th row of each batch; all ranks have the same number of batches, and a rest that
    would leave a rank without a row joins the batch before it.

    Args:
        lengths: tokens of each row, shape (n_rows,).
        batch_size: rows of a batch over all ranks.
        seed: of the shuffles.
        rank: of this process.
        world_size: number of ranks.
    """

    def __init__(self, lengths: np.ndarray, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self.lengths, self.batch_size, self.seed = np.asarray(lengths), batch_size, seed
        self.rank, self.num_replicas = rank, world_size
        self.epoch = self.start = 0
        self.bounds = [*range(0, len(lengths), batch_size), len(lengths)]
        if len(self.bounds) > 2 and self.bounds[-1] - self.bounds[-2] < world_size:
            del self.bounds[-2]

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def set_epoch(self, epoch: int) -> None:
        """Shuffle as the epoch does."""
        self.epoch = epoch

    def batches(self) -> list[np.ndarray]:
        """Row positions of the epoch's batches, over all ranks."""
        random = np.random.default_rng([self.seed, self.epoch])
        order = random.permutation(len(self.lengths))
        group = GROUP_BATCHES * self.batch_size
        parts = [order[start : start + group] for start in range(0, len(order), group)]
        order = np.concatenate([part[np.argsort(-self.lengths[part], kind="stable")] for part in parts])
        batches = [order[start:end] for start, end in pairwise(self.bounds)]
        return [batches[i] for i in random.permutation(len(batches))]

    def __iter__(self) -> Iterator[np.ndarray]:
        start, self.start = self.start, 0
        yield from self.batches()[start:]


class RowBatches(Dataset):
    """A data set indexed by arrays of row positions, for `TrainSampler`: the item is this rank's share of a batch."""

    def __init__(self, collate: Callable[[np.ndarray], Any]) -> None:
        self.collate = collate

    def __getitem__(self, rows: np.ndarray) -> Any:
        return self.collate(rows)


def batch_loader(dataset: Dataset, **kwargs: Any) -> DataLoader:
    """A loader of batches that the data set makes whole, which leaves them as they are.

    By itself `DataLoader` would make tensors of their arrays, which then move to the GPU. But row ids, hashes and
    places in a text are read on the host; only the tensors of a batch belong to the network.
    """
    return DataLoader(dataset, batch_size=None, collate_fn=_as_it_is, **kwargs)


def _as_it_is(batch: Any) -> Any:
    return batch


class ResumableLoader(DataLoader):
    """A training loader whose checkpoint says where in the epoch it stood.

    Args:
        batches_done: gives the number of batches that training has finished in this epoch; the loader itself cannot
            know, since workers fetch ahead.
    """

    def __init__(self, dataset: Dataset, batches_done: Callable[[], int], **kwargs: Any) -> None:
        # a generator of its own: else each start of the loader draws from the random state that a checkpoint restores
        super().__init__(dataset, batch_size=None, collate_fn=_as_it_is, generator=torch.Generator(), **kwargs)
        self.batches_done = batches_done

    def state_dict(self) -> dict[str, int]:
        """The epoch, and the position in it; the end of one is the start of the next."""
        assert isinstance(self.sampler, TrainSampler)
        epochs, position = divmod(self.batches_done(), len(self.sampler))
        return {"epoch": self.sampler.epoch + epochs, "batches_done": position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the epoch go on from the position."""
        assert isinstance(self.sampler, TrainSampler)
        self.sampler.set_epoch(state["epoch"])
        self.sampler.start = state["batches_done"]
