"""Learning curves: the metrics of ``metrics.csv`` by step, of one run or of several."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selectune.common.errors import UserError
from selectune.report.drawing import legend, panels, styled
from selectune.report.labels import axis_label, cut, factor, metric, metric_name
from selectune.report.numbers import count
from selectune.verdict.metric_kinds import metric_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe & Ito (2008) without the yellow, which is lost on white; a second round has other dashes and markers.
CYCLE = ("#0072b2", "#e69f00", "#cc79a7", "#56b4e9", "#000000", "#d55e00", "#009e73")
DASHES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
MAX_MARKED = 40
NOT_LOGGED = (
    "The loss of training was not logged: there were fewer steps than trainer.log_every_n_steps, 50 by default."
)


@dataclass(frozen=True)
class Curve:
    """A metric by step.

    Args:
        steps: of the optimizer, ascending, int64, shape (n,).
        values: float64, all finite, shape (n,).
    """

    steps: np.ndarray
    values: np.ndarray


def read_metrics(path: Path) -> tuple[dict[str, float], dict[str, Curve]]:
    """The last value of each metric, and its curve; where a resumed run repeated a step, the later value counts.

    Args:
        path: of ``metrics.csv``; a missing file has no metrics.

    Raises:
        UserError: the file cannot be read as text.
    """
    last: dict[str, float] = {}
    points: dict[str, dict[int, float]] = {}
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        rows = list(csv.DictReader(text.splitlines()))
    except (ValueError, OSError, csv.Error) as error:
        raise UserError(f"{path} is damaged ({error}); remove it, or run again into a new folder.") from None
    for row in rows:
        step = _number(row.get("step"))
        for name, cell in row.items():
            value = _number(cell)
            if name and name not in ("step", "epoch") and value is not None:
                last[name] = value
                if step is not None and math.isfinite(step) and math.isfinite(value):
                    points.setdefault(name, {})[int(step)] = value
    curves = {}
    for name, by_step in points.items():
        steps, values = zip(*sorted(by_step.items()))
        curves[name] = Curve(np.array(steps, dtype=np.int64), np.array(values))
    return last, curves


def _number(cell: Any) -> float | None:
    try:
        return float(cell)
    except (TypeError, ValueError):
        return None


@styled()
def learning_curves(runs: Mapping[str, Mapping[str, Curve]], headline: str | None) -> tuple[Figure, str] | None:
    """Training loss and the headline metric of validation by step, a colour a run; None where nothing was logged.

    Args:
        runs: the curves of each run, by the name to show.
        headline: the metric of held-out data whose counterpart of validation is drawn, such as "test/accuracy".
    """
    validation = next((name for curves in runs.values() if (name := _validation_metric(curves, headline))), None)
    drawn = [name for name in ("train/loss", validation) if name and any(name in curves for curves in runs.values())]
    if not drawn:
        return None
    figure, axes = panels(len(drawn), 2.9)
    words = []
    for axis, name in zip(axes, drawn):
        split = "validation" if name.startswith("val/") else "training"
        for index, (run, curves) in enumerate(runs.items()):
            if curve := curves.get(name):
                marker = MARKERS[index % len(MARKERS)] if len(curve.steps) <= MAX_MARKED else ""
                axis.plot(
                    curve.steps, factor(name) * curve.values, color=CYCLE[index % len(CYCLE)], marker=marker, ms=4.5,
                    lw=1.6, label=cut(run, 28), ls=DASHES[index // len(CYCLE) % len(DASHES)],
                )  # fmt: skip
                about = f"{run}: " if len(runs) > 1 else ""
                words.append(f"{about}{metric_name(name)}, {split}: {_in_words(curve, name)}.")
        axis.set(xlabel="optimizer steps", ylabel=f"{axis_label(name)}, {split}")
        axis.set_xlim(left=0)
        axis.grid(True)
    if len(runs) > 1:
        legend(figure, columns=min(len(runs), 3), markerscale=1)
    silent = [run for run, curves in runs.items() if not any(name in curves for name in drawn)]
    if silent:
        words.append(f"Nothing was logged by {', '.join(silent)}.")
    return figure, f"Learning curves. {' '.join(words)}"


def _validation_metric(curves: Mapping[str, Curve], headline: str | None) -> str | None:
    """The metric of validation to draw: the headline's counterpart, else the first, else the loss."""
    names = [name for name in curves if name.startswith("val/")]
    wanted = f"val/{headline.partition('/')[2]}" if headline else ""
    others = [name for name in names if name != "val/loss"]
    return wanted if wanted in names else next(iter(others or names), None)


def _in_words(curve: Curve, name: str) -> str:
    """First, last and best value: "50.0 % at step 19, 60.0 % at step 59, highest 62.5 % at step 39"."""
    points = [f"{metric(name, value)} at step {count(step)}" for step, value in zip(curve.steps, curve.values)]
    best = int(np.argmin(curve.values) if is_loss(name) else np.argmax(curve.values))
    extreme = "lowest" if is_loss(name) else "highest"
    return points[0] if len(points) == 1 else f"{points[0]}, {points[-1]}, {extreme} {points[best]}"


def is_loss(metric: str) -> bool:
    """Whether less of a metric is better."""
    return not metric_of(metric).higher_is_better
