"""A picture of a report: in the page, with its text alternative, and as a file beside the page."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from selectune.paths import atomic_file
from selectune.report.drawing import png

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Picture:
    """A picture.

    Args:
        name: of its file, ``figures/<name>.png`` beside the page.
        title: above it.
        figure: as drawn.
        alt: what it shows, in words and numbers.
        note: below it.
        svg: what stands in the page instead of the file, with the same text alternative in it.
    """

    name: str
    title: str
    figure: Figure
    alt: str
    note: str = ""
    svg: str = ""


def shown(pictures: Iterable[Picture], folder: Path, prefix: str = "") -> str:
    """The pictures as HTML; each is written to ``figures/<prefix><name>.png`` of a folder as well."""
    return "".join(_shown(picture, folder / "figures" / f"{prefix}{picture.name}.png") for picture in pictures)


def _shown(picture: Picture, file: Path) -> str:
    content = png(picture.figure)
    with atomic_file(file) as partial:
        partial.write_bytes(content)
    width, height = (round(96 * inches) for inches in picture.figure.get_size_inches())
    inside = picture.svg or (
        f'<img src="data:image/png;base64,{b64encode(content).decode()}" alt="{escape(picture.alt)}" '
        f'width="{width}" height="{height}">'
    )
    note = f'<p class="note">{escape(picture.note)}</p>' if picture.note else ""
    return f"<figure><figcaption>{escape(picture.title)}</figcaption>{inside}{note}</figure>"
