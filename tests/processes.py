"""Processes for tests that need one: forked from a server that has imported torch already, so that none starts afresh.

A fresh interpreter takes seconds to import torch, Lightning and transformers; a fork of the server takes a tenth of
one. The server itself never trains, as the autograd of a process that did is of no use to its forks.
"""

from __future__ import annotations

import atexit
import base64
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, TextIO
from unittest import mock

MAIN = Path(__file__).parent.parent / "main.py"
BLANK = base64.b64decode(  # a picture of one point, in place of those that take matplotlib a second a page
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
FORKS: Any = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.preloaded"])


def run_main(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], draws: bool = False, timeout: float = 500
) -> subprocess.CompletedProcess[str]:
    """Outcome of ``python main.py`` with these arguments in a process of its own, as `subprocess.run` returns it.

    Args:
        arguments: of the command line.
        folder: it is started in.
        environment: all of it.
        draws: whether the pictures of reports are drawn; else they are `BLANK`.
        timeout: seconds.

    Raises:
        subprocess.TimeoutExpired: it is killed then.
    """
    with tempfile.TemporaryDirectory() as streams:
        files = [Path(streams) / name for name in ("stdout", "stderr")]
        process = start_main(arguments, folder, environment, *files, draws=draws)
        process.join(timeout)
        if late := process.exitcode is None:
            process.kill()
            process.join()
        told = [file.read_text() if file.exists() else "" for file in files]
    if late:
        raise subprocess.TimeoutExpired(list(arguments), timeout, *told)
    return subprocess.CompletedProcess(list(arguments), process.exitcode, *told)


def run_ranks(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], size: int = 2
) -> list[subprocess.CompletedProcess[str]]:
    """Outcome of ``torchrun main.py`` with these arguments in so many processes of this machine, by rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {"WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size), "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "test"}
    told |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}

    def one(rank: int) -> subprocess.CompletedProcess[str]:
        return run_main(arguments, folder, {**environment, **told, "RANK": str(rank), "LOCAL_RANK": str(rank)})

    start_server()
    with ThreadPoolExecutor(size) as ranks:
        return list(ranks.map(one, range(size)))


def start_main(
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    out: Path,
    err: Path,
    draws: bool = False,
) -> Any:
    """The process that `run_main` waits for, with the files that it writes its streams to."""
    return fork(_main, list(arguments), folder, dict(environment), out, err, draws)


def fork(target: Callable[..., None], *args: Any) -> Any:
    """A process that runs a function of a module, started."""
    start_server()
    process = FORKS.Process(target=_interruptible, args=(target, *args))
    process.start()
    return process


def _interruptible(target: Callable[..., None], *args: Any) -> None:
    """Run a function where Ctrl-C counts, also under a suite that was started in the background, which ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    target(*args)


def _main(arguments: list[str], folder: Path, environment: dict[str, str], out: Path, err: Path, draws: bool) -> None:
    import torch

    from selectune.cli import main
    from selectune.report import drawing as pictures

    if not draws:
        pictures.png = lambda figure: BLANK
    for stream, file in ((sys.stdout, out), (sys.stderr, err)):
        _redirect(stream, file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[1:1] = environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.argv = [str(MAIN), *arguments]
    torch.set_num_threads(int(environment.get("OMP_NUM_THREADS", "1")))
    try:
        main()
    finally:
        atexit._run_exitfuncs()  # a fork ends without


def _redirect(stream: TextIO, file: Path) -> None:
    with file.open("wb") as handle:
        os.dup2(handle.fileno(), stream.fileno())


def start_server() -> None:
    """Start the server that processes are forked from, unless it runs."""
    path = os.pathsep.join([str(MAIN.parent), os.environ.get("PYTHONPATH", "")])  # it does not know our sys.path
    with mock.patch.dict(os.environ, {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}):
        forkserver.ensure_running()
