"""What ranks tell each other. State of the disk is looked at by rank 0 alone, which hands on what it found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

from selectune.common.errors import UserError

T = TypeVar("T")


def world() -> tuple[int, int]:
    """This process's rank, and how many there are."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def process_group() -> Any:
    """The group of all processes, as `torch.distributed` has it; None where there is one process."""
    return torch.distributed.group.WORLD if world()[1] > 1 else None


def barrier() -> None:
    """Wait for all ranks."""
    if world()[1] > 1:
        torch.distributed.barrier()


def leave() -> None:
    """End the ranks' connection, when all are through; a process that ends within it may be aborted at its exit."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        barrier()
        torch.distributed.destroy_process_group()


def broadcast(value: T) -> T:
    """Rank 0's value, on every rank. It must be picklable."""
    rank, size = world()
    if size == 1:
        return value
    box: list[Any] = [value if rank == 0 else None]
    torch.distributed.broadcast_object_list(box, src=0, device=torch.device(_device()))
    return box[0]


def gather(value: T) -> list[T]:
    """Every rank's value in the order of ranks, on every rank. It must be picklable."""
    values: list[Any] = [value] * world()[1]
    if len(values) > 1:
        torch.distributed.all_gather_object(values, value)
    return values


def on_rank_zero(decide: Callable[[], T]) -> T:
    """Let rank 0 do something and give all ranks its result, or all of them its error.

    Raises:
        UserError: on every rank, when rank 0 met one.
        RuntimeError: on the other ranks, when rank 0 met anything else.
    """
    rank, size = world()
    if size == 1:
        return decide()
    result: T | None = None
    failure: BaseException | None = None
    if rank == 0:
        try:
            result = decide()
        except Exception as error:
            failure = error
    told = (str(failure), isinstance(failure, UserError)) if failure else None
    result, told = broadcast((result, told))
    if told is None:
        return result  # type: ignore[return-value]
    if failure is not None:
        raise failure
    raise (UserError if told[1] else RuntimeError)(told[0])


def together(work: Callable[[], T]) -> T:
    """Let all ranks work; the error of any is raised on every one, instead of leaving the others waiting.

    What ranks exchange inside is theirs to keep in step: a rank that fails between two exchanges still leaves others
    waiting for it.

    Raises:
        UserError: on every rank, when one met one.
        RuntimeError: on the other ranks, when one met anything else.
    """
    if world()[1] == 1:
        return work()
    result: T | None = None
    failure: BaseException | None = None
    try:
        result = work()
    except Exception as error:
        failure = error
    told: list[Any] = [None] * world()[1]
    mine = (str(failure), isinstance(failure, UserError)) if failure else None
    torch.distributed.all_gather_object(told, mine)
    if failure is not None:
        raise failure
    for other in told:
        if other is not None:
            raise (UserError if other[1] else RuntimeError)(other[0])
    return result  # type: ignore[return-value]


def _device() -> str:
    return f"cuda:{torch.cuda.current_device()}" if torch.distributed.get_backend() == "nccl" else "cpu"
