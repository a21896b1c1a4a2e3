"""Work that is killed at each of its calls that change a file."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

from _file_calls import Call
from _forked import forked


def at_every_call(
    root: Path, prepare: Callable[[], object], work: Callable[[], object], check: Callable[[], object]
) -> int:
    """Kill some work at each of its calls that change a file below a folder; gives their number.

    Args:
        root: the folder, which is emptied each time.
        prepare: what is done before.
        work: what is killed.
        check: looks at what is left.
    """

    def again() -> None:
        for path in root.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        prepare()

    calls: list[Call] = []
    again()
    assert forked(work, roots=root, note=calls) == 0
    for call in calls:
        again()
        assert forked(work, call, root) == -signal.SIGKILL, call
        check()
    return len(calls)
