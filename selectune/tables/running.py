"""Run the cells of a table, some at a time, each in a worker process; whatever happens to one, the rest goes on."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from selectune.common.run_files import RunFiles
from selectune.tables.grid import Cell
from selectune.tables.worker import PRELOAD, run_cell, why_it_failed

GRACE_S = 10.0  # between asking a worker to end and ending it


@dataclass
class Outcome:
    """What became of a cell.

    Args:
        cell: that was run, or that could not be.
        seconds: that it took.
        failure: why it is not done, in a sentence; None when it is.
    """

    cell: Cell
    seconds: float
    failure: str | None = None


@dataclass
class _Work:
    cell: Cell
    process: BaseProcess
    began: float = field(default_factory=time.monotonic)


def run_cells(
    todo: list[Cell], jobs: int, keep_models: bool, started: Callable[[Cell], None]
) -> Generator[Outcome, None, None]:
    """Run cells in their order as far as what they need is done, and give each as it ends.

    Args:
        todo: cells that are not done.
        jobs: cells at a time; the cores are shared out among them.
        keep_models: leave checkpoints and exported models.
        started: told of each cell that begins.

    Yields:
        Outcomes; a cell that needs one that failed is not run.
    """
    threads = threads_of(jobs)
    waiting, running = list(todo), dict[int, _Work]()
    failed = set[Path]()
    context = multiprocessing.get_context("forkserver")
    with _server(context, threads):
        try:
            while waiting or running:
                for cell in list(waiting):
                    if lost := [folder for folder in cell.needs if folder in failed]:
                        waiting.remove(cell)
                        failed.add(cell.folder)
                        yield Outcome(cell, 0.0, f"it needs {lost[0].name}, which failed")
                    elif len(running) < jobs and all(RunFiles(folder).finished for folder in cell.needs):
                        waiting.remove(cell)
                        started(cell)
                        process = context.Process(target=run_cell, args=(cell, threads, keep_models, dict(os.environ)))
                        process.start()
                        running[process.sentinel] = _Work(cell, process)
                for sentinel in wait(list(running)) if running else []:
                    work = running.pop(sentinel)  # type: ignore[arg-type]
                    work.process.join()
                    yield _outcome(work, failed)
        finally:
            _end([work.process for work in running.values()])


def threads_of(jobs: int) -> int:
    """Threads of each of some cells at a time: a share of the cores, or what ``OMP_NUM_THREADS`` allows."""
    if (given := os.environ.get("OMP_NUM_THREADS", "")).isdigit() and int(given) > 0:
        return int(given)
    return max(1, cores() // jobs)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _outcome(work: _Work, failed: set[Path]) -> Outcome:
    seconds = time.monotonic() - work.began
    if work.process.exitcode in (0, 3) and work.cell.done:  # 3: the training failed, which is a result too
        return Outcome(work.cell, seconds)
    failed.add(work.cell.folder)
    return Outcome(work.cell, seconds, why_it_failed(RunFiles(work.cell.folder).log, work.process.exitcode))


@contextmanager
def _server(context: multiprocessing.context.ForkServerContext, threads: int) -> Iterator[None]:
    """The server that workers are forked from, started with as many threads as each may have, and with this code."""
    context.set_forkserver_preload(PRELOAD)
    settings = {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    code = str(Path(__file__).parents[2])  # the server does not know our sys.path when it imports
    settings["PYTHONPATH"] = os.pathsep.join(filter(None, [code, os.environ.get("PYTHONPATH")]))
    earlier = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        forkserver.ensure_running()
        yield
    finally:
        for name, value in earlier.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def _end(processes: list[BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    until = time.monotonic() + GRACE_S
    for process in processes:
        process.join(max(0.0, until - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()
