"""Pictures of a selection: signals, lengths, classes, and the course of a transport.

Each is a Figure with its text alternative, which says in numbers what the picture shows.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from selectune.report.drawing import COLOURS, FAINT, INK, legend, panels, styled, whole_numbers
from selectune.report.labels import between, capital, cut, kept_of, label, median, medians, name_of, part_of
from selectune.report.numbers import count, share
from selectune.report.selection_data import SelectionData
from selectune.verdict.prose import joined

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS = 48
MAX_POINTS = 3000
MAX_CLASSES = 20
KEPT, REST, BAND = COLOURS["training"], COLOURS["shared"], COLOURS["selection"]
MARKERS = {"pool": ("o", FAINT), "kept": ("o", KEPT), "target": ("x", COLOURS["selection"])}


@styled()
def histograms(data: SelectionData) -> tuple[Figure, str]:
    """Each signal's histogram over all rows, the kept rows at the foot of the bars, and their interval shaded."""
    figure, axes = panels(len(data.drawn), 2.6)
    words = []
    for axis, name in zip(axes, data.drawn):
        values, kept = data.known(name)
        interval = data.intervals.get(name)
        edges = _edges(values, interval)
        counts, kept_counts = np.histogram(values, edges)[0], np.histogram(values[kept], edges)[0]
        axis.stairs(counts, edges, baseline=kept_counts, fill=True, color=REST, label="not kept")
        axis.stairs(kept_counts, edges, fill=True, color=KEPT, label="kept")
        axis.set(xlabel=label(name), ylabel="rows")
        whole_numbers(axis.yaxis)
        parts = [f"{capital(name_of(name))}: {kept_of(kept)}", medians(values, kept, name)]
        if interval:
            axis.axvspan(*interval, color=BAND, alpha=0.2, lw=0, zorder=0, label="interval of the kept rows")
            for bound in interval:
                axis.axvline(bound, color=INK, lw=0.9, ls="--")
            parts.append(f"kept {between(interval, name)}")
            axis.set_title(parts[-1])
        if missing := len(data.selected) - len(values):
            parts.append(f"{count(missing)} rows have no value")
        words.append(f"{'; '.join(parts)}.")
    legend(figure)
    return figure, f"Histograms of {joined([name_of(name).lower() for name in data.drawn])}. {' '.join(words)}"


def _edges(values: np.ndarray, interval: tuple[float, float] | None) -> np.ndarray:
    """Edges of equal bins over all values; the bounds of an interval wider than half a bin are edges."""
    low, high = float(values.min()), float(values.max())
    step = (high - low) / BINS
    if step == 0:
        return np.array([low - 0.5, low + 0.5])
    if interval is None or interval[1] - interval[0] < step / 2:
        return np.linspace(low, high, BINS + 1)
    begin, end = interval[0] - 5e-10, interval[1] + 5e-10  # scores are rounded to 1e-9, and a bound is a score
    step = (end - begin) / max(1, round((end - begin) / step))
    below, above = math.floor((begin - low) / step) + 1, math.floor((high - begin) / step) + 1
    return begin + step * np.arange(-max(below, 0), above + 1)


@styled()
def pairs(data: SelectionData) -> tuple[Figure, str]:
    """The signals against each other: kept rows, others, and the box in which the kept rows lie."""
    from matplotlib.patches import Rectangle

    both = list(combinations(data.paired, 2))
    figure, axes = panels(len(both), 3.0)
    sample = sampled(data)
    words = [f"Scatter plots of {joined([name_of(name).lower() for name in data.paired])} in pairs; "
             f"{kept_of(data.selected)}."]  # fmt: skip
    in_band = {
        name: (data.signals[name] >= low - 1e-9) & (data.signals[name] <= high + 1e-9)
        for name, (low, high) in data.intervals.items()
        if name in data.paired
    }
    for axis, (x_name, y_name) in zip(axes, both):
        x, y = data.signals[x_name], data.signals[y_name]
        for kept, colour, name in ((False, FAINT, "not kept"), (True, KEPT, "kept")):
            rows = sample[data.selected[sample] == kept]
            axis.scatter(x[rows], y[rows], s=6, color=colour, lw=0, label=name)
        axis.set(xlabel=label(x_name), ylabel=label(y_name))
        x_range, y_range = data.intervals.get(x_name), data.intervals.get(y_name)
        if not x_range or not y_range:
            continue
        (left, right), (low, high) = x_range, y_range
        axis.add_patch(Rectangle((left, low), right - left, high - low, fill=False, ec=INK, lw=1.4, label="box"))
        inside = in_band[x_name] & in_band[y_name]
        words.append(
            f"{capital(name_of(x_name))} against {name_of(y_name).lower()}: {count(inside.sum())} rows lie in the box "
            f"({between(x_range, x_name)} and {between(y_range, y_name)}), "
            f"{count((inside & data.selected).sum())} of them kept."
        )
    legend(figure)
    return figure, " ".join(words)


