"""The import ladder: a folder imports from lower rungs only, and nothing imports in a circle."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.structure import PACKAGE, RUNGS, circles, climbing, counts, edges_between_modules, files_of, imports_of


def test_no_import_climbs() -> None:
    assert climbing(REPOSITORY) == []


def test_every_folder_has_a_rung_and_nothing_else_stands_on_the_top_floor() -> None:
    there = {path.stem for path in (REPOSITORY / PACKAGE).iterdir() if path.suffix == ".py" or path.is_dir()}
    assert there - {"__init__", "__pycache__", "py"} == set(RUNGS)


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circles(edges_between_modules(REPOSITORY)) == []


@pytest.mark.parametrize("line", ["from selectune.runs import job", "import selectune.report.page"])
def test_an_import_that_climbs_is_found_wherever_it_stands(tmp_path: Path, line: str) -> None:
    for folder in ("runs", "report", "data"):
        (tmp_path / PACKAGE / folder).mkdir(parents=True)
    (tmp_path / PACKAGE / "runs" / "job.py").write_text("")
    (tmp_path / PACKAGE / "report" / "page.py").write_text("")
    (tmp_path / PACKAGE / "data" / "pool.py").write_text(f"def late():\n    {line}\n")
    (found,) = climbing(tmp_path)
    assert found.startswith("selectune/data/pool.py:2")


def test_a_circle_of_files_is_found_though_one_import_is_for_types_alone(tmp_path: Path) -> None:
    (tmp_path / PACKAGE / "data").mkdir(parents=True)
    types = "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from selectune.data.b import B\n"
    (tmp_path / PACKAGE / "data" / "a.py").write_text(types)
    (tmp_path / PACKAGE / "data" / "b.py").write_text("from selectune.data.a import A\n")
    assert circles(edges_between_modules(tmp_path)) == [["selectune.data.a", "selectune.data.b"]]


def test_no_file_and_no_function_is_too_long_to_read() -> None:
    numbers = counts(REPOSITORY)
    too_long = ("files over 300 lines", "functions over 60 lines", "functions over 4 levels")
    assert {name: numbers[name] for name in too_long} == dict.fromkeys(too_long, 0)


def test_circles_are_found() -> None:
    assert circles({("a", "b"), ("b", "c"), ("c", "a"), ("c", "d")}) == [["a", "b", "c"]]


def test_selectors_touch_no_files_and_no_ranks() -> None:
    """`torch.distributed` appears in transport's communication alone, which is handed its process group."""
    for file in files_of(REPOSITORY):
        parts = file.relative_to(REPOSITORY / PACKAGE).parts
        if parts[0] != "selectors":
            continue
        named = {node.attr for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)}
        assert "distributed" not in named or parts == ("selectors", "transport", "ranks.py"), file
        assert not named & {"read_text", "write_text", "read_bytes", "write_bytes"}, file
    of_selectors = {one.module for one in imports_of(REPOSITORY) if one.source == "selectors"}
    assert not {module for module in of_selectors if module.startswith(f"{PACKAGE}.common.files")}
