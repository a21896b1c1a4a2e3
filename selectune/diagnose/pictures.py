"""Pictures of a diagnosis: shares of its findings, and a map of its rows; each with its text alternative."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from selectune.data.splits import other_rows
from selectune.diagnose.diagnosis import TITLES, by_weight
from selectune.report.drawing import COLOURS, FAINT, INK, Picture, legend, panels, styled
from selectune.report.numbers import count, share

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GREY = COLOURS["full"]
# Colours of Okabe & Ito (2008); markers tell apart what a print in grey does not.
STYLES = {
    "empty": (GREY, "x"),
    "exact_copy": ("#0072b2", "o"),
    "near_copy": ("#56b4e9", "o"),
    "leakage": ("#009e73", "D"),
    "truncated": (GREY, "+"),
    "not_language": ("#e69f00", "^"),
    "off_topic": ("#cc79a7", "s"),
    "label_issue": ("#d55e00", "X"),
    "rare_class": ("#f0e442", "v"),
}
THIN = ("x", "+")  # markers that are lines


def pictures_of(content: Mapping[str, Any], named: Mapping[str, np.ndarray]) -> Iterator[Picture]:
    """The pictures of a diagnosis, in the order of the page.

    Args:
        content: of ``diagnosis.json``.
        named: row ids that each finding names.
    """
    note = (
        "Estimated shares of the rows, with 95 % intervals for the source that the pool was drawn from. A share counts "
        "rows that cannot be named one by one, too."
    )
    yield Picture("shares", "Share of the rows", *shares(content["findings"]), note)
    plane = content["plane"]
    if plane:
        drawn, n_rows = len(plane["rows"]), content["n_rows"]
        part = f"A sample of {count(drawn)} of the" if drawn < n_rows else "All"
        note = (
            f"{part} {count(n_rows)} rows, on the two directions in which their embeddings vary most. A row with "
            "several findings has the colour of the one that names most rows. What is near here can be far in the "
            "other directions."
        )
        yield Picture("map", "Map of the rows", *row_map(plane, colours_of(content, named)), note)


@styled()
def shares(findings: Mapping[str, Any]) -> tuple[Figure, str]:
    """The share of each finding that was looked for, with its interval."""
    figure, (axis,) = panels(1, 0.6 + 0.36 * len(findings))
    words = []
    for place, (name, one) in enumerate(findings.items()):
        low, high = min(one["low"], one["share"]), max(one["high"], one["share"])
        axis.barh(place, 100 * one["share"], 0.6, color=STYLES[name][0])
        ends = [100 * low, 100 * high]
        axis.plot(ends, [place, place], color=INK, lw=1.4, marker="|", ms=7)
        numbers = f"{share(one['share'])} ({share(one['low'])} to {share(one['high'])})"
        beside: Any = {"xytext": (8, 0), "textcoords": "offset points", "va": "center", "fontsize": 9}
        axis.annotate(numbers, (100 * high, place), **beside)
        words.append(f"{TITLES[name].lower()} {numbers}")
    axis.set_yticks(range(len(findings)), [TITLES[name] for name in findings])
    axis.set_ylim(len(findings) - 0.4, -0.6)  # the first on top
    widest = 100 * max((max(one["high"], one["share"]) for one in findings.values()), default=0.0)
    axis.set_xlim(0, 1.35 * max(widest, 1.0))  # with room for the numbers
    axis.set_xlabel("share of rows (%)")
    return figure, f"Shares of the rows with 95 % intervals: {'; '.join(words)}."


def colours_of(content: Mapping[str, Any], named: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rows of the map, as positions in it, by the finding that they are coloured by: of several, that of most rows."""
    rows = np.array(content["plane"]["rows"], dtype=np.int64)
    free = np.ones(len(rows), dtype=bool)
    coloured = {}
    for name in by_weight(content["findings"]):
        taken = free & np.isin(rows, named.get(name, []))
        coloured[name] = np.flatnonzero(taken)
        free &= ~taken
    return coloured


@styled()
def row_map(plane: Mapping[str, Any], coloured: Mapping[str, np.ndarray]) -> tuple[Figure, str]:
    """Rows on the plane of largest variance, coloured by finding.

    Args:
        plane: ``places`` of the rows, and the shares of the variance that it has ``explained``.
        coloured: of `colours_of`.
    """
    figure, (axis,) = panels(1, 4.8)
    places = np.array(plane["places"], dtype=np.float64).reshape(-1, 2)
    rest = other_rows(len(places), *coloured.values())
    axis.scatter(
        places[rest, 0], places[rest, 1], s=9, color=FAINT, lw=0, alpha=0.7, label=f"no finding ({count(len(rest))})"
    )
    words = [f"{count(len(rest))} without a finding"]
    for name, rows in coloured.items():  # the rarest last, on top of the others
        if not len(rows):
            continue
        colour, marker = STYLES[name]
        edges: dict[str, Any] = {"lw": 1.4} if marker in THIN else {"lw": 0.5, "edgecolors": INK}
        title = f"{TITLES[name].lower()} ({count(len(rows))})"
        axis.scatter(places[rows, 0], places[rows, 1], s=34, color=colour, marker=marker, label=title, **edges)
        words.append(f"{count(len(rows))} with {TITLES[name].lower()}")
    first, second = (share(part) for part in [*plane["explained"], 0.0, 0.0][:2])
    axis.set(xlabel=f"first component ({first} of the variance)", ylabel=f"second component ({second})")
    axis.set_aspect("equal", adjustable="datalim")
    legend(figure, columns=3, markerscale=1.2)
    return figure, f"Rows on their first two principal components: {', '.join(words)}."
