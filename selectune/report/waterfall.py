"""The waterfall of costs: as inline SVG for the page, and by matplotlib for a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Literal

from selectune.report.drawing import panels, styled
from selectune.report.figures import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Kind = Literal["full", "selection", "training", "total", "saved", "lost", "shared"]


@dataclass(frozen=True)
class Bar:
    """One step of a waterfall, from `start` to `end` in the waterfall's unit.

    Args:
        label: beside the bar.
        start: where it begins.
        end: where it ends.
        kind: what it shows, which gives its colour.
        estimated: whether it was not measured; such a bar is hatched.
    """

    label: str
    start: float
    end: float
    kind: Kind
    estimated: bool = False


def value_of(bar: Bar, told: Callable[[float | None], str]) -> str:
    """What a bar comes to, a saving with a minus and a loss with a plus."""
    sign = {"saved": "\N{MINUS SIGN}", "lost": "+"}.get(bar.kind, "")
    return sign + told(abs(bar.end - bar.start))


def waterfall(bars: Sequence[Bar], title: str, name: str, told: Callable[[float | None], str]) -> tuple[str, str]:
    """An SVG picture of costs that add up, with its text alternative in it and beside it.

    Args:
        bars: from top to bottom.
        title: of the picture.
        name: unique in the page, for the ids.
        told: writes a value with its unit.
    """
    left, width, row, right = 190, 420, 30, 130
    most = max([abs(edge) for bar in bars for edge in (bar.start, bar.end)], default=0) or 1.0
    height = row * len(bars) + 8

    def at(value: float) -> float:
        return left + width * value / most

    parts, words = [], []
    for index, bar in enumerate(bars):
        top = 4 + row * index
        low, high = sorted((at(bar.start), at(bar.end)))
        value = value_of(bar, told)
        words.append(f"{bar.label}{' (estimated)' if bar.estimated else ''}: {value}")
        fill = f"url(#{name}-{bar.kind})" if bar.estimated else COLOURS[bar.kind]
        parts.append(
            f'<text x="{left - 10}" y="{top + 19}" text-anchor="end">{escape(bar.label)}</text>'
            f'<rect x="{low:.1f}" y="{top + 4}" width="{max(high - low, 1.5):.1f}" height="{row - 10}" '
            f'fill="{fill}" stroke="{COLOURS[bar.kind]}"/>'
            f'<text class="value" x="{max(high, low + 1.5) + 8:.1f}" y="{top + 19}">{escape(value)}</text>'
        )
        if index + 1 < len(bars) and bar.end in (bars[index + 1].start, bars[index + 1].end):  # it takes up there
            x = at(bar.end)
            parts.append(
                f'<path d="M{x:.1f} {top + row - 6}V{top + row + 4}" stroke="#8b9099" stroke-dasharray="2 2"/>'
            )
    hatches = "".join(
        f'<pattern id="{name}-{kind}" width="6" height="6" patternUnits="userSpaceOnUse" '
        f'patternTransform="rotate(45)"><rect width="6" height="6" fill="#fff"/>'
        f'<rect width="3" height="6" fill="{COLOURS[kind]}"/></pattern>'
        for kind in sorted({bar.kind for bar in bars if bar.estimated})
    )
    alt = f"{'; '.join(words)}."
    svg = (
        f'<svg role="img" viewBox="0 0 {left + width + right} {height}" aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-desc">{escape(alt)}</desc>'
        f"<defs>{hatches}</defs>"
        f'<path d="M{left} 0V{height}" stroke="#8b9099"/>{"".join(parts)}</svg>'
    )
    return svg, alt


@styled()
def waterfall_figure(bars: Sequence[Bar], told: Callable[[float | None], str]) -> Figure:
    """The same picture by matplotlib, for a file."""
    figure, (axis,) = panels(1, 0.32 * len(bars))
    most = max([abs(edge) for bar in bars for edge in (bar.start, bar.end)], default=0) or 1.0
    for index, bar in enumerate(bars):
        low, high = sorted((bar.start, bar.end))
        colour = COLOURS[bar.kind]
        look: dict[str, Any] = {"color": "white", "hatch": "////"} if bar.estimated else {"color": colour}
        axis.barh(index, max(high - low, most / 300), 0.66, left=low, **look | {"edgecolor": colour})
        axis.text(high + most / 60, index, value_of(bar, told), va="center", fontweight="bold")
        if index + 1 < len(bars) and bar.end in (bars[index + 1].start, bars[index + 1].end):  # it takes up there
            axis.plot([bar.end, bar.end], [index + 0.33, index + 0.67], color=COLOURS["full"], lw=1, ls=":")
    names = [f"{bar.label}{' (estimated)' if bar.estimated else ''}" for bar in bars]
    axis.set_yticks(range(len(bars)), names)
    axis.tick_params(left=False)
    axis.set(xlim=(0, most * 1.2), ylim=(len(bars) - 0.4, -0.6), xticks=[])
    axis.spines["bottom"].set_visible(False)
    return figure
