"""Published figures beside the lines of a table, each in the figure's unit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selectune.report.numbers import flop
from selectune.tables.blocks import Block, Cells, Text
from selectune.tables.page import UNKNOWN, difference, signed
from selectune.tables.published import WHOLE, Figure, Figures, scale_to
from selectune.tables.results import write_rows
from selectune.tables.summary import Group, Line, columns_of

HEADINGS = (
    "method", "ours", "n", "published", "ours less it", "held-out rows", "difference to random", "p (Holm)",
    "total cost",
)  # fmt: skip
COLUMNS = (
    "task", "budget", "metric", "method", "unit", "ours", "sd", "n", "n_rows", "published", "published_sd",
    "difference", "versus_random", "low", "high", "p", "p_holm", "over_rows", "total_flops", "total_device_s", "table",
    "setting", "column", "row", "source", "caveat", "protocol",
)  # fmt: skip
NOTE = (
    "Other models, pools, sizes and seeds than ours, unless the config says so: what differs is no failure to "
    "reproduce, and what agrees no success."
)


@dataclass(frozen=True)
class Comparison:
    """A line of ours beside a published figure. Its numbers are in the figure's unit.

    Args:
        group: of the line.
        line: of ours.
        figure: that is published.
        table: of the paper.
    """

    group: Group
    line: Line
    figure: Figure
    table: str

    @property
    def scale(self) -> float:
        """From our metric to the unit."""
        return scale_to(self.group.metric, self.figure.unit)

    @property
    def ours(self) -> float:
        """Our mean over seeds."""
        return self.scale * self.line.mean

    @property
    def sd(self) -> float | None:
        """Of ours over seeds; None for one seed."""
        return None if self.line.sd is None else self.scale * self.line.sd

    @property
    def less(self) -> float:
        """Ours less what is published."""
        return self.ours - self.figure.value

    @property
    def n_rows(self) -> int | None:
        """Held-out rows of our metric; None where unknown."""
        gap = self.line.versus_random
        return gap.n_rows if gap is not None and gap.n_rows else self.line.n_rows

    def shown(self) -> list[str]:
        """The cells of `HEADINGS`."""
        line, figure, gap = self.line, self.figure, self.line.versus_random
        digits = 3 if figure.unit == WHOLE else 1

        def text(value: float) -> str:
            return f"{value:.{digits}f}"

        return [
            line.method,
            text(self.ours) + ("" if self.sd is None else f" ± {text(self.sd)}"),
            str(line.n),
            f"{figure.value:g}" + (f" ± {figure.sd}" if figure.sd else ""),
            signed(self.less, text),
            UNKNOWN if self.n_rows is None else f"{self.n_rows:,}",
            difference(gap, line.n, lambda value: text(self.scale * value)),
            UNKNOWN if gap is None or gap.p_holm is None else f"{gap.p_holm:.2g}",
            flop(line.flops),
        ]

    def row(self, protocol: str) -> dict[str, Any]:
        """The row of ``published.csv``."""
        figure, line = self.figure, self.line
        return {
            "task": self.group.task, "budget": self.group.budget, "metric": self.group.metric, "method": line.method,
            "unit": figure.unit, "ours": self.ours, "sd": self.sd, "n": line.n, "n_rows": self.n_rows,
            "published": figure.value, "published_sd": figure.sd, "difference": self.less,
            "total_flops": line.flops, "total_device_s": line.device_s, "table": self.table, "setting": figure.setting,
            "column": figure.column, "row": figure.row, "source": figure.source, "caveat": figure.caveat,
            "protocol": protocol, **columns_of(line.versus_random, self.scale),
        }  # fmt: skip


def compared(group: Group, figures: Figures) -> list[Comparison]:
    """The lines of a group, by its metric and further ones, that have a published figure."""
    found = []
    for one in (group, *group.further):
        for line in one.lines:
            figure = figures.find(group.task, group.metric, one.metric, group.budget, line.method)
            if figure is not None:
                found.append(Comparison(one, line, figure, figures.published.table))
    return found


def beside(comparisons: list[Comparison]) -> list[Block]:
    """Text and table of the comparisons of a group with one published table; nothing where there are none."""
    if not comparisons:
        return []
    columns = {one.figure.column: one.figure.unit for one in comparisons}
    first, several = comparisons[0].figure, len(columns) > 1
    caveats = dict.fromkeys(one.figure.caveat for one in comparisons if one.figure.caveat)
    what = "" if several else f"{first.column} ({first.unit}); "
    head = ["column", *HEADINGS] if several else list(HEADINGS)
    rows = [
        ([f"{one.figure.column} ({one.figure.unit})"] if several else []) + one.shown()
        for column in columns
        for one in comparisons
        if one.figure.column == column
    ]
    settings = " and ".join(dict.fromkeys(one.figure.setting for one in comparisons))
    said = " ".join([f"Published: {first.source}, {what}{settings}.", *caveats, NOTE])
    return [Text(said), Cells(head, rows, f"Beside {first.source}", 2 if several else 1)]


def write_comparisons(comparisons: Iterable[Comparison], file: Path, protocol: str = "") -> None:
    """Write ``published.csv``, a row a line of ours with a published figure; all but costs in its ``unit``."""
    write_rows(COLUMNS, [one.row(protocol) for one in comparisons], file)
