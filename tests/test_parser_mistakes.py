"""A mistake in arguments or a config is one sentence: what, where, and what may have been meant; exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from selectune.common.errors import UserError
from selectune.common.parser_errors import MOST_VALUES, check_aliases, sentence_of
from tests.bad_input.parser import bomb
from tests.mistakes import mistake


def test_aliases_are_fine_where_they_are_few(tmp_path: Path) -> None:
    check_aliases("a: &a [1, 2]\nb: *a\nc: {<<: &d {x: 1}, y: *d}\n", "few.yaml")
    check_aliases(bomb(5), "some.yaml")
    check_aliases("a: [*", "broken.yaml")
    with mistake(UserError, "many.yaml", f"{MOST_VALUES:,}"):
        check_aliases(bomb(6), "many.yaml")


@pytest.mark.parametrize("message", ["", "something new", 'Parser key "a": of a new kind', "unrecognized arguments: "])
def test_a_message_of_another_wording_is_shown_as_it_is(message: str) -> None:
    sentence = sentence_of(message, ["a"], "fit")
    assert sentence.endswith((".", "?"))
    assert message.strip().split(":")[-1].strip() in sentence or "a cannot be" in sentence
