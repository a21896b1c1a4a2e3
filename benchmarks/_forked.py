"""Work in a forked process that is killed at a named call that changes a file, or after some seconds."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from _file_calls import Call, FileCalls


def forked(
    work: Callable[[], object],
    kill_at: Call | None = None,
    roots: Path | Mapping[str, Path] | None = None,
    note: list[Call] | None = None,
    log: Path | None = None,
    kill_after_s: float | None = None,
) -> int:
    """The exit code of a forked process that does some work, below 0 for the signal that ended it.

    Args:
        work: to be done.
        kill_at: the call at which it is killed.
        roots: folders whose calls are watched, by the names in calls; a single one is called ``root``.
        note: a list that gets the calls of work that ends well.
        log: a file that gets what it prints.
        kill_after_s: the seconds after which it is killed.
    """
    with tempfile.TemporaryDirectory() as folder:
        seen = Path(folder) / "calls.json"
        child = os.fork()
        if child == 0:
            code = 1
            try:
                if log is not None:
                    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
                    os.dup2(handle, 1)
                    os.dup2(handle, 2)
                if kill_at is not None or note is not None:
                    calls = FileCalls({"root": roots} if isinstance(roots, Path) else roots or {}, kill_at)
                    calls.watch()
                work()
                if note is not None:
                    seen.write_text(json.dumps(calls.seen))
                code = 0
            except SystemExit as end:
                code = int(end.code or 0)
            except BaseException:
                traceback.print_exc()
            finally:
                if log is not None:
                    sys.stdout.flush()
                    sys.stderr.flush()
                os._exit(code)
        if kill_after_s is not None:
            with os.fdopen(os.pidfd_open(child)) as ends:
                if not select.select([ends], [], [], kill_after_s)[0]:
                    os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if note is not None and seen.is_file():
            note.extend(Call(*call) for call in json.loads(seen.read_text()))
    return code
