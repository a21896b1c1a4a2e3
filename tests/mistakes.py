"""Errors and warnings by class, fields and the names and numbers in their message, so that it can be reworded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


def names(message: str, *named: object) -> bool:
    """Whether a message has all of these in it as whole words: options, columns, files, classes, numbers."""
    return all(re.search(rf"(?<!\w){re.escape(str(each))}(?!\w)", message) for each in named)


@contextmanager
def mistake(kind: type[Exception], *named: object, **fields: Any) -> Iterator[pytest.ExceptionInfo[Any]]:
    """A block that ends in an error of exactly this class, in one line that names these, with these fields."""
    with pytest.raises(kind) as caught:
        yield caught
    assert type(caught.value) is kind
    message = str(caught.value)
    assert names(message, *named), f"{named} in: {message}"
    assert "\n" not in message
    assert {name: getattr(caught.value, name) for name in fields} == fields


@contextmanager
def warned(kind: type[Warning], *named: object) -> Iterator[pytest.WarningsRecorder]:
    """A block in which a warning of this class names these."""
    with pytest.warns(kind) as caught:
        yield caught
    messages = [str(warning.message) for warning in caught if issubclass(warning.category, kind)]
    assert any(names(message, *named) for message in messages), f"{named} in: {messages}"
