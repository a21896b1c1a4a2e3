"""A diagnosis on the terminal: every sentence whole, in 80 columns."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from selectune.data.class_prior import ClassPrior
from selectune.diagnose.classes import rare_classes
from selectune.diagnose.terminal import print_diagnosis
from tests.diagnose.made_up import a_labelled_pool, an_unlabelled_pool, written


def printed(content: dict[str, Any], width: int = 80) -> list[str]:
    """The lines that a diagnosis prints."""
    console = Console(file=io.StringIO(), width=width)
    print_diagnosis(content, console)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def second_column(lines: list[str]) -> str:
    """Text to the right of the titles, as one line; all of it where there are no titles."""
    start = next((line.index("  ") for line in lines if line.startswith("Wrong labels")), 0)
    return " ".join(" ".join(line[start:].split()) for line in lines)


@pytest.mark.parametrize("width", [60, 80, 200])
def test_every_finding_has_its_sentence_and_its_remedy_within_the_width(tmp_path: Path, width: int):
    _, content = written(tmp_path / "run", *a_labelled_pool())
    lines = printed(content, width)
    assert max(map(len, lines)) <= width
    words = second_column(lines)
    for one in content["findings"].values():
        if one["rows"]:
            told = f"Remedy: {one['remedy']}. Cost: {one['cost']['sentence']} Expected: {one['expected']}"
            assert " ".join(f"{one['sentence']} {told}".split()) in words


def test_findings_of_most_rows_stand_first_and_what_is_clean_last(tmp_path: Path):
    _, content = written(tmp_path / "run", *a_labelled_pool())
    text = "\n".join(printed(content))
    titles = [
        "Wrong labels",
        "Near copies",
        "Rare classes",
        "not found: rows without a word",
        "A probe is wrong on 40%",
    ]
    places = [text.index(title) for title in titles]
    assert places == sorted(places)


def test_a_finding_takes_a_few_lines_of_80_columns(tmp_path: Path):
    _, content = written(tmp_path / "run", *a_labelled_pool())
    found = [one for one in content["findings"].values() if one["rows"]]
    assert len(printed(content)) <= 11 * len(found) + 6


def test_the_assumed_prior_is_told_whether_or_not_a_class_is_rare(tmp_path: Path):
    made, labels, names = a_labelled_pool()
    _, content = written(tmp_path / "rare", made, labels, names)
    assert "Class prior: balanced (data.prior)." in second_column(printed(content))
    none = rare_classes(labels, names, ClassPrior("train", tuple((np.bincount(labels) / len(labels)).tolist())))
    _, content = written(tmp_path / "none", replace(made, findings=made.findings | {"rare_class": none}), labels, names)
    assert "rare classes (class prior: train (data.prior))" in " ".join(" ".join(printed(content)).split())


@pytest.mark.parametrize("found", [True, False])
def test_a_pool_without_classes_says_what_was_not_looked_for(tmp_path: Path, found: bool):
    _, content = written(tmp_path / "run", an_unlabelled_pool(found))
    words = " ".join(" ".join(printed(content)).split())
    for why in content["skipped"].values():
        assert why in words
    assert ("in 4 groups of copies" in words) == found
    assert ("Looked for and not found: exact copies" in words) == (not found)


def test_brackets_and_line_breaks_of_texts_are_printed_as_they_are(tmp_path: Path):
    _, content = written(tmp_path / "run", *a_labelled_pool(), text="[red]one\ntwo[/red]")
    content |= {"pool": "[bold]pool", "trusted": "[i]rows"}
    words = " ".join(printed(content, 200))
    for part in ("[bold]pool", "[i]rows", "“[red]one two[/red]”"):
        assert part in words
