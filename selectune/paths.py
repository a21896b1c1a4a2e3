"""Where things are kept, and how they get there whole."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from selectune.errors import UserError


def default_cache() -> Path:
    """The cache folder: ``SELECTUNE_CACHE``, else ``selectune`` in the user's cache folder."""
    if given := os.environ.get("SELECTUNE_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "selectune"


def use_cache(given: str | None) -> None:
    """Make a folder the cache of this process and of those that it starts; None leaves what `default_cache` says.

    Raises:
        UserError: the cache cannot be a folder, or not be written.
    """
    if given is not None:
        check_folder(given, "--cache")
        os.environ["SELECTUNE_CACHE"] = str(Path(given).absolute())
    else:
        check_folder(str(default_cache()), "SELECTUNE_CACHE")


def check_folder(given: str, option: str, error: type[UserError] = UserError) -> None:
    """Refuse a folder that cannot be made or written, without making it: what exists of the path is written to.

    Args:
        given: the path; it need not exist.
        option: that named it.
        error: the class to raise.
    """
    if not given:
        raise error(f"{option} is empty; name a folder, or leave it out.")
    place = Path(given).absolute()
    while True:  # up to what exists
        try:
            kind = place.stat().st_mode
            break
        except (FileNotFoundError, NotADirectoryError) as missing:
            if place.is_symlink():
                raise error(f"{option} cannot be {given}, as {place} is a link to nothing; name another.") from missing
            place = place.parent
        except (OSError, ValueError) as refused:
            reason = getattr(refused, "strerror", None) or refused
            raise error(f"{option} cannot be {given[:200]} ({reason}); name another folder.") from refused
    if not stat.S_ISDIR(kind):
        raise error(f"{option} cannot be {given}, as {place} is a file; name another folder.")
    try:
        with TemporaryDirectory(prefix=".selectune-", dir=place):
            pass
    except OSError as refused:
        raise error(
            f"{option} cannot be {given}, as {place} cannot be written ({refused.strerror}); name another folder."
        ) from refused


def read_mapping(file: Path, mend: str, *keys: str, error: type[UserError] = UserError) -> dict[str, Any]:
    """What a JSON or YAML file of a run holds.

    Args:
        file: to read.
        mend: what to do where it is damaged, after "; ".
        keys: that it must have.
        error: the class to raise.

    Raises:
        UserError: it cannot be read, is no mapping, or lacks one of the keys; the message names the file.
    """
    try:
        text = file.read_text(encoding="utf-8")
        content = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as damage:
        raise error(f"{file} is damaged ({' '.join(str(damage).split())}); {mend}.") from damage
    if not isinstance(content, dict) or not content.keys() >= set(keys):
        raise error(f"{file} is damaged (it holds no {' and '.join(keys) or 'settings'}); {mend}.")
    return content


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
