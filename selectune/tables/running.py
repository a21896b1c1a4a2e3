"""Run the cells of a table, some at a time, each in a worker process; whatever happens to one, the rest goes on.

Workers are forked from a server that has imported everything once.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from textwrap import shorten
from typing import Any, TypeVar

import yaml
from lightning.fabric.plugins.environments import SLURMEnvironment

from selectune.common.errors import UserError
from selectune.common.run_files import RunFiles
from selectune.tables.grid import Cell
from selectune.tables.layers import Config, setting
from selectune.tables.server import limits, start_server, threads_of

LOOK_S = 1.0  # between two looks for what a cell waits for
GRACE_S = 10.0  # between asking a worker to end and ending it
Key = TypeVar("Key", bound=Hashable)
ATTEMPT = "=== attempt of "  # begins a line of the log


@dataclass
class Outcome:
    """Outcome of a cell: the seconds that it took and, unless it is done, why not, in a sentence."""

    cell: Cell
    seconds: float
    failure: str | None = None


def run_cells(
    todo: list[Cell], jobs: int, keep_models: bool, on_start: Callable[[Cell], None]
) -> Generator[Outcome, None, None]:
    """Run cells in their order as far as what they need is done, and give each as it ends.

    Args:
        todo: cells that are not done; see `in_order`.
        jobs: cells at a time; the cores are shared out among them.
        keep_models: leave checkpoints and exported models.
        on_start: called with each cell that begins.

    Yields:
        Outcomes; a cell that needs one that failed is not run.
    """
    threads = threads_of(jobs)
    running = dict[int, BaseProcess]()
    context = multiprocessing.get_context("forkserver")

    def start(cell: Cell) -> int:
        process = context.Process(target=_run_cell, args=(cell, threads, keep_models, os.environ | limits(threads)))
        process.start()
        running[process.sentinel] = process
        return process.sentinel

    def ended(patience: float | None) -> Iterator[tuple[int, int | None]]:
        for sentinel in wait(list(running), patience):
            process = running.pop(sentinel)  # type: ignore[arg-type]
            process.join()
            yield sentinel, process.exitcode  # type: ignore[misc]

    start_server(threads)
    with _ended(running):
        yield from in_order(todo, jobs, on_start, start, ended)


def in_order(
    todo: list[Cell], jobs: int, on_start: Callable[[Cell], None], start: Callable[[Cell], Key],
    ended: Callable[[float | None], Iterable[tuple[Key, Any]]],
) -> Generator[Outcome, None, None]:  # fmt: skip
    """Start cells in their order as far as what they need is done, so many at a time, and give each as it ends.

    Args:
        todo: cells that are not done; each is taken out as it begins, and whoever takes outcomes may add more.
        jobs: cells at a time.
        on_start: called with each cell before it begins.
        start: begin a cell; returns a key of its own.
        ended: wait for some of those that have begun, for so many seconds at most; returns their keys with their exit
            codes.
    """
    running, failed = dict[Key, tuple[Cell, float]](), list[Path]()
    while todo or running:
        for cell in list(todo):
            missing = [folder for folder in cell.needs if not RunFiles(folder).serves]
            if lost := [run for run in failed for folder in missing if folder.is_relative_to(run)]:
                todo.remove(cell)
                failed.append(cell.folder)
                yield Outcome(cell, 0.0, f"it needs {lost[0].name}, which failed")
            elif len(running) < jobs and not missing:
                todo.remove(cell)
                on_start(cell)
                running[start(cell)] = cell, time.monotonic()
        if todo and not running:  # as where somebody has removed it
            cell = todo.pop(0)
            lacks = next(folder for folder in cell.needs if not RunFiles(folder).serves)
            failed.append(cell.folder)
            yield Outcome(cell, 0.0, f"it needs {lacks}, which is not there")
        # What is waited for may be there before the run that makes it has ended.
        patience = LOOK_S if todo and len(running) < jobs else None
        for key, code in ended(patience) if running else ():
            cell, began = running.pop(key)
            outcome = Outcome(cell, time.monotonic() - began)
            if code not in (0, 3) or not cell.done:  # 3: the training failed, a result too
                failed.append(cell.folder)
                outcome.failure = why_it_failed(RunFiles(cell.folder).log, code)
            yield outcome


def check_launch(verb: str, configs: Iterable[Config]) -> None:
    """Refuse processes that another program started, and runs that would wait for such: a worker launches its own.

    Args:
        verb: that runs cells, for the message.
        configs: of the cells.

    Raises:
        UserError: several processes run the verb, or a run needs processes that nobody would start.
    """
    tasks = int(os.environ.get("WORLD_SIZE", os.environ.get("SLURM_NTASKS", 1)))
    if tasks > 1 or "LOCAL_RANK" in os.environ:
        raise UserError(
            f"{verb} starts the processes of each of its runs by itself: start it once, without torchrun or srun, and "
            "say trainer.devices alone."
        )
    for config in configs:
        if (setting(config, "trainer.num_nodes") or 1) > 1:
            raise UserError(f"{verb} runs on one machine, but trainer.num_nodes is over 1; give 1.")
        devices = setting(config, "trainer.devices")
        if SLURMEnvironment.detect() and devices not in (None, 1, "1", "auto"):
            raise UserError(
                f"trainer.devices is {devices}, but in a Slurm job each process of a run must be a task, and {verb} is "
                "one task: set SLURM_JOB_NAME=interactive, with which each run starts its own processes."
            )


@contextmanager
def _ended(running: dict[int, BaseProcess]) -> Iterator[None]:
    """End the processes that are still running when the block is left."""
    try:
        yield
    finally:
        processes = list(running.values())
        for process in processes:
            process.terminate()
        until = time.monotonic() + GRACE_S
        for process in processes:
            process.join(max(0.0, until - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()


def _run_cell(cell: Cell, threads: int, keep_models: bool, environment: dict[str, str]) -> None:
    """Run a cell as ``fit`` does, its output in ``log.txt``, and end the process with ``fit``'s exit code."""
    os.environ.clear()  # the server may have been started in another environment than the table's
    os.environ.update(environment)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.exit(fit_cell(cell, threads, keep_models))


