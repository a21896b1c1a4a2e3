"""Locks on files: held by one process at a time, and released by the end of that process at the latest."""

from __future__ import annotations

import fcntl
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from selectune.common.errors import UserError

RETRY_S = 0.5


def take_lock(handle: int | IO[str] | IO[bytes], wait_s: float = 0.0) -> bool:
    """Whether this process now holds the lock of an open file or folder, after waiting for at most so many seconds.

    Closing the file releases the lock.
    """
    until = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait_s == math.inf else fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
        time.sleep(RETRY_S)


@contextmanager
def locked(file: Path, wait_s: float, doing: str) -> Iterator[None]:
    """Hold a lock file, made if need be; wait for at most so many seconds where another process holds it.

    Args:
        file: to lock.
        wait_s: seconds.
        doing: what the holder does, for the message: "Another run is ...".

    Raises:
        UserError: the other has not finished by then.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as handle:
        if not take_lock(handle, wait_s):
            raise UserError(
                f"Another run is {doing} and has not finished after {wait_s / 60:.0f} minutes; start again when it "
                "has, or use another --cache.",
                option="--cache",
            )
        try:
            yield
        finally:
            fcntl.flock(handle, fcntl.LOCK_UN)  # closing does not release it while a forked process has the file open
