"""Figures of a report: numbers in units that people read, and the waterfall of costs as inline SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

SPACE = "\N{NO-BREAK SPACE}"
PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z")
UNKNOWN = "unknown"

# Okabe & Ito (2008), apart for all kinds of colour vision and in grey.
COLOURS = {"full": "#8b9099", "selection": "#e69f00", "training": "#0072b2", "total": "#2b2f36"}
COLOURS |= {"saved": "#009e73", "lost": "#d55e00", "shared": "#bfc4cc"}
Kind = Literal["full", "selection", "training", "total", "saved", "lost", "shared"]


def si(value: float | None, unit: str) -> str:
    """A quantity with three digits and a decimal prefix: ``si(2.91e12, "FLOP")`` is "2.91 TFLOP"."""
    if value is None:
        return UNKNOWN
    power = 0
    while abs(value) >= 999.5 and power < len(PREFIXES) - 1:
        value, power = value / 1000, power + 1
    digits = "0" if value == 0 else f"{value:,.0f}" if not power and value == int(value) else three_digits(value)
    return f"{digits}{SPACE}{PREFIXES[power]}{unit}"


def flop(value: float | None) -> str:
    """FLOPs: "2.91 TFLOP"."""
    return si(value, "FLOP")


def memory(value: float | None) -> str:
    """Bytes: "812 MB"."""
    return si(value, "B")


def seconds(value: float | None) -> str:
    """Seconds as ms, s, min or h: "83.1 s", "12.4 min"."""
    if value is None:
        return UNKNOWN
    if value == 0:
        return f"0{SPACE}s"
    units = ((7200, 3600, "h"), (600, 60, "min"), (0.995, 1, "s"), (0, 0.001, "ms"))
    size, unit = next((size, unit) for least, size, unit in units if abs(value) >= least)
    return f"{three_digits(value / size)}{SPACE}{unit}"


def count(value: float | None) -> str:
    """A whole number: "12,345"."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def share(value: float | None) -> str:
    """A fraction in per cent: "16.0 %"."""
    return UNKNOWN if value is None else f"{100 * value:.1f}{SPACE}%".replace("-", "\N{MINUS SIGN}")


def three_digits(value: float) -> str:
    """Three significant digits, but at most two behind the point: "0.04", "4.20", "42.0", "4,200"."""
    size = abs(value)
    return "0" if size == 0 else f"{value:,.{2 if size < 9.995 else 1 if size < 99.95 else 0}f}"


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


def waterfall(bars: Sequence[Bar], title: str, name: str, told: Callable[[float | None], str]) -> str:
    """An SVG picture of costs that add up, with its text alternative.

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
        sign = {"saved": "\N{MINUS SIGN}", "lost": "+"}.get(bar.kind, "")
        value = sign + told(abs(bar.end - bar.start))
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
    return (
        f'<svg role="img" viewBox="0 0 {left + width + right} {height}" aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-desc">{escape("; ".join(words))}.</desc>'
        f"<defs>{hatches}</defs>"
        f'<path d="M{left} 0V{height}" stroke="#8b9099"/>{"".join(parts)}</svg>'
    )
