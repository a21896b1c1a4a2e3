"""A mistake costs one sentence: each command line of `tests.bad_input` ends as docs/mistakes.md says, with code 2.

REWRITE_GOLDEN=1 python -m pytest -n 0 tests/test_mistakes.py    # makes the page again; read what changed
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest
import torch

from tests.bad_input.cases import CASES
from tests.bad_input.files import make_files
from tests.conftest import REPOSITORY, Here

PAGE = REPOSITORY / "docs" / "mistakes.md"
HEAD = """# What is told of a mistake

A mistake ends a command with one sentence, on the error stream and after `error: `, and with exit code 2: what is
wrong, where, and how to mend it. Nothing is left of a run that had not begun. With `SELECTUNE_TRACEBACK=1` the place in
the code is printed too. What is in brackets may be worded by another library. This page is made, and held, by
`tests/test_mistakes.py`.
"""
ALL = [(area, name) for area, cases in CASES.items() for name in cases]
NEEDS_NO_GPU = {"no GPU", "sharding without a GPU", "no TPU"}
LONGEST = 700  # characters, where a sentence names all there is
TOLD: dict[tuple[str, str], str] = {}


def rows_of(page: str) -> dict[tuple[str, str], str]:
    """The sentences of the page by area and case."""
    found, area = {}, ""
    for line in page.splitlines():
        if line.startswith("## "):
            area = line[3:]
        elif cells := re.fullmatch(r"\| (.*?) \| (.*) \|", line):
            found[area, cells.group(1)] = cells.group(2)
    return found


def ours(sentence: str) -> str:
    """A sentence without what other libraries may have worded."""
    return re.sub(r"\(.*\)", "()", sentence)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Path:
    """The files that the command lines name; none of them may change."""
    folder = tmp_path_factory.mktemp("place")
    make_files(folder, model_folder)
    return folder


@pytest.mark.parametrize(("area", "case"), ALL)
def test_a_mistake_is_one_sentence(
    area: str, case: str, here: Here, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if case in NEEDS_NO_GPU and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.chdir(place)
    before = set(place.rglob("*"))
    printed = here(*shlex.split(CASES[area][case]), code=2)
    sentence = printed.partition("error: ")[2].strip()
    assert set(place.rglob("*")) == before, "the mended command finds its place"
    assert len(sentence) < LONGEST, "no usage text"
    assert sentence.endswith((".", "?", ".)"))
    assert "usage:" not in printed
    assert "Traceback" not in printed
    sentence = sentence.replace(str(place), "FOLDER").replace(torch.__version__, "VERSION").replace("|", "\\|")
    TOLD[area, case] = sentence
    if not os.environ.get("REWRITE_GOLDEN"):
        assert ours(sentence) == ours(rows_of(PAGE.read_text())[area, case])


def test_the_page_has_every_case_and_no_other() -> None:
    assert len(ALL) >= 120
    assert f"{len(ALL)} kinds" in (REPOSITORY / "docs" / "reliability.md").read_text()
    if os.environ.get("REWRITE_GOLDEN"):
        areas = [
            "\n".join([f"## {area}\n", "| what is wrong | what is told |", "|---|---|",
                       *(f"| {case} | {TOLD[area, case]} |" for case in cases)])
            for area, cases in CASES.items()
        ]  # fmt: skip
        PAGE.write_text("\n\n".join([HEAD.rstrip(), *areas]) + "\n")
    assert list(rows_of(PAGE.read_text())) == [row for area in CASES for row in header_and(area)]


def header_and(area: str) -> list[tuple[str, str]]:
    """Rows of a table of the page, its header among them."""
    return [(area, "what is wrong"), *((area, case) for case in CASES[area])]
