"""Drawing helpers that all pictures share: colours, style, panels, legend, files."""

from __future__ import annotations

import math
import warnings
from base64 import b64encode
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selectune.common.files import atomic_file
from selectune.common.run_files import RunFiles
from selectune.costs.saving import Unit
from selectune.report.numbers import UNIT_FORMATS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# Okabe & Ito (2008): distinct for all kinds of colour vision and in grey.
COLOURS = {"full": "#8b9099", "selection": "#e69f00", "training": "#0072b2", "total": "#2b2f36"}
COLOURS |= {"saved": "#009e73", "lost": "#d55e00", "shared": "#bfc4cc"}
INK = COLOURS["total"]
FAINT = "#a9aeb7"  # dots need more ink than bars
WIDTH = 9.0  # inches, of 96 pixels of the page each
DPI = 192  # twice that, for sharp screens
STYLE: Any = {  # of matplotlib
    "font.size": 10.5, "axes.labelsize": 10.5, "axes.titlesize": 10.5, "legend.fontsize": 10.5, "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5, "axes.edgecolor": INK, "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK,
    "ytick.color": INK, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
    "grid.alpha": 0.25, "grid.linewidth": 0.6, "text.parse_math": False,  # a class may be called "$5 to $10"
}  # fmt: skip


@contextmanager
def styled() -> Iterator[None]:
    """Draw in our style, whatever the user's matplotlibrc says, and restore theirs."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def panels(n: int, height: float, width: float = WIDTH, columns: int | None = None) -> tuple[Figure, list[Axes]]:
    """A figure of n panels, by default three in a row, but two of two or four, and one alone.

    Args:
        n: panels.
        height: of a panel, inches.
        width: of the figure, inches.
        columns: panels in a row.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    columns = columns or {1: 1, 2: 2, 4: 2}.get(n, 3)
    rows = math.ceil(n / columns)
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08)
    figure = Figure(figsize=(width, height * rows + 0.4), dpi=DPI, layout=layout)
    return figure, [figure.add_subplot(rows, columns, place + 1) for place in range(n)]


def legend(figure: Figure, columns: int | None = None, markerscale: float = 2, loc: Any = "outside upper left") -> None:
    """One legend outside all panels, in a line or in so many columns."""
    handles = {label: handle for axis in figure.axes for handle, label in zip(*axis.get_legend_handles_labels())}
    if handles:
        columns = columns or len(handles)
        figure.legend(handles.values(), handles.keys(), loc=loc, ncols=columns, markerscale=markerscale)


def by_cost(axis: Axes, unit: Unit) -> None:
    """Ticks of a few costs in their unit along the bottom, and a grid."""
    from matplotlib.ticker import MaxNLocator

    if axis.get_xscale() == "linear":
        axis.xaxis.set_major_locator(MaxNLocator(4))
    axis.xaxis.set_major_formatter(lambda value, _: UNIT_FORMATS[unit](value))
    axis.grid(True)


def whole_numbers(axis: Axis) -> None:
    """Ticks at whole numbers, with commas between thousands."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(5, integer=True))
    axis.set_major_formatter("{x:,.0f}")


@styled()
def png(figure: Figure) -> bytes:
    """The picture as PNG; the same picture gives the same bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas, buffer = FigureCanvasAgg(figure), BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # a class in another script; alt has it
        canvas.draw()  # once, where savefig draws twice
    # A palette takes a third of the space of true colours, and pictures of few colours look the same.
    colours = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).quantize(128, dither=Image.Dither.NONE)
    colours.save(buffer, format="png", dpi=(DPI, DPI), optimize=True)
    return buffer.getvalue()


def write_png(figure: Figure, file: Path) -> bytes:
    """Write a picture whole or not at all; returns the content of the file."""
    content = png(figure)
    with atomic_file(file) as partial:
        partial.write_bytes(content)
    return content


@dataclass(frozen=True)
class Picture:
    """A picture: the name of its file, the title above it, its text alternative, the note below it, and its PNG."""

    name: str
    title: str
    figure: Figure
    alt: str
    note: str = ""
    content: str = ""  # the PNG in base64, once it is drawn

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels of the page."""
        width, height = self.figure.get_size_inches()
        return round(96 * width), round(96 * height)


def show(pictures: Iterable[Picture], folder: Path, prefix: str = "") -> list[Picture]:
    """Draw pictures for a page; each is also written to ``figures/<prefix><name>.png`` of a folder."""
    files = ((picture, RunFiles(folder).figures / f"{prefix}{picture.name}.png") for picture in pictures)
    return [replace(one, content=b64encode(write_png(one.figure, file)).decode()) for one, file in files]
