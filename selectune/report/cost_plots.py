"""Waterfalls of a run's costs: from training on everything down to selection and training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from selectune.costs.record import Part, totals
from selectune.costs.saving import SELECTION, UNIT_NAMES, UNITS, WHOLE, Saving, Terms, Unit
from selectune.report.drawing import COLOURS, Picture, panels, styled
from selectune.report.labels import capital
from selectune.report.numbers import UNIT_FORMATS, Formatter
from selectune.report.run_data import STAGE_NAMES, RunData

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES: dict[Part, tuple[str, str]] = {
    "fit": ("Training on the selected rows", "Selection and training"),
    "warm_up": ("Warming up on the selected rows", "Selecting and warming up"),
}
Kind = Literal["full", "selection", "training", "total", "less", "more", "shared"]  # gives a bar its colour


@dataclass(frozen=True)
class Bar:
    """One step of a waterfall, from `start` to `end` in its unit; hatched where it was estimated, not measured."""

    label: str
    start: float
    end: float
    kind: Kind
    estimated: bool = False


def cost_pictures(run: RunData) -> Iterator[Picture]:
    """A waterfall for each unit in which all costs are known, and others for a warm-up's selection beside another."""
    waterfalls = [("waterfall", "Cost", unit, cost_bars(run, unit)) for unit in UNITS]
    if run.saving and run.saving.warm_up and run.saving.main is run.saving:
        bars_of = {unit: _saving_bars(run.saving.warm_up, unit) for unit in UNITS}
        waterfalls += [("waterfall-warm_up", "Cost of warming up", unit, bars) for unit, bars in bars_of.items()]
    for name, title, unit, bars in waterfalls:
        if bars:
            hatched = any(bar.estimated for bar in bars)
            note = "A hatched bar was not run but estimated from this run's cost a token." if hatched else ""
            drawn = waterfall(bars, UNIT_FORMATS[unit])
            yield Picture(f"{name}-{unit}", f"{title} in {UNIT_NAMES[unit]}", *drawn, note)


def missing_pictures(run: RunData) -> str:
    """A sentence for the units without a waterfall; empty where all have one."""
    if not run.records:
        return "There is no cost.jsonl, so nothing is known about costs."
    missing = [UNIT_NAMES[unit] for unit in UNITS if not cost_bars(run, unit)]
    return " ".join(f"There is no picture of the {name}, as some are unknown or there are none." for name in missing)


def cost_bars(run: RunData, unit: Unit) -> list[Bar]:
    """Steps from training on everything down to selection and training; else the stages; empty where one is unknown.

    Where rows were selected for the warm-up alone, the steps are the warm-up's, and fine-tuning stands below them.
    """
    if run.saving and (bars := _saving_bars(run.saving.main, unit)):
        fine_tuning = getattr(run.saving, unit).training
        if run.selected_for == "warm_up" and fine_tuning is not None:
            bars.append(Bar("Fine-tuning, for comparison", 0, fine_tuning, "shared"))
        return bars
    bars, at = [], 0.0
    for stage, total in totals(run.records).spent.items():
        value = getattr(total, unit)
        if value is None:
            return []
        kind: Kind = "training" if stage == "train" else "selection" if stage in SELECTION else "shared"
        bars.append(Bar(STAGE_NAMES[stage], at, at + value, kind))
        at += value
    return bars


def _saving_bars(saving: Saving, unit: Unit) -> list[Bar]:
    terms: Terms = getattr(saving, unit)
    if terms.selection is None or terms.training is None or terms.full_training is None or terms.saving is None:
        return []
    subset, total = NAMES[saving.part]
    bars = [Bar(capital(WHOLE[saving.part]), 0, terms.full_training, "full", terms.full_is_estimated)]
    at = 0.0
    for stage in SELECTION:
        if value := getattr(terms, stage):
            bars.append(Bar(STAGE_NAMES[stage], at, at + value, "selection"))
            at += value
    both = terms.selection + terms.training
    bars += [Bar(subset, at, both, "training"), Bar(total, 0, both, "total")]
    kind: Kind = "less" if terms.full_training >= both else "more"
    bars.append(Bar("Difference", both, terms.full_training, kind))
    return bars


@styled()
def waterfall(bars: Sequence[Bar], write: Formatter) -> tuple[Figure, str]:
    """Bars of costs that add up, from top to bottom, with the text alternative; `write` formats a value."""
    figure, (axis,) = panels(1, 0.32 * len(bars))
    most = max((abs(edge) for bar in bars for edge in (bar.start, bar.end)), default=0) or 1.0
    names, words = [], []
    for index, bar in enumerate(bars):
        low, high = sorted((bar.start, bar.end))
        names.append(f"{bar.label}{' (estimated)' if bar.estimated else ''}")
        value = {"less": "\N{MINUS SIGN}", "more": "+"}.get(bar.kind, "") + write(high - low)
        words.append(f"{names[-1]}: {value}")
        colour = COLOURS["full" if bar.kind in ("less", "more") else bar.kind]  # only a verdict is green or red
        look: dict[str, Any] = {"color": "white", "hatch": "////"} if bar.estimated else {"color": colour}
        axis.barh(index, max(high - low, most / 300), 0.66, left=low, **look | {"edgecolor": colour})
        axis.text(high + most / 60, index, value, va="center", fontweight="bold")
        if any(bar.end in (after.start, after.end) for after in bars[index + 1 : index + 2]):
            axis.plot([bar.end] * 2, [index + 0.33, index + 0.67], color=COLOURS["full"], lw=1, ls=":")
    axis.set_yticks(range(len(bars)), names)
    axis.tick_params(left=False)
    axis.set(xlim=(0, most * 1.2), ylim=(len(bars) - 0.4, -0.6), xticks=[])
    axis.spines["bottom"].set_visible(False)
    return figure, f"{'; '.join(words)}."
