"""Learning curves: what ``metrics.csv`` says of each step, drawn for one run or for several."""

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
from selectune.report.labels import cut, metric_name
from selectune.report.numbers import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito (2008) without the yellow, which white swallows; a second round has other dashes and markers.
CYCLE = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#000000")
DASHES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
MAX_MARKED = 40


@dataclass(frozen=True)
class Curve:
    """A metric by step.

    Args:
        steps: of the optimizer, ascending, int64, shape (n,).
        values: float64, all finite, shape (n,).
    """

    steps: np.ndarray
    values: np.ndarray

    def told(self, name: str, lower_is_better: bool) -> str:
        """First, best and last value in words."""
        if len(self.values) == 1:
            return f"{name} {self.values[0]:.4f} at step {count(self.steps[0])}"
        best = int(np.argmin(self.values) if lower_is_better else np.argmax(self.values))
        return (
            f"{name} {self.values[0]:.4f} at step {count(self.steps[0])}, {self.values[-1]:.4f} at step "
            f"{count(self.steps[-1])}, {'lowest' if lower_is_better else 'highest'} {self.values[best]:.4f} at step "
            f"{count(self.steps[best])}"
        )


def read_metrics(path: Path) -> tuple[dict[str, float], dict[str, Curve]]:
    """The last value of each metric, and the curve of each; of a step that a resumed run did again the last counts.

    Args:
        path: of ``metrics.csv``; one that is not there has no metrics.

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
    for name, found in points.items():
        steps = np.array(sorted(found), dtype=np.int64)
        curves[name] = Curve(steps, np.array([found[int(step)] for step in steps]))
    return last, curves


def _number(cell: Any) -> float | None:
    try:
        return float(cell)
    except (TypeError, ValueError):
        return None


def dev_metric(curves: Mapping[str, Curve], headline: str | None) -> str | None:
    """The metric of ``dev`` to draw: that of the headline figure, else the first, else the loss."""
    found = [name for name in curves if name.startswith("val/")]
    wanted = f"val/{headline.partition('/')[2]}" if headline else ""
    others = [name for name in found if name != "val/loss"]
    return wanted if wanted in found else next(iter(others or found), None)


@styled()
def learning_curves(runs: Mapping[str, Mapping[str, Curve]], headline: str | None) -> tuple[Figure, str] | None:
    """Loss of training and the headline metric on ``dev`` by step, a colour a run; None where nothing was logged.

    Args:
        runs: the curves of each run, by the name to show.
        headline: the metric of held-out data whose counterpart on ``dev`` is drawn, such as "test/accuracy".
    """
    chosen = {name: dev_metric(curves, headline) for name, curves in runs.items()}
    dev = next((metric for metric in chosen.values() if metric), None)
    drawn = [metric for metric in ("train/loss", dev) if metric and any(metric in curves for curves in runs.values())]
    if not drawn:
        return None
    figure, axes = panels(len(drawn), 2.9)
    words = []
    for axis, metric in zip(axes, drawn):
        for index, (name, curves) in enumerate(runs.items()):
            if curve := curves.get(metric):
                _line(axis, curve, cut(name, 28), index)
                about = f"{name}: " if len(runs) > 1 else ""
                words.append(f"{about}{curve.told(_title(metric), is_loss(metric))}.")
        axis.set(xlabel="optimizer steps", ylabel=_title(metric))
        axis.set_xlim(left=0)
        axis.grid(alpha=0.25, lw=0.6)
    if len(runs) > 1:
        legend(figure, axes, columns=min(len(runs), 3), markerscale=1)
    silent = [name for name, curves in runs.items() if not any(metric in curves for metric in drawn)]
    if silent:
        words.append(f"Nothing was logged by {', '.join(silent)}.")
    return figure, f"Learning curves. {' '.join(words)}"


def is_loss(metric: str) -> bool:
    """Whether less of a metric is better."""
    return metric.rpartition("/")[2] in ("loss", "perplexity")


def _title(metric: str) -> str:
    split = {"train": "training", "val": "dev"}.get(metric.partition("/")[0], "")
    return f"{metric_name(metric)} on {split}" if split == "dev" else f"{metric_name(metric)} of {split}"


def _line(axis: Axes, curve: Curve, name: str, index: int) -> None:
    marker = MARKERS[index % len(MARKERS)] if len(curve.steps) <= MAX_MARKED else ""
    axis.plot(
        curve.steps, curve.values, color=CYCLE[index % len(CYCLE)], marker=marker, ms=4.5, lw=1.6, label=name,
        ls=DASHES[index // len(CYCLE) % len(DASHES)],
    )  # fmt: skip
