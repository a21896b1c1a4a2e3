"""The part of a page that shows a selection: pictures, and rows that were kept and dropped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from selectune.common.run_files import RunFiles
from selectune.report import selection_plots as draw
from selectune.report.drawing import Picture, show
from selectune.report.labels import between, label
from selectune.report.labels import number as in_digits
from selectune.report.numbers import count, element
from selectune.report.run_data import RunData
from selectune.report.selection_data import SelectionData
from selectune.verdict.prose import joined

N_EXAMPLES = 10  # of the kept rows, and of the dropped ones
ROUNDING = 5e-10  # scores are rounded to 1e-9
MAX_COLUMNS = 3  # of signals beside a text
PLANE = (
    "A sample of each, on the two directions in which their embeddings vary most. What is near here can be far in the "
    "other directions."
)
COURSE = (
    "The marginal error is the distance of the plan from the target's weights; churn is the share of the lowest rows "
    "that changed since the check before. Distances are regularised, at the same eps."
)


Example = tuple[str, list[str], str]  # number of a row, its values, its text


@dataclass(frozen=True)
class SelectionSection:
    """A selection as a page shows it; without ``scores.parquet`` it has neither pictures nor examples."""

    scored: bool
    pictures: Sequence[Picture] = ()
    columns: Sequence[str] = ()  # of the examples, between the row's number and its text
    examples: Mapping[str, list[Example]] = field(default_factory=dict)  # by kind
    seed: Any = None


def selection_section(run: RunData, folder: Path, prefix: str = "") -> SelectionSection | None:
    """Pictures of a selection, also written to ``figures/`` of a folder, and examples of rows; None without one.

    Raises:
        UserError: a file of the selection is damaged.
    """
    if not run.manifest:
        return None
    selection = SelectionData.read(RunFiles(run.run_dir).selection, run.manifest)
    if selection is None:
        return SelectionSection(False)
    diagnostics = run.manifest.get("diagnostics")
    pictures = show(selection_pictures(selection, diagnostics if isinstance(diagnostics, dict) else {}), folder, prefix)
    signals = list(selection.described.get("signals") or {})[:MAX_COLUMNS]
    bands = [between(selection.intervals.get(name), name) for name in signals]
    columns = [f"{label(name)}{f', kept {band}' if band else ''}" for name, band in zip(signals, bands)]
    return SelectionSection(True, pictures, columns, examples_of(selection, signals), selection.described.get("seed"))


def selection_pictures(selection: SelectionData, diagnostics: dict[str, Any]) -> Iterator[Picture]:
    """The pictures of a selection, in the order of the page; a new kind of picture is one more ``yield`` here."""
    if selection.drawn:
        all_of = "To be kept, a row has to lie inside all the intervals." if len(selection.intervals) > 1 else ""
        left_out = [label(name) for name in selection.scored if name not in selection.drawn]
        note = f"{all_of} {f'Not drawn: {joined(left_out)}.' if left_out else ''}".strip()
        yield Picture("scores", "Scores of the pool, and what was kept", *draw.histograms(selection), note)
    if selection.paired:
        n_drawn, n_rows = len(draw.sampled(selection)), len(selection.selected)
        part = f"Drawn are {count(n_drawn)} of the {count(n_rows)} rows, at random (seed {selection.seed})."
        yield Picture("pairs", "Scores against each other", *draw.pairs(selection), part if n_drawn < n_rows else "")
    if "n_tokens" in selection.signals and np.isfinite(selection.signals["n_tokens"]).any():
        yield Picture("lengths", "Lengths before and after", *draw.lengths(selection))
    if selection.classes:
        yield Picture("classes", "Classes before and after", *draw.shares(selection.classes, "classes"))
    if domains := draw.domain_shares(diagnostics):
        note = draw.came_from(domains)
        yield Picture("domains", "Data sets before and after", *draw.shares(domains, "data sets"), note)
    if places := selection.described.get("map"):
        yield Picture("map", "Pool, target and kept rows", *draw.plane(places), PLANE)
    if solve := draw.transport_of(diagnostics):
        yield Picture("transport", "The transport", *draw.course(solve), COURSE)


def examples_of(selection: SelectionData, signals: Sequence[str]) -> dict[str, list[Example]]:
    """Ten rows that were kept and ten that were dropped, or as many as are known, with the signals that decided.

    ``examples.json`` has rows of each kind for each signal: here they are taken in turn, each row once.
    """
    described = selection.described.get("signals") or {}
    drawn: dict[str, list[list[dict[str, Any]]]] = {"Kept": [], "Dropped": []}
    for name, signal in described.items():
        for kind, rows in signal["rows"].items():
            drawn["Kept" if kind == "kept" else "Dropped"].append([{name: one["value"]} | one for one in rows])
    examples = {}
    for title, lists in drawn.items():
        rows = {one["row_id"]: one for one in reversed(list(_in_turn(lists)))}  # of equal rows the first
        if rows:
            examples[title] = [_example(one, selection, signals) for one in list(reversed(rows.values()))[:N_EXAMPLES]]
    return examples


def _in_turn(lists: list[list[Any]]) -> Iterator[Any]:
    """The first of each list, the second of each, and so on."""
    for place in range(max(map(len, lists), default=0)):
        yield from (some[place] for some in lists if place < len(some))


def _example(one: dict[str, Any], selection: SelectionData, signals: Sequence[str]) -> Example:
    """A row of the pool: its values, with those outside of what was kept marked, and its text."""
    cells: list[str] = []
    for name in signals:
        known = name in selection.signals
        value = float(selection.signals[name][one["row_id"]]) if known else one.get(name)
        low, high = selection.intervals.get(name, (-np.inf, np.inf))
        width = float(high - low if name in selection.intervals else np.ptp(selection.known(name)[0]) if known else 10)
        shown = "–" if value is None else element(value, partial(in_digits, width=width))
        outside = "too low" if (value or 0) < low - ROUNDING else "too high" if (value or 0) > high + ROUNDING else ""
        cells.append(shown + f" ({outside})" if outside else shown)
    return count(one["row_id"]), cells, one["text"]
