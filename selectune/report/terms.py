"""The table of a saving: its terms in each unit, the break-even, and the size of the scoring model."""

from __future__ import annotations

from html import escape

from selectune.costs.saving import UNIT_NAMES, UNITS, WHOLE, Saving, Terms, Unit
from selectune.report.html_tables import UNIT_FORMATS, data, row, table
from selectune.report.labels import capital
from selectune.report.numbers import share


def terms_table(whole: Saving | None) -> str:
    """The terms of a run's main saving in each unit, and the break-even.

    Where rows were selected for its warm-up alone, they are the warm-up's, and plain fine-tuning stands beside them.
    """
    if whole is None:
        return "<p>There is no saving.json: nothing was trained, so there is nothing to compare.</p>"
    saving = whole.main
    by_unit: dict[Unit, Terms] = {unit: getattr(saving, unit) for unit in UNITS}
    estimated = " (estimated)" if saving.device_s.full_is_estimated else ""
    doing = "Training" if saving.part == "fit" else "Warming up"
    lines = {
        "selection": "Selection, always charged",
        "selection_avoided": "of which a cache spared this run",
        "training": f"{doing} on the subset",
        "full_training": f"{capital(WHOLE[saving.part])}{estimated}",
        "shared": "Start-up that both need, left out",
        "evaluation": "Evaluation, left out",
    }
    if any(terms.redone != 0 for terms in by_unit.values()):
        lines["redone"] = "Redone after an interruption, left out"
    body = ""
    for name, label in lines.items():
        cells = [data(getattr(terms, name), UNIT_FORMATS[unit]) for unit, terms in by_unit.items()]
        body += row(label, cells, "part" if name == "selection_avoided" else "")
    if saving is not whole:
        cells = [data(getattr(whole, unit).training, UNIT_FORMATS[unit]) for unit in UNITS]
        body += row("Fine-tuning, for comparison", cells)
    saved = row("Saving", [data(terms.saving, share) for terms in by_unit.values()])
    uses = row("Break-even, in uses of the selection", map(_uses, by_unit.values()))
    body = f'<tbody>{body}</tbody><tbody class="sum">{saved}</tbody><tbody>{uses}</tbody>'
    shown = table(("Term", *(capital(UNIT_NAMES[unit]) for unit in UNITS)), body, "terms")
    return (
        f"<p>{escape(saving.break_even_sentence())}</p>{shown}{_scorer(saving)}"
        f'<p class="note">Saving = {escape(saving.definition)}.</p>'
    )


def _uses(terms: Terms) -> str:
    if terms.break_even_uses is None:
        return "unknown" if terms.saving is None else "never"
    return data(terms.break_even_uses, lambda value: f"{value:,.2f}")


def _scorer(saving: Saving) -> str:
    """The size of the scoring model beside the model that is trained."""
    ratio = saving.scorer_ratio
    known = {"parameters": ratio.parameters, "FLOPs a token": ratio.flops_per_token} if ratio else {}
    words = [
        f"{data(value, lambda part: f'{part:.3g} times')} the {name}"
        for name, value in known.items()
        if value is not None
    ]
    if not words:
        return ""
    pays = "Selecting pays when the scorer is 5 to 10 times smaller, Yin &amp; Rush (2025) found."
    return f"<p>The model that scored has {' and '.join(words)} of the model that is trained. {pays}</p>"
