"""The waterfall of a run's costs in each unit: what it is made of, and its pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Literal

from selectune.costs.record import Part, totals
from selectune.costs.saving import SELECTION, UNIT_NAMES, UNITS, WHOLE, Saving, Terms, Unit
from selectune.report.drawing import Picture, panels, styled
from selectune.report.html_tables import UNIT_TOLD, capital
from selectune.report.numbers import COLOURS
from selectune.report.run_data import STAGE_NAMES, Facts

if TYPE_CHECKING:
    from matplotlib.figure import Figure


NAMES: dict[Part, tuple[str, str]] = {
    "fit": ("Training on the subset", "Selection and training"),
    "warm_up": ("Warming up on the chosen", "Choosing and warming up"),
}


def cost_pictures(facts: Facts, prefix: str = "") -> Iterator[Picture]:
    """A waterfall for each unit of which all parts are known; a warm-up's choice beside a selection has its own.

    Args:
        facts: of the run.
        prefix: makes the ids in the page different from those of other runs.
    """
    for unit in UNITS:
        if bars := cost_bars(facts, unit):
            yield _picture(bars, f"Cost in {UNIT_NAMES[unit]}", f"waterfall-{unit}", prefix, unit)
    if facts.saving and facts.saving.warm_up and facts.saving.main is facts.saving:
        for unit in UNITS:
            if bars := _steps(facts.saving.warm_up, unit):
                title = f"Cost of warming up in {UNIT_NAMES[unit]}"
                yield _picture(bars, title, f"waterfall-warm_up-{unit}", prefix, unit)


def _picture(bars: Sequence[Bar], title: str, name: str, prefix: str, unit: Unit) -> Picture:
    svg, alt = waterfall(bars, title, f"{prefix}{name}", UNIT_TOLD[unit])
    hatched = any(bar.estimated for bar in bars)
    note = "A hatched bar was not run but estimated from this run's cost a token." if hatched else ""
    return Picture(name, title, waterfall_figure(bars, UNIT_TOLD[unit]), alt, note, svg)


def unpictured(facts: Facts) -> str:
    """A sentence for the units without a picture; nothing where all have one."""
    if not facts.records:
        return "There is no cost.jsonl, so nothing is known about costs."
    missing = [UNIT_NAMES[unit] for unit in UNITS if not cost_bars(facts, unit)]
    return " ".join(f"There is no picture of the {name}, as some are unknown or there are none." for name in missing)


def cost_bars(facts: Facts, unit: Unit) -> Sequence[Bar]:
    """The steps of the waterfall: from training on everything down to what was saved, else the stages alone.

    Where rows were chosen for the warm-up alone, the steps are the warm-up's, and fine-tuning stands below them.
    """
    bars = _steps(facts.saving.main, unit) if facts.saving else []
    if not bars:  # nothing to compare with
        return _stages(facts, unit)
    fine_tuning = getattr(facts.saving, unit).training
    if facts.chosen_for == "warm_up" and fine_tuning is not None:
        bars.append(Bar("Fine-tuning, for comparison", 0, fine_tuning, "shared"))
    return bars


def _steps(saving: Saving, unit: Unit) -> list[Bar]:
    """From training on everything down to what was saved; empty where that is not known."""
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
    bars.append(Bar(subset, at, both, "training"))
    bars.append(Bar(total, 0, both, "total"))
    won = terms.full_training >= both
    bars.append(Bar("Saved" if won else "Lost", both, terms.full_training, "saved" if won else "lost"))
    return bars


def _stages(facts: Facts, unit: Unit) -> Sequence[Bar]:
    bars: list[Bar] = []
    at = 0.0
    for stage, total in totals(facts.records).spent.items():
        value = getattr(total, unit)
        if value is None:
            return []
        kind: Kind = "training" if stage == "train" else "selection" if stage in SELECTION else "shared"
        bars.append(Bar(STAGE_NAMES[stage], at, at + value, kind))
        at += value
    return bars


Kind = Literal["full", "selection", "training", "total", "saved", "lost", "shared"]


@dataclass(frozen=True)
class Bar:
    """One step of a waterfall, from `start` to `end` in the waterfall's unit.

    Args:
        label: beside the bar.
        start: where it begins.
        end: where it ends.
        kind: what it shows, which gives its colour.
        estimated: whether it was not measured; such a bar is hatched.
    """

    label: str
    start: float
    end: float
    kind: Kind
    estimated: bool = False


def value_of(bar: Bar, told: Callable[[float | None], str]) -> str:
    """What a bar comes to, a saving with a minus and a loss with a plus."""
    sign = {"saved": "\N{MINUS SIGN}", "lost": "+"}.get(bar.kind, "")
    return sign + told(abs(bar.end - bar.start))


@dataclass(frozen=True)
class _Place:
    """Where a bar stands, in the waterfall's unit, and what is written beside it; `step` is where the next takes up."""

    bar: Bar
    low: float
    high: float
    name: str
    value: str
    step: float | None


