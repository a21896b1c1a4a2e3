"""Folders of the cache that are made once, with the hash of each of their files, by which damage to them is seen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from selectune.common.files import atomic_folder
from selectune.common.locks import locked

SUMS = "sums.json"
WAIT_SECONDS = 1800.0  # for another process that makes the same folder


def is_whole(folder: Path) -> bool:
    """Whether a folder is there with all of its files as they were when it was made; others may lie beside them."""
    try:
        sums = json.loads((folder / SUMS).read_text())
        return bool(sums) and all(_sum_of(folder / name) == known for name, known in sums.items())
    except (OSError, ValueError, AttributeError):
        return False


def made_once(target: Path, make: Callable[[Path], None]) -> Path:
    """A folder, which a function fills where it is not whole; one that is there and damaged is replaced.

    Args:
        target: its path, in a folder of the cache.
        make: is given an empty folder, which takes its place.
    """
    if not is_whole(target):
        lock = target.parents[1] / "locks" / f"{target.name}.lock"  # nothing but whole folders lies beside the target
        with locked(lock, WAIT_SECONDS, "making the embedded data"):
            if not is_whole(target):
                with atomic_folder(target, replace=True) as scratch:
                    make(scratch)
                    sums = {file.name: _sum_of(file) for file in sorted(scratch.iterdir())}
                    (scratch / SUMS).write_text(json.dumps(sums, indent=2) + "\n")
    return target


def _sum_of(file: Path) -> str:
    """BLAKE2b of a file."""
    return hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()
