"""The server that workers are forked from is started before anything large is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from multiprocessing import forkserver

import pytest

from selectune.tables import server

STARTS = {
    "table --config a.yaml --output out --jobs 3": "3",
    "fit --compare --config a.yaml": "1",
    "compare --output out": "1",
    "table --jobs many": None,
    "table --jobs -1": None,
    "table --help": None,
    "table --config a.yaml --output out --dry_run": None,
    "table --config a.yaml --output out --launcher slurm": None,
    "fit --config a.yaml --jobs 2": None,
    "": None,
}


@pytest.mark.parametrize("line", STARTS)
def test_verbs_that_fork_workers_start_their_server_early(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    started = list[str]()
    monkeypatch.setattr(server, "threads_of", lambda jobs: jobs)
    monkeypatch.setattr(forkserver, "ensure_running", lambda: started.append(os.environ["OMP_NUM_THREADS"]))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    server.start_early(line.split())
    assert started == ([] if STARTS[line] is None else [STARTS[line]])
    assert "OMP_NUM_THREADS" not in os.environ


def test_the_entry_point_imports_nothing_large() -> None:
    code = "import sys, selectune.cli; print(sorted({'torch', 'numpy', 'lightning', 'datasets'} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