def _placed(bars: Sequence[Bar], told: Callable[[float | None], str]) -> tuple[list[_Place], float]:
    """The bars' places, and the largest value, over 0."""
    places = []
    for bar, after in zip(bars, [*bars[1:], None]):
        low, high = sorted((bar.start, bar.end))
        step = bar.end if after is not None and bar.end in (after.start, after.end) else None
        name = f"{bar.label}{' (estimated)' if bar.estimated else ''}"
        places.append(_Place(bar, low, high, name, value_of(bar, told), step))
    return places, max([abs(edge) for place in places for edge in (place.low, place.high)], default=0) or 1.0


def waterfall(bars: Sequence[Bar], title: str, name: str, told: Callable[[float | None], str]) -> tuple[str, str]:
    """An SVG picture of costs that add up, with its text alternative in it and beside it.

    Args:
        bars: from top to bottom.
        title: of the picture.
        name: unique in the page, for the ids.
        told: writes a value with its unit.
    """
    places, most = _placed(bars, told)
    left = max([190, *(24 + round(7.4 * len(bar.label)) for bar in bars)])  # room for the longest label
    width, row, right = 610 - left, 30, 130
    height = row * len(bars) + 8

    def at(value: float) -> float:
        return left + width * value / most

    parts = []
    for index, place in enumerate(places):
        top, colour = 4 + row * index, COLOURS[place.bar.kind]
        low, high = at(place.low), at(place.high)
        fill = f"url(#{name}-{place.bar.kind})" if place.bar.estimated else colour
        parts.append(
            f'<text x="{left - 10}" y="{top + 19}" text-anchor="end">{escape(place.bar.label)}</text>'
            f'<rect x="{low:.1f}" y="{top + 4}" width="{max(high - low, 1.5):.1f}" height="{row - 10}" '
            f'fill="{fill}" stroke="{colour}"/>'
            f'<text class="value" x="{max(high, low + 1.5) + 8:.1f}" y="{top + 19}">{escape(place.value)}</text>'
        )
        if place.step is not None:
            parts.append(
                f'<path d="M{at(place.step):.1f} {top + row - 6}V{top + row + 4}" stroke="#8b9099" '
                'stroke-dasharray="2 2"/>'
            )
    hatches = "".join(
        f'<pattern id="{name}-{kind}" width="6" height="6" patternUnits="userSpaceOnUse" '
        f'patternTransform="rotate(45)"><rect width="6" height="6" fill="#fff"/>'
        f'<rect width="3" height="6" fill="{COLOURS[kind]}"/></pattern>'
        for kind in sorted({bar.kind for bar in bars if bar.estimated})
    )
    alt = f"{'; '.join(f'{place.name}: {place.value}' for place in places)}."
    svg = (
        f'<svg role="img" viewBox="0 0 {left + width + right} {height}" aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-desc">{escape(alt)}</desc>'
        f"<defs>{hatches}</defs>"
        f'<path d="M{left} 0V{height}" stroke="#8b9099"/>{"".join(parts)}</svg>'
    )
    return svg, alt


@styled()
def waterfall_figure(bars: Sequence[Bar], told: Callable[[float | None], str]) -> Figure:
    """The same picture by matplotlib, for a file."""
    figure, (axis,) = panels(1, 0.32 * len(bars))
    places, most = _placed(bars, told)
    for index, place in enumerate(places):
        colour = COLOURS[place.bar.kind]
        look: dict[str, Any] = {"color": "white", "hatch": "////"} if place.bar.estimated else {"color": colour}
        axis.barh(index, max(place.high - place.low, most / 300), 0.66, left=place.low, **look | {"edgecolor": colour})
        axis.text(place.high + most / 60, index, place.value, va="center", fontweight="bold")
        if place.step is not None:
            axis.plot([place.step] * 2, [index + 0.33, index + 0.67], color=COLOURS["full"], lw=1, ls=":")
    axis.set_yticks(range(len(bars)), [place.name for place in places])
    axis.tick_params(left=False)
    axis.set(xlim=(0, most * 1.2), ylim=(len(bars) - 0.4, -0.6), xticks=[])
    axis.spines["bottom"].set_visible(False)
    return figure
