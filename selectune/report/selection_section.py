"""The part of a page that shows a selection: pictures in the page and beside it, and rows as examples."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from selectune.common.run_files import RunFiles
from selectune.report import selection_plots as draw
from selectune.report.drawing import Picture, show
from selectune.report.html_tables import data, group_row, row, table
from selectune.report.labels import between, joined, label, number
from selectune.report.numbers import count
from selectune.report.run_data import RunData
from selectune.report.selection_data import SelectionData

KINDS = {"kept": "kept", "too_low": "too low", "too_high": "too high", "not_kept": "not kept"}
PLANE = (
    "A sample of each, on the two directions in which their embeddings vary most together. What is near here can be "
    "far in the other directions."
)
COURSE = (
    "The marginal error says how far the plan still is from the target's weights; churn, what part of the lowest rows "
    "changed since the iteration before that was looked at. Distances are regularised, at the same eps."
)


def selection_section(run: RunData, folder: Path, prefix: str = "") -> str:
    """Pictures of a selection, also written to ``figures/`` of a folder, and examples of rows; empty without one.

    Raises:
        UserError: a file of the selection is damaged.
    """
    if not run.manifest:
        return ""
    selection = SelectionData.read(RunFiles(run.run_dir).selection, run.manifest)
    if selection is None:
        return "<p>There is no selection/scores.parquet, so there are no pictures of the rows.</p>"
    diagnostics = run.manifest.get("diagnostics")
    pictures = selection_pictures(selection, diagnostics if isinstance(diagnostics, dict) else {})
    return show(pictures, folder, prefix) + _examples(selection.described)


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


def _examples(described: dict[str, Any]) -> str:
    """Rows of each kind as a table, a group for each signal."""
    head = ("", "Value", "Row", "Text, shortened")
    body = ""
    for name, signal in (described.get("signals") or {}).items():
        interval = (signal["low"], signal["high"]) if signal.get("low") is not None else None
        values = [one["value"] for rows in signal["rows"].values() for one in rows]
        write = partial(number, width=interval[1] - interval[0] if interval else float(np.ptp(values or [0.0])))
        title = label(name) + (f": kept from {between(interval, name)}" if interval else "")
        lines = group_row(escape(title), len(head))
        for kind, rows in signal["rows"].items():
            for one in rows:
                cells = [data(one["value"], write), data(one["row_id"], count), escape(one["text"])]
                lines += row(KINDS.get(kind, escape(kind)), cells)
        body += f"<tbody>{lines}</tbody>"
    if not body:
        return ""
    note = f"Rows drawn at random (seed {described.get('seed')}), up to three of each kind."
    return f'<h3>Examples</h3>{table(head, body, "examples")}<p class="note">{escape(note)}</p>'
