"""Return memory that is no longer used to the system."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress


def give_memory_back() -> None:
    """Collect cycles, such as a Trainer with its network, and let glibc return freed pages that it would keep.

    Without it the peak of a selection is that of its largest step added to what the forward pass before had needed.
    """
    gc.collect()
    with suppress(OSError, AttributeError):  # another C library keeps what it keeps
        ctypes.CDLL("libc.so.6").malloc_trim(0)
