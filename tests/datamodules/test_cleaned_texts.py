"""Posts without headers and quotes, and rows without a text."""

from __future__ import annotations

from pathlib import Path

import pytest

from selectune import TextClassification
from selectune.common.errors import BadRowsError, DataError
from selectune.datamodules.text_classification import strip_post
from tests.datamodules.made_up import split, write
from tests.mistakes import mistake, warned


@pytest.mark.parametrize(
    ("post", "left"),
    [
        ("From: me@there\nSubject: wheels\n\nround ones\n", "round ones"),
        ("From: me\nSubject: a\n folded line\nLines: 2\n\nArchive-name: b\n\nthe text", "the text"),
        ("Question: does it run?\n\nYes.", "Question: does it run?\n\nYes."),  # no header, as it names no known field
        ("a paragraph\n\nanother", "a paragraph\n\nanother"),
        ("before\n> quoted\n >> twice\nafter", "before\nafter"),
        ("In article <1@x> him@there (Him) writes:\n> why\n\nBecause.", "Because."),
        ("In article <1@x>,\nhim@there (Him) writes:\n> why\nBecause.", "Because."),
        ("so it is\n--\nMe, at home", "so it is"),
        ("so it is\n-- \nMe, at home\n--\nmore of me", "so it is"),
        ("one -- two\n---\nthree", "one -- two\n---\nthree"),
        ("From: me\nSubject: empty\n\n> quoted\n-- \nMe", ""),
        ("Subject: nothing else", ""),
        ("", ""),
    ],
)
def test_a_post_keeps_what_its_author_wrote(post: str, left: str) -> None:
    assert strip_post(post) == left
    assert strip_post(left) == left


def test_stripped_posts_are_what_is_scored_and_rows_left_empty_are_dropped(tmp_path: Path) -> None:
    train, test = split(60, 1), split(20, 2)
    plain = list(train["text"])
    train["text"] = [f"From: x\n\n{text}\n> quote\n--\nx" for text in plain]
    for row in (0, 7, 30):
        train["text"][row] = "From: x\n\n> quote only"
    folder = str(write(tmp_path / "d", train=train, test=test))
    data = TextClassification(folder, strip_headers=True)
    with warned(UserWarning, "'train'", 3, 60):
        data.load()
    assert len(data.pool) + len(data.splits["dev"]) == 57
    assert not {0, 7, 30} & set(data.pool.source_rows.tolist())
    assert [text for (text,) in data.pool.texts()] == [plain[row] for row in data.pool.source_rows]
    assert data.labels["train"].tolist() == [train["label"][row] for row in data.pool.source_rows]
    raw = TextClassification(folder)
    raw.load()
    assert raw.pool.fingerprint != data.pool.fingerprint


def test_rows_without_a_text_are_refused_or_dropped(tmp_path: Path) -> None:
    train, test = split(60, 1), split(20, 2)
    train["other"], test["other"] = train["text"][::-1], list(test["text"])
    train["text"][4], train["other"][9] = "  ", None
    folder = str(write(tmp_path / "d", train=train, test=test))
    with mistake(BadRowsError, "'train'", "'text'", 1, rows=[4]):
        TextClassification(folder, pair_column="other", strip_headers=True).load()
    data = TextClassification(folder, pair_column="other", drop_empty=True)
    with warned(UserWarning, 2, 60):
        data.load()
    assert not {4, 9} & set(data.pool.source_rows.tolist())
    assert [text for text, _ in data.pool.texts()] == [train["text"][row] for row in data.pool.source_rows]
    with mistake(DataError, "'nothing'", "text, label, other"):
        TextClassification(folder, text_column="nothing", drop_empty=True).load()
