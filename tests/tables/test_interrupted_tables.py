"""Tables that are killed or stopped."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Cli, Here
from tests.mistakes import names
from tests.processes import start_main
from tests.tables.conftest import Write
from tests.tables.reading import CELLS, lasting, touched


def started(tmp_path: Path, *arguments: str | Path) -> Any:
    """The table in a process of its own, which leaves ``stdout`` and ``stderr``."""
    environment = os.environ | {"SELECTUNE_CACHE": str(tmp_path / "other"), "OMP_NUM_THREADS": "1"}
    streams = (tmp_path / "stdout", tmp_path / "stderr")
    return start_main(["table", *map(str, arguments)], tmp_path, environment, *streams)


@pytest.mark.slow
def test_a_table_that_was_killed_does_only_what_is_missing(
    finished_table: Path, write: Write, cli: Cli, here: Here, tmp_path: Path
) -> None:
    killed, cells = tmp_path / "killed", CELLS[::2]
    arguments = ["--config", write(seeds=[0]), "--output", killed]
    process = started(tmp_path, *arguments)
    _until(lambda: (killed / "cells" / cells[2] / "cost.jsonl").is_file(), process)
    os.kill(process.pid, signal.SIGSTOP)
    assert names(cli("table", *arguments, code=2).stderr, killed, "--output")
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    done = [cell for cell in cells if (killed / "cells" / cell / "done.json").is_file()]
    assert cells[0] in done
    assert len(done) < len(cells)
    before = {cell: touched(killed / "cells" / cell) for cell in done}
    told = here("table", *arguments, "--cache", tmp_path / "other")
    assert names(told, f"{len(cells)} runs", f"{len(cells) - len(done)} to do")
    assert {cell: touched(killed / "cells" / cell) for cell in done} == before
    ours, uninterrupted = lasting(killed), [row for row in lasting(finished_table) if row["seed"] == "0"]
    for row, expected in zip(ours, uninterrupted, strict=True):
        same = {name for name in row if not name.endswith("_flops")}
        assert {name: row[name] for name in same} == {name: expected[name] for name in same}
        for name in set(row) - same:
            assert float(row[name]) == pytest.approx(float(expected[name]), rel=0.02)


def test_ctrl_c_leaves_what_is_done(write: Write, tmp_path: Path) -> None:
    out = tmp_path / "stopped"
    process = started(tmp_path, "--config", write(), "--output", out)
    _until(lambda: (out / "cells" / CELLS[0] / "cost.jsonl").is_file(), process)
    os.kill(process.pid, signal.SIGINT)
    process.join(300)
    told = (tmp_path / "stderr").read_text()
    assert process.exitcode == 130
    assert told.strip().splitlines()[-1].endswith("."), "a sentence"
    assert "Traceback" not in told
    assert (out / "table.csv").is_file()
    assert not (out / "cells" / CELLS[-1] / "done.json").exists()


def _until(true: Callable[[], bool], process: Any) -> None:
    """Wait for what a process will bring about, as long as it lives."""
    while not true():
        assert process.exitcode is None, "it did not come"
        time.sleep(0.05)
