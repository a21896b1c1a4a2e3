"""One cell in a process of its own, forked from a server that has imported everything once."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import traceback
from datetime import UTC, datetime
from multiprocessing import parent_process
from pathlib import Path
from textwrap import shorten

import yaml

from selectune.common.run_files import RunFiles
from selectune.tables.grid import Cell

PRELOAD = ["selectune.tables.preload"]
ATTEMPT = "=== attempt of "  # begins a line of the log


def run_cell(cell: Cell, threads: int, keep_models: bool, environment: dict[str, str]) -> None:
    """Run a cell as ``fit`` does, its output in ``log.txt``. Ends the process with ``fit``'s exit code.

    Args:
        cell: whose folder is there.
        threads: that torch may compute with.
        keep_models: leave checkpoints and the exported model.
        environment: of the table's process; the server may have been started in another one.
    """
    os.environ.clear()
    os.environ.update(environment)
    log = os.open(RunFiles(cell.folder).log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.write(log, f"{ATTEMPT}{datetime.now(UTC).isoformat(timespec='seconds')}\n".encode())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import torch

    from selectune.runs.command import RunCLI, run_verb

    torch.set_num_threads(threads)
    RunCLI.keep_models = keep_models or cell.keeps_models
    code: int | str | None = 0
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / f"{cell.name}.yaml"
        config.write_text(yaml.safe_dump(cell.config, sort_keys=False, allow_unicode=True))
        try:
            sys.argv = [sys.argv[0], "fit", "--config", str(config), "--output", str(cell.folder)]
            run_verb(RunCLI)
        except SystemExit as end:
            code = end.code
        except BaseException:
            traceback.print_exc()
            code = 1
    sys.exit(code)


def why_it_failed(log: Path, code: int | None) -> str:
    """What went wrong in a cell's last attempt, in a sentence: its error's, or the signal that ended it."""
    if code is not None and code < 0:
        return f"it was ended by {signal.Signals(-code).name}"
    text = log.read_text(errors="replace") if log.is_file() else ""
    told = [line.strip() for line in text.rpartition(ATTEMPT)[2].splitlines()[1:] if line.strip()]
    starts = [place for place, line in enumerate(told) if line.startswith("error: ")]  # a parser's goes over lines
    last = " ".join(told[starts[-1] :] if starts else told[-1:])
    return shorten(last.removeprefix("error: "), 400) or f"it ended with code {code}"


def _end_with_parent() -> None:
    """A table that was killed must leave no cell behind that goes on and holds its folder."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)
