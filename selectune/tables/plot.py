"""``table.png``: the headline against total cost, a panel a task."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from typing import Any

from selectune.common.files import atomic_file
from selectune.report.drawing import DPI, STYLE
from selectune.report.numbers import COLOURS, flop
from selectune.tables.grid import NO_BUDGET
from selectune.tables.markdown import IN_PER_CENT, told
from selectune.tables.summary import RANDOM, Group, Line

HUES = [COLOURS[kind] for kind in ("training", "selection", "saved", "lost", "full")]
MARKERS = "osD^vP*X"
APART, LEAST_SPAN = 0.025, 0.7  # of a panel's span of costs, and the natural log of the least that is taken for one
WIDE, HIGH, COLUMNS = 4.6, 3.6, 3  # inches of a panel, and panels beside each other


def draw(groups: list[Group], file: Path) -> str:
    """Draw what has a known cost.

    Args:
        groups: of `summarise`.
        file: to write.

    Returns:
        The text alternative; nothing, and no file, where there is nothing to draw.
    """
    panels = {task: _points([group for group in groups if group.task == task]) for task in _tasks(groups)}
    panels = {task: points for task, points in panels.items() if points}
    if not panels:
        return ""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    metrics = {group.task: group.metric for group in groups}
    methods = list(dict.fromkeys(line.method for points in panels.values() for line in points))
    looks = _looks(methods)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        columns = min(COLUMNS, len(panels))
        rows = math.ceil(len(panels) / columns)
        legend = 0.28 * math.ceil(len(methods) / (2 * columns)) + 0.2
        figure = Figure((WIDE * columns, HIGH * rows + legend), layout="constrained")
        FigureCanvasAgg(figure)
        axes = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axis, (task, points) in zip(axes, panels.items()):
            scale = 100 if metrics[task] in IN_PER_CENT else 1
            places = _beside_each_other(points)
            for method in dict.fromkeys(line.method for line in points):
                mine = sorted((line for line in points if line.method == method), key=lambda line: line.flops or 0)
                x, y = [places[line] for line in mine], [scale * line.mean for line in mine]
                bars = [scale * (line.sd or 0.0) for line in mine]
                colour, marker = looks[method]
                axis.errorbar(
                    x, y, bars, color=colour, marker=marker, ms=7, lw=1, capsize=2, label=method, alpha=0.9,
                    mec="white", mew=0.6,
                )  # fmt: skip
            unit = " (%)" if scale == 100 else ""
            axis.set(title=task, xscale="log", xlabel="total cost", ylabel=f"{metrics[task]}{unit}")
            axis.xaxis.set(minor_locator=NullLocator(), major_locator=LogLocator(subs=(1, 2, 5), numticks=8))
            axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: flop(value)))
        for axis in axes[len(panels) :]:
            axis.set_axis_off()
        handles: dict[str, Any] = {}
        for axis in figure.axes:
            handles |= {label: handle for handle, label in zip(*axis.get_legend_handles_labels())}
        order = [method for method in methods if method in handles]
        figure.legend([handles[name] for name in order], order, loc="outside lower center", ncols=2 * columns)
        with atomic_file(file) as partial:
            figure.savefig(partial, format="png", dpi=DPI, metadata={"Software": None})
    return " ".join(["Headline against total cost.", *(_words(task, metrics[task], p) for task, p in panels.items())])


def _tasks(groups: list[Group]) -> list[str]:
    return list(dict.fromkeys(group.task for group in groups))


def _points(groups: list[Group]) -> list[Line]:
    """Each line once: methods without a budget stand in the groups of all budgets."""
    lines = {(line.method, line.budget): line for group in groups for line in group.lines}
    return [line for line in lines.values() if line.flops]


def _beside_each_other(points: list[Line]) -> dict[Line, float]:
    """Where each point stands on the axis of costs: those that would cover each other are moved a little apart."""
    costs = {point: float(point.flops or 0) for point in points}
    order = sorted(points, key=lambda point: costs[point])
    apart = APART * max(math.log(costs[order[-1]] / costs[order[0]]), LEAST_SPAN)
    groups: list[list[Line]] = []
    for point in order:
        if groups and math.log(costs[point] / costs[groups[-1][-1]]) < apart / 2:
            groups[-1].append(point)
        else:
            groups.append([point])
    return {
        point: costs[point] * math.exp(apart * (place - (len(group) - 1) / 2))
        for group in groups
        for place, point in enumerate(group)
    }


def _looks(methods: list[str]) -> dict[str, tuple[str, str]]:
    """A colour and a marker for each method, never both alike; random rows are dark, so that all can be seen beside."""
    free = ((hue, marker) for marker, hue in product(MARKERS, HUES))
    return {name: (COLOURS["total"], "s") if name == RANDOM else next(free) for name in methods}


def _words(task: str, metric: str, points: list[Line]) -> str:
    unit = " %" if metric in IN_PER_CENT else ""
    told_points = [
        f"{line.method}{'' if line.budget == NO_BUDGET else f' at {line.budget}'} {told(metric, line.mean)}{unit} for "
        f"{flop(line.flops)}"
        for line in points
    ]
    return f"{task}, {metric}: {'; '.join(told_points)}."
