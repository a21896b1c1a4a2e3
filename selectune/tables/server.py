"""The server that the workers of a table are forked from, once it has imported everything. It imports little itself."""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Sequence
from multiprocessing import forkserver
from pathlib import Path


def threads_of(jobs: int) -> int:
    """Threads of each of some cells at a time: a share of the cores, or what ``OMP_NUM_THREADS`` allows."""
    if (given := os.environ.get("OMP_NUM_THREADS", "")).isdigit() and int(given) > 0:
        return int(given)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // jobs)


def limits(threads: int) -> dict[str, str]:
    """The variables by which libraries of a process take so many threads."""
    return {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}


def start_server(threads: int) -> None:
    """Start the server unless it runs, with as many threads as each worker may have, and with this code."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["selectune.tables.preload"])
    settings = limits(threads)
    code = str(Path(__file__).parents[2])  # the server does not know our sys.path when it imports
    settings["PYTHONPATH"] = os.pathsep.join(filter(None, [code, os.environ.get("PYTHONPATH")]))
    earlier = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        forkserver.ensure_running()
    finally:
        for name, value in earlier.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def start_early(args: Sequence[str]) -> None:
    """Start the server beside the imports of this process, where the command line names a verb that will need it.

    Args:
        args: of the command line, not yet checked.
    """
    if not (args and (args[0] in ("compare", "table") or "--compare" in args)) or {"--help", "-h"} & {*args}:
        return
    if "--dry_run" in args or "--launcher" in args or {"RANK", "LOCAL_RANK", "SLURM_STEP_ID"} & {*os.environ}:
        return
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--jobs", type=int, default=1)
    try:
        jobs = parser.parse_known_args(args)[0].jobs
    except argparse.ArgumentError:  # which the verb says
        return
    if jobs > 0:
        start_server(threads_of(jobs))
