"""Control characters of users' texts do not reach the terminal."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selectune.common.printable import plain, printable
from tests.conftest import Here, write_split

HOSTILE = "\x1b]0;title\x07\x1b[2J\x1b[31mred\x9b1m\u202egnp.exe\r"


@given(st.text())
def test_a_printable_text_moves_nothing(text: str) -> None:
    shown = printable(text)
    kept = "\t\n"
    moving = [one for one in shown if (ord(one) < 32 and one not in kept) or 127 <= ord(one) < 160 or one == "\u202e"]
    assert moving == []
    assert printable(shown) == shown


@given(st.text(string.printable.replace("\r", "").replace("\x0b", "").replace("\x0c", "")))
def test_a_plain_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_markup_of_a_text_is_none() -> None:
    assert plain("[red]a[/red] \x1b[0m") == "\\[red]a\\[/red] \\x1b[0m"


def test_rows_and_mistakes_are_printed_without_their_control_characters(
    here: Here, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"{HOSTILE} row {i}" for i in range(60)]
    write_split(tmp_path / "data" / "train.parquet", rows, [i % 2 for i in range(60)])
    task = [
        "--data", "TextClassification", "--data.dataset", str(tmp_path / "data"), "--data.max_length", "32",
        "--model.checkpoint", str(model_folder), "--trainer.accelerator", "cpu",
        "--trainer.enable_progress_bar", "false",
    ]  # fmt: skip
    printed = here("select", *task, "--data.selector", "Random", "--data.keep", "0.5", "--dry_run")
    assert "\\x1b]0;title" in printed
    assert "\x1b]0;" not in printed
    assert "\u202e" not in printed
    refused = here("fit", *task, "--data.text_column", f"no{HOSTILE}", "--output", "run", code=2)
    assert "\\x1b]0;title" in refused
    assert "\x1b]0;" not in refused
