"""Files and folders are whole, or not there; what killed processes began is cleared, and nothing else."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

import pytest
from _forked import forked

from selectune.common import files as paths
from selectune.common.errors import NoRoomError
from selectune.common.files import atomic_file, atomic_folder, clear_partials, write_json
from tests.forked import at_every_call


def begun(target: Path, machine: str) -> Path:
    """A temporary file of a dead process."""
    partial = target.with_name(f".{target.name}.{machine}-{0:012x}.partial")
    partial.write_bytes(b"half")
    return partial


def test_what_is_being_written_is_left_alone(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "file") as file, atomic_folder(tmp_path / "folder") as folder:
        file.write_text("whole")
        (folder / "inner").write_text("whole")
        forked(lambda: clear_partials(tmp_path, mine=True))
    assert (tmp_path / "file").read_text() == (tmp_path / "folder" / "inner").read_text() == "whole"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("mine", [False, True])
def test_another_machine_has_a_day_to_write_in_a_shared_folder(mine: bool, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    other = "00000000" if paths._machine() != "00000000" else "00000001"
    dead, foreign = begun(tmp_path / "deep" / "a", paths._machine()), begun(tmp_path / "deep" / "b", other)
    (tmp_path / ".hidden.partial").touch()
    clear_partials(tmp_path, mine)
    assert not dead.exists()
    assert foreign.exists() is not mine
    if not mine:
        os.utime(foreign, (time.time() - paths.OLD_S - 1,) * 2)
        clear_partials(tmp_path)
        assert not foreign.exists()
    assert (tmp_path / ".hidden.partial").exists(), "only names that are made here"


def test_a_folder_is_replaced_whole_wherever_a_kill_comes(tmp_path: Path) -> None:
    target = tmp_path / "export"

    def write(content: str) -> None:
        with atomic_folder(target, replace=True) as partial:
            for name in ("a", "b"):
                (partial / name).write_text(content)

    def check() -> None:
        clear_partials(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} <= {"export"}
        if target.is_dir():
            assert [(target / name).read_text() for name in ("a", "b")] in (["old"] * 2, ["new"] * 2)

    assert at_every_call(tmp_path, lambda: write("old"), lambda: write("new"), check) >= 8


def test_a_full_disk_is_told_and_changes_nothing(tmp_path: Path) -> None:
    write_json(tmp_path / "file.json", "old")

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        for place in (atomic_file(tmp_path / "file.json"), atomic_folder(tmp_path / "folder")):
            with pytest.raises(NoRoomError) as told, place as partial:
                (partial / "inner" if partial.is_dir() else partial).write_bytes(bytes(10_000))
            assert told.value.path in (tmp_path / "file.json", tmp_path / "folder")

    assert forked(fill) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["file.json"]
    assert (tmp_path / "file.json").read_text() == '"old"\n'
