"""Progress bars of stages that no Trainer shows."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A function that advances a progress bar, which shows on rank 0's terminal after two seconds."""
    from rich.progress import Progress

    console = terminal()
    begun = time.monotonic()
    bar = Progress(console=console, transient=True)
    task = bar.add_task(what, total=total)

    def advance() -> None:
        bar.advance(task)
        if console and not bar.live.is_started and time.monotonic() - begun > 2:
            bar.start()

    try:
        yield advance
    finally:
        bar.stop()


def terminal() -> Console | None:
    """The terminal that this process may show its progress on: rank 0's standard error, if that is one."""
    from rich.console import Console

    console = Console(stderr=True)
    first = os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"
    return console if first and console.is_terminal else None


@contextmanager
def transformers_quiet() -> Iterator[None]:
    """Let transformers load weights without its report of those that are new, and without progress bars."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