def fit_cell(cell: Cell, threads: int | None, keep_models: bool) -> int | str | None:
    """Run a cell as ``fit`` does, its output in ``log.txt``, and return ``fit``'s exit code.

    Args:
        cell: to run.
        threads: of torch; None for what the job has.
        keep_models: leave checkpoints and the exported model.
    """
    if not cell.shown:
        log = os.open(RunFiles(cell.folder).log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.write(log, f"{ATTEMPT}{datetime.now(UTC).isoformat(timespec='seconds')}\n".encode())
    import torch

    from selectune.runs.command import RunCLI, run_verb

    if threads is not None:
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
    return code


def _end_with_parent() -> None:
    """End this process when the table's ends: a killed table must leave no cell that goes on and holds its folder."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)


def why_it_failed(log: Path, code: int | None) -> str:
    """Why a cell's last attempt failed, in a sentence: its error's, or the signal that ended it."""
    if code is not None and code < 0:
        return f"it was ended by {signal.Signals(-code).name}"
    text = log.read_text(errors="replace") if log.is_file() else ""
    return said_last("\n".join(text.rpartition(ATTEMPT)[2].splitlines()[1:]), code)


def said_last(text: str, code: int | None) -> str:
    """The sentence of the error that a command ended with, from what it said."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    starts = [place for place, line in enumerate(lines) if line.startswith("error: ")]  # a parser's goes over lines
    last = " ".join(lines[starts[-1] :] if starts else lines[-1:])
    return shorten(last.removeprefix("error: "), 400) or f"it ended with code {code}"
