"""The parts of a table's page, whatever format it is written in.

Texts may have `code` and **bold** in them, as Markdown marks them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Heading:
    """A heading.

    Args:
        text: of it.
        level: 1 for the page's own, 2 for those of its parts.
    """

    text: str
    level: int = 2


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    items: list[str]


@dataclass(frozen=True)
class Picture:
    """A picture.

    Args:
        file: beside the page.
        alternative: what it shows, in words.
    """

    file: str
    alternative: str


@dataclass(frozen=True)
class Cells:
    """Headings and rows.

    Args:
        head: the headings.
        rows: of as many cells each.
        caption: for formats that have captions.
        n_words: columns of words, at the left; the others are of numbers.
    """

    head: list[str]
    rows: list[list[str]]
    caption: str = ""
    n_words: int = 1


Block = Heading | Text | Bullets | Picture | Cells
