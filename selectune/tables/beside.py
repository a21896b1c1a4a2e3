"""Published figures under the table of a group."""

from __future__ import annotations

from selectune.tables.published import Figures, Published
from selectune.tables.summary import Group, is_fraction

HEADINGS = ("method", "ours", "n", "published", "ours less it")
SCALES = {"F1, %", "accuracy, %", "Matthews correlation, %", "zero-shot accuracy, %", "exact match, %"}
NOTE = (
    "Other models, pools, sizes and seeds than ours, unless the config says so: what differs is no failure to "
    "reproduce, and what agrees no success."
)


def beside(group: Group, published: Published, figures: Figures) -> str:
    """A Markdown table of a group's lines that have a published figure; empty where none has."""
    column, rows, known = published.tasks.get(group.task), [], []
    for line in group.lines:
        figure = figures.get((column or "", published.methods.get(line.method, "")))
        if figure is None:
            continue
        scale = 100 if is_fraction(group.metric) and figure.unit in SCALES else 1
        ours, gap = scale * line.mean, scale * line.mean - figure.value
        digits = 1 if scale == 100 else 3
        spread = "" if line.sd is None else f" ± {scale * line.sd:.{digits}f}"
        printed = f"{figure.value:g}" + (f" ± {figure.sd}" if figure.sd else "")
        less = f"{gap:+.{digits}f}".replace("-", "\N{MINUS SIGN}")
        rows.append(f"| {line.method} | {ours:.{digits}f}{spread} | {line.n} | {printed} | {less} |")
        known.append(figure)
    if not rows:
        return ""
    head = f"| {' | '.join(HEADINGS)} |\n| --- | ---: | ---: | ---: | ---: |"
    told = f"Published: {known[0].source}, {column} ({known[0].unit}; {known[0].setting}). {NOTE}"
    return "\n\n".join([told, "\n".join([head, *rows])])
