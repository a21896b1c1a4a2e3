"""The picture that compares runs: their metric on held-out data against their cost, with the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from selectune.costs.saving import UNIT_NAMES, UNITS, Unit
from selectune.report.compared_runs import ComparedRun, parts_of_total
from selectune.report.drawing import COLOURS, FAINT, INK, by_cost, legend, panels, styled
from selectune.report.labels import axis_label, cut, factor, metric, metric_name
from selectune.report.learning_curves import is_loss
from selectune.report.numbers import UNIT_FORMATS
from selectune.verdict.prose import joined

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def drawable(runs: Sequence[ComparedRun], unit: Unit, name: str) -> list[ComparedRun]:
    """The finished runs whose cost in a unit and whose metric are known."""
    known = [run for run in runs if not run.data.unfinished and run.total(unit) is not None]
    return [run for run in known if np.isfinite(run.data.metrics.get(name, np.nan))]


def front_of(runs: Sequence[ComparedRun], unit: Unit, name: str) -> list[ComparedRun]:
    """The runs on the Pareto front of cost and metric, from cheap to expensive."""
    known = drawable(runs, unit, name)
    costs = np.array([run.total(unit) for run in known], dtype=np.float64)
    values = np.array([run.data.metrics[name] for run in known], dtype=np.float64)
    on_front = pareto_front(costs, -values if is_loss(name) else values)
    return sorted((run for run, on in zip(known, on_front) if on), key=lambda run: (run.total(unit), run.name))


def pareto_front(costs: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mask of the runs for which no other run costs no more and is no worse, one of the two strictly.

    Runs that are equal in both are on the front together, or not at all.

    Args:
        costs: less is better, finite, shape (n,).
        values: more is better, finite, shape (n,).

    Returns:
        bool, shape (n,).
    """
    on_front = np.zeros(len(costs), dtype=bool)
    best = -np.inf
    for cost in np.unique(costs):  # from cheap to expensive
        here = np.flatnonzero(costs == cost)
        top = values[here].max()
        if top > best:
            on_front[here[values[here] == top]] = True
            best = top
    return on_front


@styled()
def metric_against_cost(runs: Sequence[ComparedRun], name: str) -> tuple[Figure, str] | None:
    """Each run as a dot with its number, the front as a line, its runs named above; None where nothing is known."""
    units = [unit for unit in UNITS if drawable(runs, unit, name)]
    if not units:
        return None
    figure, axes = panels(len(units), 3.6)
    title = f"{metric_name(name)} on held-out data"
    words = [f"{title} against the cost of {parts_of_total(runs)}."]
    for axis, unit in zip(axes, units):
        known, front = drawable(runs, unit, name), front_of(runs, unit, name)
        _draw_dots(axis, known, front, unit, name)
        axis.set(xlabel=f"{parts_of_total(runs)}, {UNIT_NAMES[unit]}", ylabel=f"{axis_label(name)}, held-out")
        dots = [f"{run.label} {measured_at(run, unit, name)}" for run in known]
        words.append(
            f"In {UNIT_NAMES[unit]}: {'; '.join(dots)}. On the Pareto front, from cheap to expensive: "
            f"{joined([run.label for run in front])}."
        )
        if left_out := [run.label for run in runs if run not in known]:
            words.append(f"Not drawn, as the cost or the metric is not known: {joined(left_out)}.")
    legend(figure, columns=3, markerscale=0.7)
    return figure, " ".join(words)


def measured_at(run: ComparedRun, unit: Unit, name: str) -> str:
    """A metric and its cost: "74.2 % (71.4 % to 77.0 %, over 1,000 rows) for 2.91 TFLOP"."""
    one = run.data.measured[name]
    bounds = [metric(name, bound) for bound in one.bounds or ()]
    about = ", ".join([*([" to ".join(bounds)] if bounds else []), f"over {one.over}"])
    return f"{metric(name, one.value)} ({about}) for {UNIT_FORMATS[unit](run.total(unit))}"


def _draw_dots(axis: Axes, known: Sequence[ComparedRun], front: Sequence[ComparedRun], unit: Unit, name: str) -> None:
    places = {run.number: (float(run.total(unit) or 0.0), factor(name) * run.data.metrics[name]) for run in known}
    costs, values = zip(*places.values())
    least, most = min(costs), max(costs)
    if least > 0 and most > 30 * least:
        axis.set_xscale("log")
        axis.set_xlim(least / 2, most * 2)
        axis.xaxis.set_minor_formatter("")
    else:
        axis.set_xlim(0, most * 1.12 or 1)
    by_cost(axis, unit)
    bounds = {run.number: run.data.measured[name].bounds for run in known}
    intervals = {number: factor(name) * np.array(ends) for number, ends in bounds.items() if ends}
    for number, (low, high) in intervals.items():
        axis.vlines(places[number][0], low, high, color=FAINT, lw=1.4, zorder=1)
    ends = [*values, *(end for both in intervals.values() for end in both)]
    room = (max(ends) - min(ends)) * 0.22 or abs(max(ends)) * 0.1 or 0.1
    axis.set_ylim(min(ends) - room, max(ends) + room)
    steps = zip(*(places[run.number] for run in front))
    axis.step(*steps, where="post", color=COLOURS["training"], lw=1.8, label="Pareto front", zorder=2)
    for run in known:
        on_front = run in front
        colour = COLOURS["training"] if on_front else INK
        axis.plot(
            *places[run.number], "o", ms=13, color=colour if on_front else "white", mec=colour, mew=1.2,
            zorder=4 if on_front else 3, label=cut(run.label, 28) if on_front else "",
        )  # fmt: skip
        axis.annotate(
            str(run.number), places[run.number], ha="center", va="center_baseline", fontsize=8.5,
            color="white" if on_front else INK, zorder=5 if on_front else 3.5,
        )  # fmt: skip
