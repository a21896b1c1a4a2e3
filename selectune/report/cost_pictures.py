"""The waterfall of a run's costs in each unit: what it is made of, and its pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from selectune.costs import totals
from selectune.report.facts import STAGE_NAMES, Facts
from selectune.report.pictures import Picture
from selectune.report.tables import UNIT_TOLD
from selectune.report.waterfall import Bar, Kind, waterfall, waterfall_figure
from selectune.savings import SELECTION, UNIT_NAMES, UNITS, Terms, Unit


def cost_pictures(facts: Facts, prefix: str = "") -> Iterator[Picture]:
    """A waterfall for each unit of which all parts are known.

    Args:
        facts: of the run.
        prefix: makes the ids in the page different from those of other runs.
    """
    for unit in UNITS:
        if bars := cost_bars(facts, unit):
            title = f"Cost in {UNIT_NAMES[unit]}"
            svg, alt = waterfall(bars, title, f"{prefix}waterfall-{unit}", UNIT_TOLD[unit])
            note = "A hatched bar was not run but estimated from this run's cost a token."
            hatched = any(bar.estimated for bar in bars)
            yield Picture(
                f"waterfall-{unit}", title, waterfall_figure(bars, UNIT_TOLD[unit]), alt, note if hatched else "", svg
            )


def unpictured(facts: Facts) -> str:
    """A sentence for the units without a picture; nothing where all have one."""
    if not facts.records:
        return "There is no cost.jsonl, so nothing is known about costs."
    missing = [UNIT_NAMES[unit] for unit in UNITS if not cost_bars(facts, unit)]
    return " ".join(f"There is no picture of the {name}, as some are unknown or there are none." for name in missing)


def cost_bars(facts: Facts, unit: Unit) -> Sequence[Bar]:
    """The steps of the waterfall: from training on everything down to what was saved, else the stages alone."""
    terms: Terms | None = getattr(facts.saving, unit) if facts.saving else None
    if terms is None or terms.saving is None:  # nothing to compare with
        return _stages(facts, unit)
    assert terms.selection is not None
    assert terms.training is not None
    assert terms.full_training is not None
    bars = [Bar("Training on everything", 0, terms.full_training, "full", terms.full_is_estimated)]
    at = 0.0
    for stage in SELECTION:
        if value := getattr(terms, stage):
            bars.append(Bar(STAGE_NAMES[stage], at, at + value, "selection"))
            at += value
    both = terms.selection + terms.training
    bars.append(Bar("Training on the subset", at, both, "training"))
    bars.append(Bar("Selection and training", 0, both, "total"))
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
