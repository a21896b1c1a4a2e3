"""Names of a run's files stand in `common/run_files.py` alone, and only `common/locks.py` takes locks."""

from __future__ import annotations

import ast
from pathlib import Path

from selectune.common import locks, run_files
from selectune.common.run_files import RunFiles, SelectionFiles
from tests.conftest import REPOSITORY

PLACES = [*vars(RunFiles(Path("run"))).values(), *vars(SelectionFiles(Path("run"))).values()]
NAMES = {place.name for place in PLACES if place.suffix}  # names of folders are words of other meanings too


def test_file_names_and_locks_have_one_place() -> None:
    elsewhere = []
    for file in (REPOSITORY / "selectune").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and node.value in NAMES and file != Path(run_files.__file__):
                elsewhere.append((file.name, node.lineno, node.value))
            if isinstance(node, ast.Import) and "fcntl" in [name.name for name in node.names]:
                assert file == Path(locks.__file__)
    assert elsewhere == []
    assert {"config.yaml", "cost.jsonl", "manifest.json", "rows.parquet"} <= NAMES