def sampled(data: SelectionData) -> np.ndarray:
    """Rows that `pairs` draws: at most `MAX_POINTS`, drawn from the pool with the selection's seed."""
    n_rows = len(data.selected)
    random = np.random.default_rng(data.seed % 2**32)
    return random.choice(n_rows, min(MAX_POINTS, n_rows), replace=False)


@styled()
def lengths(data: SelectionData) -> tuple[Figure, str]:
    """Shares of rows by length, in the pool and among the kept rows."""
    values, kept = data.known("n_tokens")
    figure, (axis,) = panels(1, 2.6)
    step = math.ceil((np.ptp(values) + 1) / BINS)
    edges = np.arange(values.min(), values.max() + step + 1, step) - 0.5
    style: dict[str, dict[str, Any]] = {"pool": {"fill": True, "color": REST}, "kept": {"color": KEPT, "lw": 2}}
    for name, some in (("pool", values), ("kept", values[kept])):
        counts = np.histogram(some, edges)[0]
        middle = f", median {median(some):,g} tokens" if len(some) else ""
        axis.stairs(100 * counts / max(len(some), 1), edges, label=f"{name}{middle}", **style[name])
    axis.set(xlabel="length of the text (tokens)", ylabel="share of rows (%)")
    legend(figure)
    tokens, kept_tokens = values.sum(), values[kept].sum()
    return figure, (
        f"Lengths of the rows: {kept_of(kept)}, with {count(kept_tokens)} of {count(tokens)} tokens "
        f"({part_of(kept_tokens, tokens)}); {medians(values, kept, 'n_tokens')}."
    )


@styled()
def shares(groups: dict[str, Any], what: str) -> tuple[Figure, str]:
    """Shares of classes or data sets in the pool and among the kept rows, the largest first.

    Args:
        groups: ``names``, and the rows of each in ``pool`` and ``kept``.
        what: "classes" or "data sets".
    """
    ordered = sorted(zip(groups["names"], groups["pool"], groups["kept"]), key=lambda group: -group[1])
    shown = _largest(ordered, f"other {what}")
    n_pool, n_kept = sum(groups["pool"]), sum(groups["kept"])
    figure, (axis,) = panels(1, 0.9 + 0.44 * len(shown))
    for offset, part, total, colour in ((-0.2, 1, n_pool, REST), (0.2, 2, n_kept, KEPT)):
        values = [100 * group[part] / max(total, 1) for group in shown]
        bars = axis.barh(np.arange(len(shown)) + offset, values, 0.38, color=colour, label=("pool", "kept")[part - 1])
        axis.bar_label(bars, [part_of(group[part], total) for group in shown], padding=4, fontsize=9)
    axis.set_yticks(np.arange(len(shown)), [cut(str(name)) for name, *_ in shown])
    axis.set_ylim(len(shown) - 0.4, -0.6)  # the largest on top
    axis.margins(x=0.1)
    axis.set_xlabel("share of rows (%)")
    legend(figure)
    words = [f"{name} {part_of(pool, n_pool)} and {part_of(kept, n_kept)}" for name, pool, kept in shown]
    lost = [str(name) for name, _, kept in ordered if not kept]
    none = f" No row was kept of {joined(lost[:MAX_CLASSES])}." if lost else ""
    return figure, f"Shares of the {what} in the pool and among the kept rows: {'; '.join(words)}.{none}"


def domain_shares(diagnostics: dict[str, Any]) -> dict[str, Any] | None:
    """Names of a pool's data sets, and the rows of each in ``pool`` and ``kept``; None for a pool of one."""
    domains = diagnostics.get("domains")
    if not isinstance(domains, dict) or not domains:
        return None
    return {"names": list(domains), **{part: [of[part] for of in domains.values()] for part in ("pool", "kept")}}


