"""Folders of the cache that are made once, with the hash of each of their files, by which damage to them is seen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selectune.common.files import atomic_folder

SUMS = "sums.json"


def is_whole(folder: Path) -> bool:
    """Whether a folder is there with all of its files as they were when it was made."""
    try:
        sums = json.loads((folder / SUMS).read_text())
        return bool(sums) and sums == sums_of(folder)
    except (OSError, ValueError):
        return False


@contextmanager
def making(target: Path) -> Iterator[Path]:
    """A folder to fill that takes the target's place once it is whole; one that is there and damaged is replaced."""
    with atomic_folder(target, replace=target.is_dir() and not is_whole(target)) as scratch:
        yield scratch
        (scratch / SUMS).write_text(json.dumps(sums_of(scratch), indent=2) + "\n")


def sums_of(folder: Path) -> dict[str, str]:
    """BLAKE2b of each file of a folder, by its name, but of the sums themselves."""
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.name != SUMS)
    return {file.name: hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest() for file in files}
