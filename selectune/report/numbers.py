"""Numbers in units that people read."""

from __future__ import annotations

import math
from collections.abc import Callable

from markupsafe import Markup

from selectune.costs.saving import Unit

Formatter = Callable[[float | None], str]
SPACE = "\N{NO-BREAK SPACE}"
PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z")
UNKNOWN = "unknown"


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


def signed_share(value: float | None) -> str:
    """A relative change in per cent: "+4.0 %"."""
    return f"{'+' if (value or 0) > 0 else ''}{share(value)}"


def three_digits(value: float) -> str:
    """Three significant digits, but at most two behind the point: "0.04", "4.20", "42.0", "4,200"."""
    size = abs(value)
    return "0" if size == 0 else f"{value:,.{2 if size < 9.995 else 1 if size < 99.95 else 0}f}"


UNIT_FORMATS: dict[Unit, Formatter] = {"flops": flop, "device_s": seconds}


def element(value: float | None, write: Formatter) -> Markup:
    """A number as a formatter writes it, in an element that holds its exact value; in none where it is not known."""
    if value is None or not math.isfinite(value):
        return Markup.escape(write(value))
    return Markup('<data value="{}">{}</data>').format(repr(value), write(value))
