"""Pictures of a selection: what was kept of each signal, of pairs of signals, of the lengths and of the classes.

Each is a Figure with its text alternative, which says in numbers what the picture shows.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from selectune.report.drawing import INK, counting, legend, panels, styled
from selectune.report.labels import between, cut, joined, kept_of, label, medians, name_of, part_of
from selectune.report.numbers import COLOURS, count
from selectune.report.selection_data import Chosen

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS = 48
MAX_POINTS = 3000
MAX_CLASSES = 20
KEPT, REST, BAND = COLOURS["training"], COLOURS["shared"], COLOURS["selection"]
FAINT = "#a9aeb7"  # dots need more ink than bars


@styled()
def histograms(chosen: Chosen) -> tuple[Figure, str]:
    """Each signal's histogram over all rows, the kept rows at the foot of the bars, and what was kept shaded."""
    figure, axes = panels(len(chosen.drawn), 2.6)
    words = []
    for axis, name in zip(axes, chosen.drawn):
        values, kept = chosen.known(name)
        interval = chosen.intervals.get(name)
        edges = _edges(values, interval)
        counts, kept_counts = np.histogram(values, edges)[0], np.histogram(values[kept], edges)[0]
        axis.stairs(counts, edges, baseline=kept_counts, fill=True, color=REST, label="not kept")
        axis.stairs(kept_counts, edges, fill=True, color=KEPT, label="kept")
        axis.set(xlabel=label(name), ylabel="rows")
        counting(axis.yaxis)
        told = between(interval, name)
        if interval:
            axis.axvspan(*interval, color=BAND, alpha=0.2, lw=0, zorder=0, label="interval of the kept rows")
            for bound in interval:
                axis.axvline(bound, color=INK, lw=0.9, ls="--")
            axis.set_title(f"kept {told}")
        words.append(
            f"{name_of(name)}: {kept_of(kept)}; {medians(values, kept, name)}{f'; kept {told}' if told else ''}."
        )
        if missing := len(chosen.selected) - len(values):
            words[-1] = f"{words[-1][:-1]}; {count(missing)} rows have no value."
    legend(figure, axes)
    return figure, f"Histograms of {joined([name_of(name).lower() for name in chosen.drawn])}. {' '.join(words)}"


@styled()
def pairs(chosen: Chosen) -> tuple[Figure, str]:
    """The signals against each other: kept rows, others, and the box in which the kept rows lie."""
    from matplotlib.patches import Rectangle

    both = list(combinations(chosen.paired, 2))
    figure, axes = panels(len(both), 3.0)
    some = sampled(chosen)
    kept_rows, other_rows = some[chosen.selected[some]], some[~chosen.selected[some]]
    words = []
    for axis, (x_name, y_name) in zip(axes, both):
        x, y = chosen.signals[x_name], chosen.signals[y_name]
        axis.scatter(x[other_rows], y[other_rows], s=6, color=FAINT, lw=0, label="not kept")
        axis.scatter(x[kept_rows], y[kept_rows], s=6, color=KEPT, lw=0, label="kept")
        axis.set(xlabel=label(x_name), ylabel=label(y_name))
        x_range, y_range = chosen.intervals.get(x_name), chosen.intervals.get(y_name)
        if not x_range or not y_range:
            continue
        (left, right), (low, high) = x_range, y_range
        axis.add_patch(Rectangle((left, low), right - left, high - low, fill=False, ec=INK, lw=1.4, label="box"))
        inside = (x >= left - 1e-9) & (x <= right + 1e-9) & (y >= low - 1e-9) & (y <= high + 1e-9)
        words.append(
            f"{name_of(x_name)} against {name_of(y_name).lower()}: {count(inside.sum())} rows lie in the box "
            f"({between(x_range, x_name)} and {between(y_range, y_name)}), "
            f"{count((inside & chosen.selected).sum())} of them kept."
        )
    legend(figure, axes)
    names = joined([name_of(name).lower() for name in chosen.paired])
    return figure, " ".join([f"Scatter plots of {names} in pairs; {kept_of(chosen.selected)}.", *words])


