"""The part of a report that shows what was chosen: pictures in the page and beside it, and rows as examples."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selectune.paths import atomic_file
from selectune.report import selection_figures as draw
from selectune.report.chosen import Chosen
from selectune.report.facts import Facts
from selectune.report.figures import count
from selectune.report.tables import data
from selectune.report.wording import between, joined, label, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = {"kept": "kept", "too_low": "too low", "too_high": "too high", "not_kept": "not kept"}


@dataclass(frozen=True)
class Picture:
    """A picture of the section.

    Args:
        name: of its file, ``figures/<name>.png`` in the run directory.
        title: above it.
        figure: as drawn.
        alt: what it shows, in words and numbers.
        note: below it.
    """

    name: str
    title: str
    figure: Figure
    alt: str
    note: str = ""


def what_was_chosen(facts: Facts) -> str:
    """Pictures of the selection, also written to ``figures/``, and examples of rows; nothing without a selection.

    Raises:
        UserError: a file of the selection is damaged.
    """
    if not facts.manifest:
        return ""
    chosen = Chosen.read(facts.run_dir / "selection", facts.manifest)
    if chosen is None:
        return "<p>There is no selection/scores.parquet, so there are no pictures of the rows.</p>"
    shown = "".join(_shown(picture, facts.run_dir / "figures") for picture in _pictures(chosen))
    return shown + _examples(chosen.described)


def _pictures(chosen: Chosen) -> Iterator[Picture]:
    if chosen.drawn:
        yield Picture("scores", "Scores of the pool, and what was kept", *draw.histograms(chosen), _inside(chosen))
    if chosen.paired:
        yield Picture("pairs", "Scores against each other", *draw.pairs(chosen), _dots(chosen))
    if "n_tokens" in chosen.signals and np.isfinite(chosen.signals["n_tokens"]).any():
        yield Picture("lengths", "Lengths before and after", *draw.lengths(chosen))
    if chosen.classes:
        yield Picture("classes", "Classes before and after", *draw.classes(chosen))


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


def _shown(picture: Picture, folder: Path) -> str:
    content = draw.png(picture.figure)
    with atomic_file(folder / f"{picture.name}.png") as partial:
        partial.write_bytes(content)
    width, height = (round(96 * inches) for inches in picture.figure.get_size_inches())
    note = f'<p class="note">{escape(picture.note)}</p>' if picture.note else ""
    return (
        f"<figure><figcaption>{escape(picture.title)}</figcaption>"
        f'<img src="data:image/png;base64,{b64encode(content).decode()}" alt="{escape(picture.alt)}" '
        f'width="{width}" height="{height}">{note}</figure>'
    )


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
