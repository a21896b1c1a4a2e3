"""The cache folder, and files that are written whole or not at all: under a temporary name first, then renamed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from selectune.common.errors import NoRoomError, UserError
from selectune.common.locks import take_lock

PARTIAL = re.compile(r"\..+\.([0-9a-f]{8})-[0-9a-f]{12}\.partial")
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
OLD_S = 24 * 3600.0  # nothing is written for as long as that


def default_cache() -> Path:
    """The cache folder: ``SELECTUNE_CACHE``, else ``selectune`` in the user's cache folder."""
    if given := os.environ.get("SELECTUNE_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "selectune"


def use_cache(given: str | None) -> None:
    """Make a folder the cache of this process and of those that it starts; None keeps `default_cache`.

    Raises:
        UserError: the cache cannot be a folder, or not be written.
    """
    if given is not None:
        check_folder(given, "--cache")
        os.environ["SELECTUNE_CACHE"] = str(Path(given).absolute())
    else:
        check_folder(str(default_cache()), "SELECTUNE_CACHE")


def check_folder(given: str, option: str, error: type[UserError] = UserError) -> None:
    """Refuse a folder that cannot be made or written, without making it: the part that exists is written to.

    Args:
        given: the path.
        option: that named it.
        error: the class to raise.
    """
    if not given:
        raise error(f"{option} is empty; name a folder, or leave it out.", option=option)
    place = Path(given).absolute()
    while True:  # up to what exists
        try:
            kind = place.stat().st_mode
            break
        except (FileNotFoundError, NotADirectoryError) as missing:
            if place.is_symlink():
                message = f"{option} cannot be {given}, as {place} is a link to nothing; name another."
                raise error(message, option=option) from missing
            place = place.parent
        except (OSError, ValueError) as refused:
            reason = getattr(refused, "strerror", None) or refused
            message = f"{option} cannot be {given[:200]} ({reason}); name another folder."
            raise error(message, option=option) from refused
    if not stat.S_ISDIR(kind):
        raise error(f"{option} cannot be {given}, as {place} is a file; name another folder.", option=option)
    try:
        with TemporaryDirectory(prefix=".selectune-", dir=place):
            pass
    except OSError as refused:
        raise error(
            f"{option} cannot be {given}, as {place} cannot be written ({refused.strerror}); name another folder.",
            option=option,
        ) from refused


def read_mapping(file: Path, fix: str, *keys: str, error: type[UserError] = UserError) -> dict[str, Any]:
    """The content of a JSON or YAML file of a run.

    Args:
        file: to read.
        fix: what to do where it is damaged, after "; ".
        keys: that it must have.
        error: the class to raise.

    Raises:
        UserError: it cannot be read, is no mapping, or lacks one of the keys; the message names the file.
    """
    try:
        text = file.read_text(encoding="utf-8")
        content = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as damage:
        raise error(f"{file} is damaged ({' '.join(str(damage).split())}); {fix}.", path=file) from damage
    if not isinstance(content, dict) or not content.keys() >= set(keys):
        raise error(f"{file} is damaged (it holds no {' and '.join(keys) or 'settings'}); {fix}.", path=file)
    return content


@contextmanager
def atomic_folder(target: Path, replace: bool = False) -> Iterator[Path]:
    """Fill a temporary folder that takes the target's place when the block ends well, and vanishes when it does not.

    Args:
        target: when another process put it there meanwhile, that one stays.
        replace: instead of one that is there already, which stays until the new one is whole.

    Raises:
        NoRoomError: the file system is full.
    """
    with _partial(target, folder=True) as partial:
        yield partial
        for file in partial.rglob("*"):
            _sync(file)
        _sync(partial)
        if replace and target.is_dir():
            with _partial(target, folder=True) as former:
                target.rename(former)
                partial.rename(target)
                _sync(target.parent)
            return
        try:
            partial.rename(target)
        except OSError:
            if not target.is_dir():
                raise
        _sync(target.parent)


@contextmanager
def atomic_file(target: Path, keep_as: Path | None = None) -> Iterator[Path]:
    """A temporary path beside the target, renamed over it when the block ends well.

    Args:
        target: to write.
        keep_as: where the file goes that the target was until then, instead of being written over.

    Raises:
        NoRoomError: the file system is full.
    """
    with _partial(target, folder=False) as partial:
        yield partial
        _sync(partial)
        if keep_as is not None and target.exists():
            target.replace(keep_as)
        partial.replace(target)
        _sync(target.parent)


def write_json(target: Path, content: Any) -> None:
    """Write JSON whole or not at all."""
    with atomic_file(target) as partial:
        partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def clear_partials(folder: Path, mine: bool = False) -> None:
    """Remove what killed processes had begun to write, anywhere below a folder.

    A writer holds a lock on what it writes, which ends with it. Whether one of another machine is alive cannot be seen,
    so what it began is left for a day.

    Args:
        folder: that may be shared with processes that are alive.
        mine: whether nobody writes there but processes of this machine, as in a run that this process has claimed.
    """
    for parent, folders, files in os.walk(folder):
        for name in [name for name in folders + files if PARTIAL.fullmatch(name)]:
            if name in folders:
                folders.remove(name)  # else it is walked through
            with contextlib.suppress(OSError):  # another process removes it too, or it belongs to another user
                _clear(Path(parent) / name, mine)


def no_room(error: BaseException | None) -> NoRoomError | None:
    """The error of a full file system that an error is or was raised from, if any."""
    found = None
    while error is not None:
        if isinstance(error, NoRoomError):
            return error
        in_rust = any(f"(os error {code})" in str(error) for code in NO_ROOM)
        if in_rust or (isinstance(error, OSError) and error.errno in NO_ROOM):
            found = NoRoomError(getattr(error, "filename", None))
        error = error.__cause__ or error.__context__
    return found


@contextmanager
def _partial(target: Path, folder: bool) -> Iterator[Path]:
    """A temporary file or folder beside the target, locked while it is written and removed if it is still there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial, handle = _create(target, folder)
    try:
        yield partial
    except Exception as error:
        if not isinstance(error, NoRoomError) and no_room(error):
            raise NoRoomError(target) from error
        raise
    finally:
        _remove(partial)
        os.close(handle)


def _create(target: Path, folder: bool) -> tuple[Path, int]:
    """Make a temporary file or folder with default rights, as others may share the cache, and lock it."""
    while True:
        partial = target.with_name(f".{target.name}.{_machine()}-{uuid.uuid4().hex[:12]}.partial")
        if folder:
            partial.mkdir()
            handle = os.open(partial, os.O_RDONLY)
        else:
            handle = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            mine = take_lock(handle)
        except OSError:  # some file systems know no locks
            mine = True
        if mine and partial.exists():  # else a process that saw it before it was locked removes it
            return partial, handle
        os.close(handle)


def _clear(partial: Path, mine: bool) -> None:
    """Remove a temporary file or folder if its writer is known to be dead."""
    written_by = PARTIAL.fullmatch(partial.name)
    if written_by and written_by[1] == _machine():
        handle = os.open(partial, os.O_RDONLY if partial.is_dir() else os.O_RDWR)
        try:
            if take_lock(handle):  # else it is being written
                _remove(partial)
        finally:
            os.close(handle)
    elif mine or time.time() - partial.stat().st_mtime > OLD_S:
        _remove(partial)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@cache
def _machine() -> str:
    """Eight digits of this machine until it is started again, as other kernels do not see its locks."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return boot.read_text()[:8] if boot.is_file() else f"{uuid.getnode():012x}"[-8:]


def _sync(path: Path) -> None:
    """Wait until the disk has a file, or the names in a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
