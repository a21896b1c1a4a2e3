"""Text of users on a terminal: what a file says must not move the cursor, set a title or turn the line round."""

from __future__ import annotations

import re

# C0 but the tab and the end of a line, DEL, C1, and what changes the direction of what follows.
CONTROLS = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069]")


def printable(text: str) -> str:
    r"""A text with its control characters written out, such as ``\x1b`` for an escape."""
    return CONTROLS.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def plain(text: str) -> str:
    """A text as `rich` prints it: no control characters, and no markup of its own."""
    from rich.markup import escape

    return escape(printable(text))
