"""Work in forked processes that are killed at a call that is named."""

from __future__ import annotations

import json
import os
import shutil
import signal
import traceback
from collections.abc import Callable
from pathlib import Path

from _file_calls import Call, FileCalls


def forked(
    work: Callable[[], object], kill_at: Call | None = None, root: Path | None = None, note: list[Call] | None = None
) -> int:
    """Do something in a forked process; gives its exit code, below 0 for the signal that ended it.

    Args:
        work: to be done.
        kill_at: the call below the root, named ``root/...``, at which it is killed.
        root: the folder whose calls count.
        note: a list that gets the calls.
    """
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            calls = FileCalls({"root": root} if root else {}, kill_at)
            calls.watch()
            work()
            with os.fdopen(writes, "w") as pipe:
                json.dump(calls.seen, pipe)
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writes)
    with os.fdopen(reads) as pipe:
        told = pipe.read()
    if note is not None:
        note.extend(Call(*call) for call in json.loads(told))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


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
    assert forked(work, root=root, note=calls) == 0
    for call in calls:
        again()
        assert forked(work, call, root) == -signal.SIGKILL, call
        check()
    return len(calls)
