"""Communication between ranks: rank 0 alone reads the disk, and broadcasts what it found."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from textwrap import shorten
from typing import Any, TypeVar

import torch

from selectune.common.errors import UserError

T = TypeVar("T")
_sizes = {1}  # numbers of processes that there were, as a failed run has closed its group by the time that it is told
PARENT = os.getppid()  # when this was imported; another one later, where that process has died
LOST = re.compile(r"Connection (?:closed|reset) by peer|Broken pipe|remote process exited|(?i:socket timeout)")
_Message = tuple[str, bool]  # of an error, and whether it is a UserError


def world() -> tuple[int, int]:
    """This process's rank, and how many there are."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        _sizes.add(torch.distributed.get_world_size())
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def process_group() -> Any:
    """The process group of all ranks; None where there is one process."""
    return torch.distributed.group.WORLD if world()[1] > 1 else None


def barrier() -> None:
    """Wait for all ranks."""
    if world()[1] > 1:
        torch.distributed.barrier()


def leave() -> None:
    """Close the connection when all ranks are done; a process that ends with it open may be aborted at its exit."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        barrier()
        torch.distributed.destroy_process_group()


def broadcast(value: T) -> T:
    """Rank 0's value, on every rank. It must be picklable."""
    rank, size = world()
    if size == 1:
        return value
    box: list[Any] = [value if rank == 0 else None]
    device = f"cuda:{torch.cuda.current_device()}" if torch.distributed.get_backend() == "nccl" else "cpu"
    torch.distributed.broadcast_object_list(box, src=0, device=torch.device(device))
    return box[0]


def gather(value: T) -> list[T]:
    """Every rank's value in the order of ranks, on every rank. It must be picklable."""
    values: list[Any] = [value] * world()[1]
    if len(values) > 1:
        torch.distributed.all_gather_object(values, value)
    return values


def on_rank_zero(decide: Callable[[], T]) -> T:
    """Call a function on rank 0 and give its result to all ranks, or raise its error on all of them.

    Raises:
        UserError: on every rank, when rank 0 met one.
        RuntimeError: on the other ranks, when rank 0 met anything else.
    """
    rank, size = world()
    if size == 1:
        return decide()
    result, failure, message = _attempt(decide) if rank == 0 else (None, None, None)
    result, message = broadcast((result, message))
    _raise_first(failure, [message])
    return result  # type: ignore[return-value]


def on_all_ranks(work: Callable[[], T]) -> T:
    """Call a function on all ranks; the error of any is raised on every one, instead of leaving the others waiting.

    The function must keep its own exchanges in step: a rank that fails between two of them still leaves others waiting.

    Raises:
        UserError: on every rank, when one met one.
        RuntimeError: on the other ranks, when one met anything else.
    """
    size = world()[1]
    if size == 1:
        return work()
    result, failure, message = _attempt(work)
    messages: list[_Message | None] = [None] * size
    torch.distributed.all_gather_object(messages, message)
    _raise_first(failure, messages)
    return result  # type: ignore[return-value]


def _attempt(work: Callable[[], T]) -> tuple[T | None, Exception | None, _Message | None]:
    """The result of a function, or its error and what other ranks are sent of that, as not every error is picklable."""
    try:
        return work(), None, None
    except Exception as error:
        return None, error, (str(error), isinstance(error, UserError))


def _raise_first(failure: Exception | None, messages: list[_Message | None]) -> None:
    """Raise this rank's own error, else the first of another rank."""
    if failure is not None:
        raise failure
    for message, by_user in filter(None, messages):
        raise (UserError if by_user else RuntimeError)(message)


def lost_process(raised: BaseException) -> str | None:
    """The sentence where another process of a run is gone, so that this one waited for it in vain; None elsewhere."""
    size = max(_sizes)
    if size < 2 or not isinstance(raised, RuntimeError) or not LOST.search(str(raised)):
        return None
    return (
        f"Another of the {size} processes of this run has died ({shorten(str(raised), 120)}); what it printed, or the "
        "system's log, may say why (memory, for instance). The same command goes on from what is on the disk."
    )
