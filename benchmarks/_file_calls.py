"""The calls by which a process changes files, numbered, and a kill at one of them.

    calls = FileCalls({"run": run, "cache": cache}, kill_at=("rename", "run/checkpoints/last.ckpt", 2))
    calls.watch()

A call is named by its kind, the file, and how many such calls there were before it, so that it is the same call in each
run of a program, whatever its other threads do. Seen are the calls that go through Python: a library that writes by
itself does so into a file that Python has made, and that Python waits for and renames.
"""

from __future__ import annotations

import builtins
import io
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

PARTIAL = re.compile(r"\.(.+)\.[0-9a-f]{8}-[0-9a-f]{12}\.partial")
RANDOM = re.compile(r"[0-9a-f]{32}")


class Call(NamedTuple):
    """A call that changes a file: its kind, the file's name without what is random in it, and which of these it is."""

    kind: str
    file: str
    number: int

    def __str__(self) -> str:
        return f"{self.kind} {self.file} #{self.number}"


class FileCalls:
    """Watches the calls of this process that change files below some folders.

    Kinds: ``open`` has just emptied or made a file, ``write`` has written half of what it was to write, ``sync``,
    ``rename``, ``delete`` and ``mkdir`` have yet to do their work. A file under a temporary name is written once,
    as far as this goes: where in it a kill comes is the same to whoever goes on.

    Args:
        roots: the folders, by the names that calls have.
        kill_at: ends the process with SIGKILL there; None only counts.
    """

    def __init__(self, roots: Mapping[str, Path], kill_at: Call | None = None) -> None:
        self.roots = {name: os.path.realpath(path) for name, path in roots.items()}
        self.kill_at = kill_at
        self.seen: list[Call] = []
        self._counts: Counter[tuple[str, str]] = Counter()
        self._begun: set[tuple[str, str]] = set()
        self._lock = threading.RLock()

    def watch(self) -> None:
        """Put itself between Python and the system, until the process ends."""
        for kind, names in (("rename", ("replace", "rename")), ("delete", ("unlink", "remove", "rmdir"))):
            for name in names:
                setattr(os, name, self._before(kind, getattr(os, name)))
        os.mkdir = self._before("mkdir", os.mkdir)  # type: ignore[assignment]
        os.ftruncate = self._before("truncate", os.ftruncate)
        os.fsync = self._before("sync", os.fsync)
        os.write = self._os_write(os.write)
        os.open = self._os_open(os.open)
        builtins.open = io.open = self._open(builtins.open)  # type: ignore[assignment]

    def count(self, kind: str, path: Any, dir_fd: int | None = None, half: Callable[[], Any] | None = None) -> None:
        """Count a call, and end the process if it is the one.

        Args:
            kind: see the class.
            path: of the file, or an open file's number.
            dir_fd: of the folder that the path is in.
            half: does half of what a write was to do.
        """
        place = _place(path, dir_fd)
        name = self._named(place)
        if (
            name is None
            or (kind == "mkdir" and os.path.isdir(place))
            or (kind == "delete" and not os.path.lexists(place))
        ):
            return
        with self._lock:
            if kind in ("open", "write") and "(partial)" in name:
                if (kind, place) in self._begun:
                    return
                self._begun.add((kind, place))
            self._counts[kind, name] += 1
            call = Call(kind, name, self._counts[kind, name])
            self.seen.append(call)
            if call == self.kill_at:
                if half is not None:
                    half()
                os.kill(os.getpid(), signal.SIGKILL)

    def _named(self, place: str) -> str | None:
        """The name of a path in the table; None where it lies elsewhere."""
        for root, at in self.roots.items():
            if place == at or place.startswith(at + os.sep):
                parts = [PARTIAL.sub(r"\1 (partial)", part) for part in (root + place[len(at) :]).split(os.sep)]
                return RANDOM.sub("*", "/".join(parts))
        return None

    def _before(self, kind: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            target = args[1] if kind == "rename" else args[0]
            self.count(kind, target, kwargs.get("dir_fd"))
            return real(*args, **kwargs)

        return call

    def _os_write(self, real: Callable[[int, Any], int]) -> Callable[[int, Any], int]:
        def write(handle: int, data: Any) -> int:
            self.count("write", handle, half=lambda: real(handle, data[: len(data) // 2]))
            return real(handle, data)

        return write

    def _os_open(self, real: Callable[..., int]) -> Callable[..., int]:
        def opened(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            handle = real(path, flags, *args, **kwargs)
            if flags & (os.O_CREAT | os.O_TRUNC):
                self.count("open", path, kwargs.get("dir_fd"))
            return handle

        return opened

    def _open(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """`open` whose writing goes through a raw file of ours."""
        calls = self

        class Raw(io.FileIO):
            def write(self, data: Any) -> int:
                calls.count("write", self.fileno(), half=lambda: super(Raw, self).write(bytes(data)[: len(data) // 2]))
                return super().write(data)

        def opened(
            file: Any, mode: str = "r", buffering: int = -1, encoding: Any = None, errors: Any = None,
            newline: Any = None, closefd: bool = True, opener: Any = None,
        ) -> Any:  # fmt: skip
            if isinstance(file, int) or not set(mode) & set("wax+") or self._named(_place(file)) is None:
                return real(file, mode, buffering, encoding, errors, newline, closefd, opener)
            raw = Raw(file, mode.replace("b", "").replace("t", ""), opener=opener)
            if set(mode) & set("wx"):
                self.count("open", file)
            if buffering == 0:
                return raw
            buffered: Any = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

        return opened


def _place(path: Any, dir_fd: int | None = None) -> str:
    """Where a path or an open file lies, without symbolic links in its folders; empty where that is not known."""
    try:
        if isinstance(path, int):
            path = os.readlink(f"/proc/self/fd/{path}")
        elif dir_fd is not None:
            path = os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}"), os.fspath(path))
        folder, name = os.path.split(os.path.abspath(os.fsdecode(path)))
    except (OSError, TypeError):
        return ""
    return os.path.join(os.path.realpath(folder), name)
