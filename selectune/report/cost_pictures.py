"""The waterfall of a run's costs in each unit: what it is made of, and its pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from selectune.costs import Part, totals
from selectune.report.facts import STAGE_NAMES, Facts
from selectune.report.pictures import Picture
from selectune.report.tables import UNIT_TOLD, capital
from selectune.report.waterfall import Bar, Kind, waterfall, waterfall_figure
from selectune.savings import SELECTION, UNIT_NAMES, UNITS, WHOLE, Saving, Terms, Unit

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
