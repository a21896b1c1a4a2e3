"""Cells as jobs of a cluster, by submitit: each is queued once what it needs is done, and this process waits."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

from selectune.common.errors import UserError
from selectune.tables.grid import Cell
from selectune.tables.running import Outcome, fit_cell, in_order

POLL_S = 5.0  # between two looks at the queue


def run_submitted(
    todo: list[Cell], jobs: int, keep_models: bool, on_start: Callable[[Cell], None], folder: Path,
    options: Mapping[str, Any], cluster: str = "slurm",
) -> Generator[Outcome, None, None]:  # fmt: skip
    """Run cells as jobs, in their order as far as what they need is done, and give each as it ends.

    Args:
        todo: cells that are not done.
        jobs: that are queued or run at a time.
        keep_models: leave checkpoints and exported models.
        on_start: called with each cell that is queued.
        folder: for the files of submitit.
        options: of a job, as submitit names them, such as ``slurm_partition``, ``timeout_min``, ``cpus_per_task``.
        cluster: of submitit.

    Yields:
        Outcomes; a cell that needs one that failed is not run. Jobs that are left are cancelled with this generator.

    Raises:
        UserError: submitit is not installed, there is no such cluster here, or it knows no such option.
    """
    executor = _executor(folder, options, cluster)
    running = dict[str, Any]()

    def start(cell: Cell) -> str:
        job = executor.submit(fit_cell, cell, None, keep_models)
        running[job.job_id] = job
        return str(job.job_id)

    def ended(patience: float | None) -> Iterator[tuple[str, int | None]]:
        until = math.inf if patience is None else time.monotonic() + max(patience, POLL_S)
        while not (done := [number for number, job in running.items() if job.done()]) and time.monotonic() < until:
            time.sleep(POLL_S)
        for number in done:
            job = running.pop(number)
            yield number, None if job.exception() is not None else job.result()

    try:
        yield from in_order(todo, jobs, on_start, start, ended)
    finally:
        for job in running.values():
            job.cancel()


def _executor(folder: Path, options: Mapping[str, Any], cluster: str) -> Any:
    try:
        import submitit
    except ImportError:
        raise UserError(
            "--launcher slurm needs submitit, which is not installed; pip install 'selectune[cluster]'."
        ) from None
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        executor.update_parameters(name="selectune", **options)
    except (RuntimeError, NameError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise UserError(
            f"Jobs cannot be handed to {cluster} ({reason}); start the table where sbatch works, and correct "
            "--launcher_options."
        ) from None
    return executor
