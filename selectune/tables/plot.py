"""``table.png``: the headline against total cost, a panel a task."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path

from selectune.report.drawing import COLOURS, legend, panels, styled, write_png
from selectune.report.numbers import flop
from selectune.tables.grid import NO_BUDGET, RANDOM
from selectune.tables.page import metric_text
from selectune.tables.summary import Group, Line, is_fraction

HUES = [COLOURS[kind] for kind in ("training", "selection", "saved", "lost", "full")]
MARKERS = "osD^vP*X"
APART, LEAST_SPAN = 0.025, 0.7  # of a panel's span of costs, and the natural log of the least that is taken for one
WIDE, HIGH, COLUMNS = 4.6, 3.6, 3  # inches of a panel, and panels beside each other


@styled()
def draw(groups: list[Group], file: Path) -> str:
    """Draw all lines with a known cost; returns the text alternative, empty and without a file if there are none."""
    tasks: dict[str, dict[tuple[str, str], Line]] = {}  # methods without a budget stand in the groups of all budgets
    for group in groups:
        known = {(line.method, line.budget): line for line in group.lines if line.flops}
        if known:
            tasks.setdefault(group.task, {}).update(known)
    if not tasks:
        return ""
    from matplotlib.ticker import LogLocator, NullLocator

    metrics = {group.task: group.metric for group in groups}
    methods = list(dict.fromkeys(method for lines in tasks.values() for method, _ in lines))
    free = ((hue, marker) for marker, hue in product(MARKERS, HUES))  # random rows are dark, to be seen beside all
    looks = {name: (COLOURS["total"], "s") if name == RANDOM else next(free) for name in methods}
    columns = min(COLUMNS, len(tasks))
    figure, axes = panels(len(tasks), HIGH, WIDE * columns, columns)
    words = ["Headline against total cost."]
    for axis, (task, lines) in zip(axes, tasks.items()):
        metric = metrics[task]
        scale, unit = (100, "%") if is_fraction(metric) else (1, "")
        places = _beside_each_other(list(lines.values()))
        for method in dict.fromkeys(method for method, _ in lines):
            own = sorted((line for line in places if line.method == method), key=lambda line: line.flops or 0)
            colour, marker = looks[method]
            axis.errorbar(
                [places[line] for line in own], [scale * line.mean for line in own],
                [scale * (line.sd or 0.0) for line in own], color=colour, marker=marker, ms=7, lw=1, capsize=2,
                label=method, alpha=0.9, mec="white", mew=0.6,
            )  # fmt: skip
        axis.set(title=task, xscale="log", xlabel="total cost", ylabel=f"{metric} ({unit})" if unit else metric)
        axis.xaxis.set(minor_locator=NullLocator(), major_locator=LogLocator(subs=(1, 2, 5), numticks=8))
        axis.xaxis.set_major_formatter(lambda value, _: flop(value))
        points = []
        for line in lines.values():
            at = "" if line.budget == NO_BUDGET else f" at {line.budget}"
            value = f"{metric_text(metric, line.mean)} {unit}".rstrip()
            points.append(f"{line.method}{at} {value} for {flop(line.flops)}")
        words.append(f"{task}, {metric}: {'; '.join(points)}.")
    legend(figure, columns=2 * columns, markerscale=1, loc="outside lower center")
    write_png(figure, file)
    return " ".join(words)


def _beside_each_other(lines: list[Line]) -> dict[Line, float]:
    """Places on the axis of costs, at which lines that would cover each other are moved a little apart."""
    costs = {line: float(line.flops or 0) for line in lines}
    order = sorted(lines, key=lambda line: costs[line])
    apart = APART * max(math.log(costs[order[-1]] / costs[order[0]]), LEAST_SPAN)
    groups: list[list[Line]] = []
    for line in order:
        if groups and math.log(costs[line] / costs[groups[-1][-1]]) < apart / 2:
            groups[-1].append(line)
        else:
            groups.append([line])
    return {
        line: costs[line] * math.exp(apart * (place - (len(group) - 1) / 2))
        for group in groups
        for place, line in enumerate(group)
    }
