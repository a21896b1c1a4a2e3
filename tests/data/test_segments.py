"""Segments of texts."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selectune.data.segments import Segment, by_characters, by_tokens, cut
from selectune.data.tokens import load_tokenizer

TEXTS = st.lists(st.text("ab cd", min_size=1, max_size=40).filter(str.strip), min_size=1, max_size=8)


def pieces(texts: list[str], size: int, join: bool) -> list[Segment]:
    return list(cut(enumerate(texts), size, by_characters, join))


@given(TEXTS, st.integers(2, 20), st.booleans())
def test_segments_are_at_most_the_size_and_in_their_rows(texts: list[str], size: int, join: bool) -> None:
    for segment in pieces(texts, size, join):
        whole = "\n".join(texts[segment.first_row : segment.last_row + 1])
        assert segment.text in whole
        breaks = segment.last_row - segment.first_row
        assert 0 < len(segment.text) <= size + breaks
        assert join or segment.first_row == segment.last_row


@given(TEXTS, st.integers(2, 20))
def test_joined_segments_lose_the_last_rest_alone(texts: list[str], size: int) -> None:
    kept = "".join("".join(segment.text.split()) for segment in pieces(texts, size, join=True))
    whole = "".join("".join(texts).split())
    assert whole.startswith(kept)
    assert len(whole) - len(kept) < size


def test_a_short_text_stays_whole_and_a_short_rest_is_dropped() -> None:
    assert pieces(["abc"], 10, join=False) == [Segment("abc", 0, 0)]
    assert [segment.text for segment in pieces(["abcdefghijkl"], 10, join=False)] == ["abcdefghij"]
    assert [segment.text for segment in pieces(["abcdefghijklmno"], 10, join=False)] == ["abcdefghij", "klmno"]


@pytest.mark.parametrize("join", [True, False])
def test_tokens_are_counted_and_words_stay_whole(join: bool, model_folder: Path) -> None:
    tokenizer = load_tokenizer(model_folder)
    texts = ["red cat runs over the big dog and then sleeps", "blue bird eats", "a small slow green dog never runs"]
    found = list(cut(enumerate(texts), 4, by_tokens(tokenizer), join))
    words = {word for text in texts for word in text.split()}
    for segment in found:
        assert set(segment.text.split()) <= words
        assert len(tokenizer(segment.text, add_special_tokens=False)["input_ids"]) <= 4
    full = [segment for segment in found if len(segment.text.split()) == 4]
    assert len(full) == (5 if join else 3)
    assert found[2] == (Segment("then sleeps\nblue bird", 0, 1) if join else Segment("then sleeps", 0, 0))
