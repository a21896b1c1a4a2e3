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


@dataclass(frozen=True)
class _Place:
    """Where a bar stands, in the waterfall's unit, and what is written beside it; `step` is where the next takes up."""

    bar: Bar
    low: float
    high: float
    name: str
    value: str
    step: float | None


def _placed(bars: Sequence[Bar], told: Callable[[float | None], str]) -> tuple[list[_Place], float]:
    """The bars' places, and the largest value, over 0."""
    places = []
    for bar, after in zip(bars, [*bars[1:], None]):
        low, high = sorted((bar.start, bar.end))
        step = bar.end if after is not None and bar.end in (after.start, after.end) else None
        name = f"{bar.label}{' (estimated)' if bar.estimated else ''}"
        places.append(_Place(bar, low, high, name, value_of(bar, told), step))
    return places, max([abs(edge) for place in places for edge in (place.low, place.high)], default=0) or 1.0


def waterfall(bars: Sequence[Bar], title: str, name: str, told: Callable[[float | None], str]) -> tuple[str, str]:
    """An SVG picture of costs that add up, with its text alternative in it and beside it.

    Args:
        bars: from top to bottom.
        title: of the picture.
        name: unique in the page, for the ids.
        told: writes a value with its unit.
    """
    places, most = _placed(bars, told)
    left = max([190, *(24 + round(7.4 * len(bar.label)) for bar in bars)])  # room for the longest label
    width, row, right = 610 - left, 30, 130
    height = row * len(bars) + 8

    def at(value: float) -> float:
        return left + width * value / most

    parts = []
    for index, place in enumerate(places):
        top, colour = 4 + row * index, COLOURS[place.bar.kind]
        low, high = at(place.low), at(place.high)
        fill = f"url(#{name}-{place.bar.kind})" if place.bar.estimated else colour
        parts.append(
            f'<text x="{left - 10}" y="{top + 19}" text-anchor="end">{escape(place.bar.label)}</text>'
            f'<rect x="{low:.1f}" y="{top + 4}" width="{max(high - low, 1.5):.1f}" height="{row - 10}" '
            f'fill="{fill}" stroke="{colour}"/>'
            f'<text class="value" x="{max(high, low + 1.5) + 8:.1f}" y="{top + 19}">{escape(place.value)}</text>'
        )
        if place.step is not None:
            parts.append(
                f'<path d="M{at(place.step):.1f} {top + row - 6}V{top + row + 4}" stroke="#8b9099" '
                'stroke-dasharray="2 2"/>'
            )
    hatches = "".join(
        f'<pattern id="{name}-{kind}" width="6" height="6" patternUnits="userSpaceOnUse" '
        f'patternTransform="rotate(45)"><rect width="6" height="6" fill="#fff"/>'
        f'<rect width="3" height="6" fill="{COLOURS[kind]}"/></pattern>'
        for kind in sorted({bar.kind for bar in bars if bar.estimated})
    )
    alt = f"{'; '.join(f'{place.name}: {place.value}' for place in places)}."
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
    places, most = _placed(bars, told)
    for index, place in enumerate(places):
        colour = COLOURS[place.bar.kind]
        look: dict[str, Any] = {"color": "white", "hatch": "////"} if place.bar.estimated else {"color": colour}
        axis.barh(index, max(place.high - place.low, most / 300), 0.66, left=place.low, **look | {"edgecolor": colour})
        axis.text(place.high + most / 60, index, place.value, va="center", fontweight="bold")
        if place.step is not None:
            axis.plot([place.step] * 2, [index + 0.33, index + 0.67], color=COLOURS["full"], lw=1, ls=":")
    axis.set_yticks(range(len(bars)), [place.name for place in places])
    axis.tick_params(left=False)
    axis.set(xlim=(0, most * 1.2), ylim=(len(bars) - 0.4, -0.6), xticks=[])
    axis.spines["bottom"].set_visible(False)
    return figure
