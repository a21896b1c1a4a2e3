"""The picture that compares runs: their figure on held-out data against what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from selectune.costs.saving import UNIT_NAMES, UNITS, Unit
from selectune.report.compared_runs import Arm, charged
from selectune.report.drawing import INK, legend, panels, styled
from selectune.report.html_tables import UNIT_TOLD
from selectune.report.labels import cut, joined, metric, metric_name
from selectune.report.learning_curves import is_loss
from selectune.report.numbers import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def drawable(arms: Sequence[Arm], unit: Unit, figure: str) -> list[Arm]:
    """The finished runs whose cost in a unit and whose figure are known."""
    return [
        arm
        for arm in arms
        if not arm.facts.unfinished
        and arm.total(unit) is not None
        and np.isfinite(arm.facts.metrics.get(figure, np.nan))
    ]


def front_of(arms: Sequence[Arm], unit: Unit, figure: str) -> list[Arm]:
    """The runs on the Pareto front of cost and figure, from cheap to dear."""
    known = drawable(arms, unit, figure)
    costs = np.array([arm.total(unit) for arm in known], dtype=np.float64)
    values = np.array([arm.facts.metrics[figure] for arm in known], dtype=np.float64)
    on_front = pareto_front(costs, -values if is_loss(figure) else values)
    return sorted((arm for arm, on in zip(known, on_front) if on), key=lambda arm: (arm.total(unit), arm.name))


@styled()
def figure_against_cost(arms: Sequence[Arm], figure: str) -> tuple[Figure, str] | None:
    """Each run as a dot with its number, the front as a line, its runs named above; None where nothing is known."""
    units = [unit for unit in UNITS if drawable(arms, unit, figure)]
    if not units:
        return None
    page, axes = panels(len(units), 3.6)
    name, words = metric_name(figure), []
    for axis, unit in zip(axes, units):
        known, front = drawable(arms, unit, figure), front_of(arms, unit, figure)
        _panel(axis, known, front, unit, figure)
        axis.set(xlabel=f"{charged(arms)}, {UNIT_NAMES[unit]}", ylabel=f"{name.lower()} on held-out data")
        dots = [
            f"{arm.label} {metric(arm.facts.metrics[figure])} for {UNIT_TOLD[unit](arm.total(unit))}" for arm in known
        ]
        words.append(
            f"In {UNIT_NAMES[unit]}: {'; '.join(dots)}. On the Pareto front, from cheap to dear: "
            f"{joined([arm.label for arm in front])}."
        )
        if left_out := [arm.label for arm in arms if arm not in known]:
            words.append(f"Not drawn, as the cost or the figure is not known: {joined(left_out)}.")
    legend(page, axes, columns=3, markerscale=0.7)
    return page, f"{name} on held-out data against the cost of {charged(arms)}. {' '.join(words)}"


def _panel(axis: Axes, known: Sequence[Arm], front: Sequence[Arm], unit: Unit, figure: str) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    def at(arm: Arm) -> tuple[float, float]:
        return float(arm.total(unit) or 0.0), arm.facts.metrics[figure]

    costs, values = zip(*map(at, known))
    least, most = min(costs), max(costs)
    if least > 0 and most > 30 * least:
        axis.set_xscale("log")
        axis.set_xlim(least / 2, most * 2)
        axis.xaxis.set_minor_formatter(NullFormatter())
    else:
        axis.set_xlim(0, most * 1.12 or 1)
        axis.xaxis.set_major_locator(MaxNLocator(4))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: UNIT_TOLD[unit](value)))
    room = (max(values) - min(values)) * 0.22 or abs(max(values)) * 0.1 or 0.1
    axis.set_ylim(min(values) - room, max(values) + room)
    axis.grid(alpha=0.25, lw=0.6)
    path = np.array([at(arm) for arm in front])
    axis.step(path[:, 0], path[:, 1], where="post", color=COLOURS["saved"], lw=1.8, label="Pareto front", zorder=2)
    for arm in known:
        x, y = at(arm)
        on_front = arm in front
        face, ink = (COLOURS["training"], "white") if on_front else ("white", INK)
        axis.plot(
            x, y, "o", ms=13, color=face, mec=COLOURS["training"] if on_front else INK, mew=1.2,
            zorder=4 if on_front else 3, label=cut(arm.label, 28) if on_front else "",
        )  # fmt: skip
        axis.annotate(
            str(arm.number), (x, y), ha="center", va="center_baseline", color=ink, fontsize=8.5,
            zorder=5 if on_front else 3.5,
        )  # fmt: skip


def pareto_front(costs: np.ndarray, figures: np.ndarray) -> np.ndarray:
    """Whether no other run costs no more and is no worse, one of the two strictly.

    Runs that are alike in both stand on the front together, or not at all.

    Args:
        costs: less is better, finite, shape (n,).
        figures: more is better, finite, shape (n,).

    Returns:
        bool, shape (n,).
    """
    costs, figures = np.asarray(costs, dtype=np.float64), np.asarray(figures, dtype=np.float64)
    on_front = np.zeros(len(costs), dtype=bool)
    best = -np.inf
    for cost in np.unique(costs):  # from cheap to dear
        here = np.flatnonzero(costs == cost)
        top = figures[here].max()
        if top > best:
            on_front[here[figures[here] == top]] = True
            best = top
    return on_front
