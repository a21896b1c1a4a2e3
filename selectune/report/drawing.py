"""What all pictures that matplotlib draws have in common: style, panels, legend, and the file that becomes of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

from selectune.common.run_files import RunFiles
from selectune.report.numbers import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from selectune.common.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure


WIDTH = 9.0  # inches, of 96 pixels of the page each
DPI = 192  # twice that, for sharp screens
INK = COLOURS["total"]
STYLE: Any = {  # of matplotlib
    "font.size": 10.5, "axes.labelsize": 10.5, "axes.titlesize": 10.5, "legend.fontsize": 10.5, "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5, "axes.edgecolor": INK, "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK,
    "ytick.color": INK, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
    "text.parse_math": False,  # a class may be called "$5 to $10"
}  # fmt: skip


@contextmanager
def styled() -> Iterator[None]:
    """Our style whatever a user's own matplotlibrc says, and theirs again afterwards."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


@styled()
def png(figure: Figure) -> bytes:
    """The picture as a file; the same picture gives the same bytes."""
    import warnings

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.image import imsave

    canvas, buffer = FigureCanvasAgg(figure), BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # a class in another script; alt has it
        canvas.draw()  # once, where savefig draws twice
    nameless: Any = {"Software": None}
    imsave(buffer, canvas.buffer_rgba(), format="png", dpi=DPI, metadata=nameless)
    return buffer.getvalue()


def panels(n: int, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of n panels of a height in inches: three beside each other, but two of two or four, and one alone."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    columns = {1: 1, 2: 2, 4: 2}.get(n, 3)
    rows = math.ceil(n / columns)
    figure = Figure(
        figsize=(WIDTH, height * rows + 0.4), dpi=DPI, layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08)
    )
    return figure, [figure.add_subplot(rows, columns, place + 1) for place in range(n)]


def legend(figure: Figure, axes: list[Axes], columns: int | None = None, markerscale: float = 2) -> None:
    """One legend above all panels, in a line or in so many columns."""
    found = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels())}
    if found:
        figure.legend(
            found.values(), found.keys(), loc="outside upper left", ncols=columns or len(found), markerscale=markerscale
        )


def counting(axis: Axis) -> None:
    """Ticks at whole numbers, with commas between thousands."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    axis.set_major_locator(MaxNLocator(5, integer=True))
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


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
    return "".join(_shown(picture, RunFiles(folder).figures / f"{prefix}{picture.name}.png") for picture in pictures)


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
