"""Plain values that the templates show: numbers with their exact value, rows and tables of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from selectune.report.numbers import Formatter


@dataclass(frozen=True)
class Number:
    """A number in words, and its exact value for programs, which is empty where it is not known."""

    text: str
    exact: str = ""


Cell = str | Number | list[str | Number]


def number(value: float | None, write: Formatter) -> Number:
    """A number as a formatter writes it, which writes None too."""
    known = value is not None and math.isfinite(value)
    return Number(write(value), repr(value) if known else "")


def cell(value: float | None, write: Formatter) -> Cell:
    """A number as a formatter writes it; a dash for None."""
    return "–" if value is None else number(value, write)


@dataclass(frozen=True)
class Row:
    """A row of a table: its name, its cells, its class, and small print below the name."""

    name: str
    cells: Sequence[Cell]
    kind: str = ""
    mark: str = ""


@dataclass(frozen=True)
class Group:
    """Rows of a table that belong together, with the title above them and their class."""

    rows: Sequence[Row]
    title: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table of a class; `above` holds titles over several columns, each with their number."""

    kind: str
    columns: Sequence[str]
    groups: Sequence[Group]
    above: Sequence[tuple[str, int]] = ()
