"""The table of a saving: its terms in each unit, the break-even, and how large the scoring model is."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from selectune.costs.saving import UNIT_NAMES, UNITS, WHOLE, Saving, Terms, Unit
from selectune.costs.scorer_ratio import ScorerRatio
from selectune.report.html_tables import UNIT_TOLD, capital, data, table
from selectune.report.numbers import share


def terms_table(whole: Saving | None) -> str:
    """The terms of the saving to look at first in each unit, and the break-even.

    Args:
        whole: of a run. Where rows were chosen for its warm-up alone, the terms are those of that, and plain
            fine-tuning stands beside them.
    """
    if whole is None:
        return "<p>There is no saving.json: nothing was trained, so there is nothing to compare.</p>"
    saving = whole.main
    estimated = " (estimated)" if saving.device_s.full_is_estimated else ""
    doing = "Training" if saving.part == "fit" else "Warming up"
    lines: list[tuple[str, Callable[[Unit], float | None]]] = [
        ("Selection, always charged", lambda unit: _terms(saving, unit).selection),
        ("of which a cache spared this run", lambda unit: _terms(saving, unit).selection_avoided),
        (f"{doing} on the subset", lambda unit: _terms(saving, unit).training),
        (f"{capital(WHOLE[saving.part])}{estimated}", lambda unit: _terms(saving, unit).full_training),
        ("Start-up that both need, left out", lambda unit: _terms(saving, unit).shared),
        ("Evaluation, left out", lambda unit: _terms(saving, unit).evaluation),
    ]
    if any(_terms(saving, unit).redone != 0 for unit in UNITS):
        lines.append(("Redone after an interruption, left out", lambda unit: _terms(saving, unit).redone))
    if saving is not whole:
        lines.append(("Fine-tuning, for comparison", lambda unit: _terms(whole, unit).training))
    body = ""
    for label, term in lines:
        cells = "".join(f"<td>{data(term(unit), UNIT_TOLD[unit])}</td>" for unit in UNITS)
        kind = ' class="part"' if label.startswith("of which") else ""
        body += f'<tr{kind}><th scope="row">{label}</th>{cells}</tr>'
    cells = "".join(f"<td>{data(_terms(saving, unit).saving, share)}</td>" for unit in UNITS)
    uses = "".join(f"<td>{_uses(_terms(saving, unit))}</td>" for unit in UNITS)
    body = (
        f'<tbody>{body}</tbody><tbody class="sum"><tr><th scope="row">Saving</th>{cells}</tr></tbody>'
        f'<tbody><tr><th scope="row">Break-even, in uses of the selection</th>{uses}</tr></tbody>'
    )
    shown = table(("Term", *(capital(UNIT_NAMES[unit]) for unit in UNITS)), body, "terms")
    return (
        f"<p>{escape(saving.break_even_sentence())}</p>{shown}{_scorer(saving.scorer_ratio)}"
        f'<p class="note">Saving = {escape(saving.definition)}.</p>'
    )


def _terms(saving: Saving, unit: Unit) -> Terms:
    found: Terms = getattr(saving, unit)
    return found


def _scorer(ratio: ScorerRatio | None) -> str:
    """How large the scoring model is beside the model that is trained."""
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


def _uses(terms: Terms) -> str:
    if terms.break_even_uses is None:
        return "unknown" if terms.saving is None else "never"
    return data(terms.break_even_uses, lambda value: f"{value:,.2f}")
