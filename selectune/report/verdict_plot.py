"""The picture at the top of a run's page: the metric of the run and of its arms against their total cost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from selectune.common.files import read_mapping
from selectune.common.run_files import RunFiles
from selectune.costs.saving import UNIT_NAMES, Saving, Unit
from selectune.report.drawing import Picture, by_cost, legend, panels, styled
from selectune.report.labels import axis_label, factor, metric_name
from selectune.report.learning_curves import Curve, read_metrics
from selectune.report.numbers import UNIT_FORMATS
from selectune.report.run_data import RunData
from selectune.report.verdict_section import change, measured_over, over
from selectune.verdict import prose
from selectune.verdict.evidence import ARMS, Evidence

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"green": "#009e73", "red": "#d55e00", "grey": "#59616b"}  # of the run, by its verdict
LOOKS = {  # of the arms: colour, marker, line
    "all_rows": ("#2b2f36", "s", "--"),
    "random_rows": ("#0072b2", "D", ":"),
    "fewer_epochs": ("#cc79a7", "^", "-."),
}
ASIDE = {"all_rows": 0, "random_rows": -9, "fewer_epochs": 9}  # points, as arms of the same cost would hide each other
NOTE = (
    "A bar is the 95 % interval of the difference from this run, cut at the edge: where it crosses this run's line, no "
    "difference shows. Marks of the same cost stand side by side."
)


def cost_accuracy(run: RunData) -> Picture | None:
    """The picture of a verdict; None for a run that has none, or whose cost or metric is not known.

    Where the arms were run, their metric on the validation split while they trained stands beside it.
    """
    evidence = run.verdict.evidence if run.verdict else None
    if evidence is None or evidence.score is None:
        return None
    unit: Unit = "flops" if evidence.cost.flops is not None else "device_s"
    if getattr(evidence.cost, unit) is None:
        return None
    curves = {name: curve for name, curve in _curves(run, evidence.metric.name, unit).items() if len(curve.steps) > 1}
    figure, alt = _drawn(run, evidence, unit, curves)
    title = f"{metric_name(evidence.metric.name)} against total cost"
    note = NOTE if any(evidence.differences()) else "The runs that this one is judged against were not run yet."
    return Picture("cost_accuracy", title, figure, alt, note)


@styled()
def _drawn(run: RunData, evidence: Evidence, unit: Unit, curves: Mapping[str, Curve]) -> tuple[Figure, str]:
    name = evidence.metric.name
    figure, axes = panels(2 if curves else 1, 3.1)
    words = _draw_arms(axes[0], run, evidence, unit)
    if curves:
        for arm, curve in curves.items():
            colour, marker, line = _look(run, arm)
            axes[1].plot(curve.steps, factor(name) * curve.values, color=colour, marker=marker, ms=3.5, ls=line, lw=1.6)
        axes[1].set_ylabel(f"{axis_label(name)}, validation")
        axes[1].set_xlim(left=0)
        words.append(f"Beside it: {name.replace('_', ' ')} on the validation split by cost so far, of the first seed.")
    for axis in axes:
        by_cost(axis, unit)
    axes[0].set_xlabel(f"total cost, {UNIT_NAMES[unit]}")
    if curves:
        axes[1].set_xlabel(f"cost so far, {UNIT_NAMES[unit]}")
    legend(figure, markerscale=1, columns=4)
    return figure, f"{metric_name(name)} against total cost in {UNIT_NAMES[unit]}. {' '.join(words)}"


def _draw_arms(axis: Axes, run: RunData, evidence: Evidence, unit: Unit) -> list[str]:
    """Draw the run, the arms, and the levels of all rows and random rows; returns the text alternative."""
    from matplotlib.transforms import offset_copy

    name = evidence.metric.name
    scale = factor(name)
    cost, score = getattr(evidence.cost, unit), evidence.score or 0.0
    colour, *_ = _look(run, "selected")
    axis.axhline(scale * score, color=colour, lw=1.4)
    axis.plot(cost, scale * score, "o", ms=11, color=colour, label="this run", zorder=4)
    ends: list[float] = []
    arms = {arm: evidence.arm(arm) for arm in evidence.rivals}
    run_score = f"{prose.score(evidence.metric, score)} over {measured_over(run, evidence)}"
    words = [f"This run: {run_score}, for {UNIT_FORMATS[unit](cost)}."]
    for arm_name, arm in arms.items():
        colour, marker, line = LOOKS[arm_name]
        at = getattr(arm.cost, unit) if arm.cost else None
        label = prose.arm_name(evidence, arm_name)
        if at is None:
            words.append(f"{label}: not run.")
        elif arm.score is None:
            axis.axvline(at, color=colour, lw=1.2, ls=line, label=f"{label}, cost alone")
            words.append(f"{label}: cost alone, {UNIT_FORMATS[unit](at)}; not run.")
        else:
            bars, told = None, ""
            if (difference := arm.difference) is not None:
                below, above = scale * (difference.high - difference.value), scale * (difference.value - difference.low)
                bars, ends = [[below], [above]], [*ends, scale * arm.score - below, scale * arm.score + above]
                value, low, high = (bound.striptags() for bound in change(evidence.metric, difference))
                told = f"; this run less it {value}, 95 % interval {low} to {high}, {over(difference)}"
            if arm_name != "fewer_epochs":
                axis.axhline(scale * arm.score, color=colour, lw=1, ls=line)
            aside = offset_copy(axis.transData, axis.get_figure(root=True), x=ASIDE[arm_name], units="points")
            axis.errorbar(
                at, scale * arm.score, yerr=bars, fmt=marker, ms=8, color=colour, capsize=4, lw=1.4, label=label,
                transform=aside,
            )  # fmt: skip
            words.append(f"{label}: {prose.score(evidence.metric, arm.score)} for {UNIT_FORMATS[unit](at)}{told}.")
    axis.set_ylabel(f"{axis_label(name)}, held-out")
    costs = [getattr(arm.cost, unit) for arm in arms.values() if arm.cost and getattr(arm.cost, unit)]
    axis.set_xlim(0, 1.1 * max([cost, *costs]) or 1.0)
    scores = [scale * score, *(scale * arm.score for arm in arms.values() if arm.score is not None)]
    room = 1.5 * (max(scores) - min(scores)) or 0.1 * abs(max(scores)) or 1.0  # an interval may be far wider
    least, most = min([*ends, *scores]) - room / 20, max([*ends, *scores]) + room / 20
    top = 100 + room / 20 if scale == 100 else np.inf
    axis.set_ylim(max(least, min(scores) - room), min(most, max(scores) + room, top))
    return words


def _look(run: RunData, name: str) -> tuple[str, str, str]:
    """Colour, marker and line of an arm, or of the run itself, which has the colour of its verdict."""
    return LOOKS.get(name) or (COLOURS[run.verdict.colour if run.verdict else "grey"], "o", "-")


def _curves(run: RunData, name: str, unit: Unit) -> dict[str, Curve]:
    """The metric on the validation split by cost so far, of the run and of its arms at its first seed.

    Costs of a step are the training's, shared out evenly over the steps, and the selection's before them.
    """
    files = RunFiles(run.run_dir)
    seeds = read_mapping(files.comparison, "run compare again").get("seeds") if files.comparison.is_file() else None
    if not seeds:
        return {}
    by_cost = {}
    folders: dict[str, Path] = {"selected": files.path} | {arm: files.rival(arm, seeds[0]) for arm in ARMS}
    for arm, folder in folders.items():
        if not RunFiles(folder).saving.is_file():
            continue
        curves = read_metrics(RunFiles(folder).metrics)[1]
        terms = getattr(Saving.read(folder), unit)
        if f"val/{name}" in curves and None not in (terms.selection, terms.training):
            last = max(int(curve.steps.max()) for curve in curves.values()) or 1
            curve = curves[f"val/{name}"]
            by_cost[arm] = Curve(terms.selection + terms.training * curve.steps / last, curve.values)
    return by_cost if len(by_cost) > 1 else {}
