"""Where things are kept, and how they get there whole."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selectune.errors import UserError


def default_cache() -> Path:
    """The cache folder: ``SELECTUNE_CACHE``, else ``selectune`` in the user's cache folder."""
    if given := os.environ.get("SELECTUNE_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "selectune"


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Fill a temporary folder that takes the target's place when the block ends well, and vanishes when it does not.

    When another process put the target there meanwhile, that one stays.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}-{uuid.uuid4().hex}")
    partial.mkdir()  # with the rights of any folder, as others may share the cache
    try:
        yield partial
        for file in partial.rglob("*"):
            if file.is_file():
                _sync(file)
        try:
            partial.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """A temporary path beside the target, renamed over it when the block ends well."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        yield partial
        _sync(partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def write_json(target: Path, content: Any) -> None:
    """Write JSON whole or not at all."""
    with atomic_file(target) as partial:
        partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def held(file: Path, wait_s: float, doing: str) -> Iterator[None]:
    """Hold a lock file; another process that holds it is waited for.

    Args:
        file: whose lock it is.
        wait_s: seconds to wait at most.
        doing: what the holder does, for the message: "Another run is ...".

    Raises:
        UserError: the other is not through by then.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as handle:
        began = time.monotonic()
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() - began > wait_s:
                    raise UserError(
                        f"Another run is {doing} and is not through after {wait_s / 60:.0f} minutes; start again when "
                        "it is, or use another --cache."
                    ) from None
                time.sleep(0.5)
        try:
            yield
        finally:
            fcntl.flock(handle, fcntl.LOCK_UN)


def _sync(file: Path) -> None:
    with file.open("rb") as handle:
        os.fsync(handle.fileno())
