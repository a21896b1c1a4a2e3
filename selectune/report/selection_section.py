"""The part of a report that shows what was chosen: pictures in the page and beside it, and rows as examples."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from selectune.common.run_files import RunFiles
from selectune.report import selection_plots as draw
from selectune.report import transport_plots as transport_figures
from selectune.report.drawing import Picture, shown
from selectune.report.html_tables import data
from selectune.report.labels import between, joined, label, number, part_of
from selectune.report.numbers import count
from selectune.report.run_data import Facts
from selectune.report.selection_data import Chosen

KINDS = {"kept": "kept", "too_low": "too low", "too_high": "too high", "not_kept": "not kept"}


def what_was_chosen(facts: Facts, folder: Path, prefix: str = "") -> str:
    """Pictures of the selection, also written to ``figures/`` of a folder, and examples of rows.

    Args:
        facts: of the run.
        folder: that the page will lie in.
        prefix: of the pictures' files.

    Returns:
        HTML; nothing without a selection.

    Raises:
        UserError: a file of the selection is damaged.
    """
    if not facts.manifest:
        return ""
    chosen = Chosen.read(RunFiles(facts.run_dir).selection, facts.manifest)
    if chosen is None:
        return "<p>There is no selection/scores.parquet, so there are no pictures of the rows.</p>"
    diagnostics = facts.manifest.get("diagnostics")
    found = selection_pictures(chosen, diagnostics if isinstance(diagnostics, dict) else {})
    return shown(found, folder, prefix) + _examples(chosen.described)


def chosen_to_warm_up(facts: Facts, folder: Path, prefix: str) -> str:
    """`what_was_chosen` of a run's warm-up; nothing where no rows were chosen for it."""
    if not facts.warm_up_manifest:
        return ""
    return what_was_chosen(Facts.read(RunFiles(facts.run_dir).warm_up.path, finished=True), folder, prefix)


def selection_pictures(chosen: Chosen, diagnostics: dict[str, Any]) -> Iterator[Picture]:
    """The pictures of a selection, in the order of the page; a new kind of picture is one more ``yield`` here.

    Args:
        chosen: the selection, row by row.
        diagnostics: of the selector, as in the manifest.
    """
    if chosen.drawn:
        yield Picture("scores", "Scores of the pool, and what was kept", *draw.histograms(chosen), _inside(chosen))
    if chosen.paired:
        yield Picture("pairs", "Scores against each other", *draw.pairs(chosen), _dots(chosen))
    if "n_tokens" in chosen.signals and np.isfinite(chosen.signals["n_tokens"]).any():
        yield Picture("lengths", "Lengths before and after", *draw.lengths(chosen))
    if chosen.classes:
        yield Picture("classes", "Classes before and after", *draw.shares(chosen.classes, "classes"))
    if domains := domain_shares(diagnostics):
        yield Picture("domains", "Data sets before and after", *draw.shares(domains, "data sets"), came_from(domains))
    if places := chosen.described.get("map"):
        yield Picture("map", "Pool, target and kept rows", *transport_figures.plane(places), transport_figures.PLANE)
    if course := transport_figures.course_of(diagnostics):
        yield Picture("transport", "The transport", *transport_figures.course(course), transport_figures.COURSE)


def domain_shares(diagnostics: dict[str, Any]) -> dict[str, Any] | None:
    """Names of a pool's data sets, and the rows of each in ``pool`` and ``kept``; None for a pool of one."""
    told = diagnostics.get("domains")
    if not isinstance(told, dict) or not told:
        return None
    return {"names": list(told), **{part: [of[part] for of in told.values()] for part in ("pool", "kept")}}


def came_from(domains: dict[str, Any]) -> str:
    """What share of the kept rows came from each data set, against its share of the pool, the most kept first."""
    n_pool, n_kept = sum(domains["pool"]), sum(domains["kept"])
    ordered = sorted(zip(domains["names"], domains["pool"], domains["kept"]), key=lambda one: -one[2])
    words = [
        f"{part_of(kept, n_kept)} from {name} ({part_of(pool, n_pool)} of the pool)"
        for name, pool, kept in ordered[: draw.MAX_CLASSES]
    ]
    if rest := ordered[draw.MAX_CLASSES :]:
        pool, kept = (sum(one[place] for one in rest) for place in (1, 2))
        words.append(f"{part_of(kept, n_kept)} from {len(rest)} others ({part_of(pool, n_pool)} of the pool)")
    return f"Of the {count(n_kept)} rows kept there came {joined(words)}."


def _inside(chosen: Chosen) -> str:
    several = "To be kept, a row has to lie inside all the intervals." if len(chosen.intervals) > 1 else ""
    left_out = [name for name in chosen.scored if name not in chosen.drawn]
    more = f"Not drawn: {joined([label(name) for name in left_out])}." if left_out else ""
    return f"{several} {more}".strip()


def _dots(chosen: Chosen) -> str:
    n_shown, n_rows = len(draw.sampled(chosen)), len(chosen.selected)
    if n_shown == n_rows:
        return ""
    return f"Drawn are {count(n_shown)} of the {count(n_rows)} rows, at random (seed {chosen.seed})."


def _examples(described: dict[str, Any]) -> str:
    """Rows of each kind as a table, a group for each signal."""
    groups = "".join(_group(name, signal) for name, signal in (described.get("signals") or {}).items())
    if not groups:
        return ""
    head = "".join(f'<th scope="col">{title}</th>' for title in ("", "Value", "Row", "Text, shortened"))
    note = f"Rows drawn at random (seed {described.get('seed')}), up to three of each kind."
    return (
        f'<h3>Examples</h3><table class="examples"><thead><tr>{head}</tr></thead>{groups}</table>'
        f'<p class="note">{escape(note)}</p>'
    )


def _group(name: str, signal: dict[str, Any]) -> str:
    interval = (signal["low"], signal["high"]) if signal.get("low") is not None else None
    title = label(name) + (f": kept from {between(interval, name)}" if interval else "")
    values = [row["value"] for rows in signal["rows"].values() for row in rows]
    width = interval[1] - interval[0] if interval else float(np.ptp(values or [0.0]))

    def told(value: float | None) -> str:
        return number(value or 0.0, width)

    lines = [f'<tr class="group"><th scope="rowgroup" colspan="4">{escape(title)}</th></tr>']
    for kind, rows in signal["rows"].items():
        for row in rows:
            lines.append(
                f'<tr><th scope="row">{KINDS.get(kind, escape(kind))}</th>'
                f"<td>{data(row['value'], told)}</td><td>{data(row['row_id'], count)}</td>"
                f"<td>{escape(row['text'])}</td></tr>"
            )
    return f"<tbody>{''.join(lines)}</tbody>"
