"""A disk that fills up or cannot be written: one sentence with the path, nothing half-written, and it goes on later.

`slow`; it mounts small file systems in memory, so it is skipped where that is not allowed.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import metrics_of
from tests.processes import MAIN, run_main

Mount = Callable[[str], Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mounts a file system of a size, such as ``200k``, in place of the one before with all that it holds."""
    place = tmp_path / "disk"
    place.mkdir()

    def mounted(size: str) -> Path:
        flags = f"remount,size={size}" if os.path.ismount(place) else f"size={size}"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", flags, "tmpfs", str(place)], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        return place

    yield mounted
    if os.path.ismount(place):
        subprocess.run(["umount", str(place)], check=True)


def fit(folder: Path, arguments: list[str], run: Path, cache: Path) -> tuple[int, str]:
    environment = os.environ | {"SELECTUNE_CACHE": str(cache), "OMP_NUM_THREADS": "1", "COLUMNS": "300"}
    done = run_main(["fit", *arguments, "--output", str(run)], folder, environment, draws=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "size"),
    [
        ("cache", "12k"),
        ("cache", "40k"),
        ("run", "12k"),
        ("run", "40k"),
        ("run", "120k"),
        ("run", "400k"),
        ("run", "1m"),
    ],
)
def test_a_run_on_a_full_disk_says_so_and_goes_on_once_there_is_room(
    what: str, size: str, mount: Mount, selecting: list[str], finished: Path, tmp_path: Path
) -> None:
    disk = mount(size)
    run, cache = (disk / "run", tmp_path / "cache") if what == "run" else (tmp_path / "run", disk / "cache")
    code, told = fit(tmp_path, selecting, run, cache)
    if code == 0:
        pytest.skip(f"{size} were room enough")
    assert code == 2, told[-4000:]
    assert "Traceback" not in told
    sentence = told.partition("error: ")[2]
    assert str(disk) in sentence
    assert "room" in sentence
    mount("64m")
    code, told = fit(tmp_path, selecting, run, cache)
    assert code == 0, told[-4000:]
    assert metrics_of(run)["test/loss"] == pytest.approx(metrics_of(finished)["test/loss"])
    assert not list(run.rglob("*.partial")) + list(cache.rglob("*.partial"))


@pytest.mark.slow
@pytest.mark.parametrize("filled", [False, True])
def test_a_cache_that_cannot_be_written_is_named_and_the_run_goes_on_once_it_can(
    filled: bool, mount: Mount, selecting: list[str], finished: Path, tmp_path: Path
) -> None:
    disk, run = mount("64m"), tmp_path / "run"
    if filled:
        assert fit(tmp_path, selecting, tmp_path / "before", disk / "cache")[0] == 0
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    code, told = fit(tmp_path, selecting, run, disk / "cache")
    assert code == 2, told[-4000:]
    assert "Traceback" not in told
    sentence = told.partition("error: ")[2]
    assert str(disk / "cache") in sentence
    assert "SELECTUNE_CACHE" in sentence or "--cache" in sentence
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    code, told = fit(tmp_path, selecting, run, disk / "cache")
    assert code == 0, told[-4000:]
    assert metrics_of(run)["test/loss"] == pytest.approx(metrics_of(finished)["test/loss"])


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [8, 60])
def test_a_limit_of_the_size_of_files_is_a_full_disk(
    kilobytes: int, selecting: list[str], finished: Path, tmp_path: Path
) -> None:
    run, cache = tmp_path / "run", tmp_path / "cache"
    environment = os.environ | {"SELECTUNE_CACHE": str(cache), "OMP_NUM_THREADS": "1", "COLUMNS": "300"}
    command = shlex.join([sys.executable, str(MAIN), "fit", *selecting, "--output", str(run)])
    limited = ["bash", "-c", f"ulimit -f {kilobytes}; exec {command}"]
    done = subprocess.run(limited, cwd=tmp_path, env=environment, capture_output=True, text=True)
    told = done.stdout + done.stderr
    assert done.returncode == 2, told[-4000:]
    assert "Traceback" not in told
    assert "room" in told.partition("error: ")[2]
    code, told = fit(tmp_path, selecting, run, cache)
    assert code == 0, told[-4000:]
    assert metrics_of(run)["test/loss"] == pytest.approx(metrics_of(finished)["test/loss"])
    assert not list(run.rglob("*.partial")) + list(cache.rglob("*.partial"))
