"""Memory that is no longer used: when it is looked for, kept for what comes next, and given back to the system."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

MOST_KEPT, GIVEN_BACK = 2**30, 2**25  # bytes: blocks over the first always go back, under the other glibc keeps them
SHARE = 32  # of the memory that is available, a block of one in so many may be kept
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # as glibc's malloc.h has them


def keep_freed_memory() -> None:
    """Let glibc keep freed blocks for what is allocated next, in this process, from now on.

    It would give every block of over 32 MiB back to the system, and have each page of the next one made anew: those of
    the activations of a batch, of logits and of an embedding's gradient are such blocks, at every layer or step.
    `give_memory_back` returns what was kept. Where the environment sets ``MALLOC_MMAP_THRESHOLD_``, that holds.

    What is kept lies in pieces between what is used, so that a process may hold nearly twice what it needs. So a block
    is kept up to a gibibyte, and to a part of the memory that is available on the machine (a container's own limit is
    not known here); a process that is given half of the cores counts on half of it.
    """
    import psutil
    import torch

    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1  # as many threads torch takes by itself
    share = min(1.0, torch.get_num_threads() / cores)
    kept = max(GIVEN_BACK, min(MOST_KEPT, int(share * available_memory() / SHARE)))
    if "MALLOC_MMAP_THRESHOLD_" not in os.environ:
        with suppress(OSError, AttributeError):  # another C library does as it does
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(M_MMAP_THRESHOLD, kept)
            libc.mallopt(M_TRIM_THRESHOLD, kept)


def available_memory() -> int:
    """Bytes of the machine's memory that can be used without swapping."""
    import psutil

    return int(psutil.virtual_memory().available)


def free_bytes(device: torch.device) -> int:
    """Memory that is free on a device."""
    import torch

    if device.type == "cuda":
        # torch keeps freed blocks for what comes next, and the device counts them as used.
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + cached
    return available_memory()


def give_memory_back(collect: bool = True) -> None:
    """Let glibc return freed pages that it would keep, and `collect` cycles before, such as a Trainer with its network.

    Without it the peak of a selection is that of its largest step added to what the forward pass before had needed. To
    look for cycles among all that was imported takes a third of a second.
    """
    if collect:
        gc.collect()
    with suppress(OSError, AttributeError):  # another C library keeps what it keeps
        ctypes.CDLL("libc.so.6").malloc_trim(0)


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Look for no cycles inside, where many small lists are made that have none.

    Python looks through all objects whenever some thousands more are there. A tokenizer gives three lists a row, and
    with these looks it takes three times as long (short rows, 100,000 of them, 31 and 11 microseconds a row); a million
    rows that are read one by one from a file, an object each, take twice as long with them.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