@styled()
def lengths(chosen: Chosen) -> tuple[Figure, str]:
    """Shares of rows by length, in the pool and among the kept rows."""
    values, kept = chosen.known("n_tokens")
    figure, (axis,) = panels(1, 2.6)
    step = math.ceil((np.ptp(values) + 1) / BINS)
    edges = np.arange(values.min(), values.max() + step + 1, step) - 0.5
    style: dict[str, dict[str, Any]] = {"pool": {"fill": True, "color": REST}, "kept": {"color": KEPT, "lw": 2}}
    for told, some in (("pool", values), ("kept", values[kept])):
        counts = np.histogram(some, edges)[0]
        median = f", median {np.median(some):,g} tokens" if len(some) else ""
        axis.stairs(100 * counts / max(len(some), 1), edges, label=f"{told}{median}", **style[told])
    axis.set(xlabel="length of the text (tokens)", ylabel="share of rows (%)")
    legend(figure, [axis])
    tokens, kept_tokens = values.sum(), values[kept].sum()
    return figure, (
        f"Lengths of the rows: {kept_of(kept)}, with {count(kept_tokens)} of {count(tokens)} tokens "
        f"({part_of(kept_tokens, tokens)}); {medians(values, kept, 'n_tokens')}."
    )


@styled()
def shares(told: dict[str, Any], what: str) -> tuple[Figure, str]:
    """Shares of the classes, or of the data sets, in the pool and among the kept rows, the largest first.

    Args:
        told: ``names``, and the rows of each in ``pool`` and ``kept``.
        what: they are, in the plural.
    """
    ordered = sorted(zip(told["names"], told["pool"], told["kept"]), key=lambda one: -one[1])
    shown, rest = ordered[:MAX_CLASSES], ordered[MAX_CLASSES:]
    if rest:
        shown.append((f"{len(rest)} other {what}", sum(pool for _, pool, _ in rest), sum(kept for *_, kept in rest)))
    n_pool, n_kept = sum(told["pool"]), sum(told["kept"])
    figure, (axis,) = panels(1, 0.9 + 0.44 * len(shown))
    for offset, part, total, colour in ((-0.2, 1, n_pool, REST), (0.2, 2, n_kept, KEPT)):
        values = [100 * one[part] / max(total, 1) for one in shown]
        bars = axis.barh(np.arange(len(shown)) + offset, values, 0.38, color=colour, label=("pool", "kept")[part - 1])
        axis.bar_label(bars, [part_of(one[part], total) for one in shown], padding=4, fontsize=9)
    axis.set_yticks(np.arange(len(shown)), [cut(str(name)) for name, *_ in shown])
    axis.set_ylim(len(shown) - 0.4, -0.6)  # the largest on top
    axis.margins(x=0.1)
    axis.set_xlabel("share of rows (%)")
    legend(figure, [axis])
    words = [f"{name} {part_of(pool, n_pool)} and {part_of(kept, n_kept)}" for name, pool, kept in shown]
    lost = [str(name) for name, _, kept in ordered if not kept]
    none = f" No row was kept of {joined(lost[:MAX_CLASSES])}." if lost else ""
    return figure, f"Shares of the {what} in the pool and among the kept rows: {'; '.join(words)}.{none}"


def sampled(chosen: Chosen) -> np.ndarray:
    """The rows that `pairs` draws: at most 3,000, drawn from the pool with the selection's seed."""
    n_rows = len(chosen.selected)
    draw = np.random.default_rng(chosen.seed % 2**32)
    return draw.choice(n_rows, min(MAX_POINTS, n_rows), replace=False)


def _edges(values: np.ndarray, interval: tuple[float, float] | None) -> np.ndarray:
    """Edges of equal bins over all values; of an interval that is no sliver, the bounds are edges."""
    low, high = float(values.min()), float(values.max())
    step = (high - low) / BINS
    if step == 0:
        return np.array([low - 0.5, low + 0.5])
    if interval is None or interval[1] - interval[0] < step / 2:
        return np.linspace(low, high, BINS + 1)
    begin, end = interval[0] - 5e-10, interval[1] + 5e-10  # scores stand on a grid of 1e-9
    step = (end - begin) / max(1, round((end - begin) / step))
    below, above = math.floor((begin - low) / step) + 1, math.floor((high - begin) / step) + 1
    return begin + step * np.arange(-max(below, 0), above + 1)