def came_from(domains: dict[str, Any]) -> str:
    """The share of the kept rows that came from each data set, against its share of the pool, the most kept first."""
    n_pool, n_kept = sum(domains["pool"]), sum(domains["kept"])
    ordered = sorted(zip(domains["names"], domains["pool"], domains["kept"]), key=lambda group: -group[2])
    words = [
        f"{part_of(kept, n_kept)} from {name} ({part_of(pool, n_pool)} of the pool)"
        for name, pool, kept in _largest(ordered, "others")
    ]
    return f"Of the {count(n_kept)} rows kept there came {joined(words)}."


def _largest(ordered: list[tuple[Any, int, int]], others: str) -> list[tuple[Any, int, int]]:
    """The first `MAX_CLASSES` groups of (name, rows in the pool, rows kept), and the sum of all others as one."""
    shown, rest = ordered[:MAX_CLASSES], ordered[MAX_CLASSES:]
    if rest:
        shown.append((f"{len(rest)} {others}", sum(pool for _, pool, _ in rest), sum(kept for *_, kept in rest)))
    return shown


@styled()
def plane(places: dict[str, Any]) -> tuple[Figure, str]:
    """Pool, target and kept rows in two dimensions, as `selectune.selection.examples.embedding_map` places them."""
    figure, (axis,) = panels(1, 4.6)
    middles = {}
    for kind, (marker, colour) in MARKERS.items():
        at = np.array(places[kind], dtype=np.float64).reshape(-1, 2)
        axis.scatter(
            at[:, 0], at[:, 1], s=14, marker=marker, color=colour, lw=1.0 if marker == "x" else 0, alpha=0.8, label=kind
        )
        middles[kind] = at.mean(axis=0) if len(at) else np.zeros(2)
    first, second = (share(part) for part in [*places["explained"], 0.0, 0.0][:2])
    axis.set(xlabel=f"first component ({first} of the variance)", ylabel=f"second component ({second})")
    axis.set_aspect("equal", adjustable="datalim")
    legend(figure)
    apart = {kind: float(np.linalg.norm(middles[kind] - middles["target"])) for kind in ("pool", "kept")}
    return figure, (
        f"Pool, target and kept rows on their first two principal components ({first} and {second} of the variance). "
        f"On this plane the middle of the pool is {apart['pool']:.3g} from that of the target, the middle of the kept "
        f"rows {apart['kept']:.3g}."
    )


def transport_of(diagnostics: Any) -> dict[str, Any] | None:
    """Diagnostics of a transport solve in those of a manifest, however deep in a chain; None without one."""
    if not isinstance(diagnostics, dict):
        return None
    solve = diagnostics.get("transport")
    if isinstance(solve, dict) and solve.get("history"):
        return solve
    return next((inner for part in diagnostics.values() if (inner := transport_of(part))), None)


@styled()
def course(solve: dict[str, Any]) -> tuple[Figure, str]:
    """Marginal error and churn by iteration of a `transport_of`, and distances of pool and kept rows to the target."""
    figure, axes = panels(3, 2.6)
    words = [f"{solve['iterations']} iterations by the backend {solve['backend']}, eps {solve['eps']:.3g}"]
    for axis, name in zip(axes, ("marginal_error", "churn")):
        known = [(entry["iteration"], entry[name]) for entry in solve["history"] if entry.get(name) is not None]
        axis.plot([i for i, _ in known], [value for _, value in known], marker="o", ms=3, color=KEPT)
        axis.set(xlabel="iteration", ylabel=name.replace("_", " "))
        whole_numbers(axis.xaxis)
        if known:
            words.append(f"{name.replace('_', ' ')} from {known[0][1]:.3g} to {known[-1][1]:.3g}")
    axes[0].set_yscale("log")
    axes[0].yaxis.set_major_formatter(lambda value, _: f"{value:g}")  # its own needs formulas, which are not parsed
    axes[0].yaxis.set_minor_formatter("")
    if solve.get("tolerance"):
        axes[0].axhline(solve["tolerance"], color=INK, lw=0.9, ls="--")
    distances = {"pool": solve["distance"], "kept": solve.get("distance_kept", float("nan"))}
    bars = axes[2].bar(list(distances), list(distances.values()), 0.6, color=[MARKERS[kind][1] for kind in distances])
    axes[2].bar_label(bars, [f"{value:.3g}" for value in distances.values()], padding=2)
    axes[2].set(ylabel="distance to the target")
    axes[2].margins(y=0.15)
    words.append(
        f"the distance to the target is {distances['pool']:.3g} for the pool, {distances['kept']:.3g} for the kept rows"
    )
    return figure, f"The transport solve: {'; '.join(words)}."
