"""What ``estimate`` forecast, beside what the run then took."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from html import escape
from typing import Any

from selectune.costs.record import Part, Total, add_up
from selectune.costs.saving import UNIT_NAMES, UNITS, Saving
from selectune.report.html_tables import bullets, capital, data, table
from selectune.report.numbers import flop, memory, seconds, share
from selectune.report.run_data import STAGE_NAMES, Facts

Told = Callable[[float | None], str]
ABOVE = (("", 1), ("FLOPs", 3), ("Wall time", 3), ("Peak memory", 2))
COLUMNS = ("Stage", *2 * ("forecast", "measured", "off by"), "forecast", "measured")


def forecast_table(facts: Facts) -> str:
    """Forecast and measured costs of each stage, the saving, and what the forecast assumed; nothing without one."""
    forecast = facts.forecast
    if not forecast:
        return ""
    stages = {str(name): one for name, one in _mapping(forecast.get("stages")).items() if isinstance(one, dict)}
    rows, spent = "", Total()
    for stage, part, told in _by_part(stages):
        records = [record for record in facts.costs.kept if record.stage == stage and record.part in part.split("+")]
        measured = add_up(records) if records else None
        spent += measured or Total()
        label = STAGE_NAMES.get(stage, stage)  # type: ignore[call-overload]
        rows += _row(f"{label}{' for the warm-up' if part == 'warm_up' and stage != 'warm_up' else ''}", told, measured)
    body = f"<tbody>{rows}</tbody>"
    if total := _mapping(forecast.get("total")):
        body += f'<tbody class="sum">{_row("These stages", total, spent, memory_too=False)}</tbody>'
    sentence = forecast.get("sentence")
    notes = [str(one) for one in _list(forecast.get("assumptions"))]
    if isinstance(device := forecast.get("device"), str):
        notes.append(f"Forecast for {device}.")
    notes.append("What a cache spared counts as measured by what it cost when it was made.")
    return (
        (f"<p>{escape(sentence)}</p>" if isinstance(sentence, str) else "")
        + table(COLUMNS, body, "costs", ABOVE)
        + _savings(facts)
        + bullets(notes, "note")
    )


def _by_part(stages: dict[str, dict[str, Any]]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Stages of a forecast with the part that each served; one that served several is told for each of them."""
    for name, told in stages.items():
        before, _, stage = name.rpartition("/")
        parts = {part: one for part, one in _mapping(told.get("parts")).items() if isinstance(one, dict)}
        if len(parts) > 1:
            yield from ((stage, part, one) for part, one in parts.items())
        else:
            yield stage, str(told.get("part") or before or "fit"), told


def _savings(facts: Facts) -> str:
    """The saving and the break-even of what was chosen, be it for the warm-up alone, as forecast and as they came."""
    came = facts.saving.main if facts.saving else None
    expected = _expected(facts.forecast, came.part if came else None)
    of = " of the warm-up's choice" if came and came.part == "warm_up" else ""
    lines: list[tuple[str, float | None, float | None, Told]] = []
    for unit in UNITS:
        saved: float | None = getattr(came, unit).saving if came else None
        lines.append((f"Saving{of} in {UNIT_NAMES[unit]}", expected[unit], saved, share))
    uses = came.flops.break_even_uses if came else None
    lines.append((f"Break-even{of}, in uses of the selection", expected["break_even_uses"], uses, _plain))
    lines.append(("Break-even, in the share kept", number(facts.forecast, "break_even_keep"), None, share))
    rows = "".join(
        f'<tr><th scope="row">{capital(label)}</th><td>{_cell(before, told)}</td><td>{_cell(after, told)}</td></tr>'
        for label, before, after, told in lines
        if before is not None
    )
    return table(("", "Forecast", "Measured"), f"<tbody>{rows}</tbody>", "terms") if rows else ""


def _expected(forecast: dict[str, Any], part: Part | None) -> dict[str, float | None]:
    """The saving in each unit and the break-even that were forecast: of the warm-up where that alone chose rows.

    Nothing stands beside the saving of a part that the forecast says nothing of.
    """
    unknown: dict[str, float | None] = dict.fromkeys((*UNITS, "break_even_uses"))
    try:
        main = Saving.from_json(_mapping(forecast.get("terms"))).main
    except (KeyError, TypeError, ValueError):  # a forecast of an earlier version, or a damaged one
        if part == "warm_up":
            return unknown
        saving = _mapping(forecast.get("saving"))
        return {
            **{unit: number(saving, unit) for unit in UNITS},
            "break_even_uses": number(forecast, "break_even_uses"),
        }
    if part not in (None, main.part):
        return unknown
    return {**{unit: getattr(main, unit).saving for unit in UNITS}, "break_even_uses": main.flops.break_even_uses}


def _row(label: str, forecast: dict[str, Any], measured: Total | None, memory_too: bool = True) -> str:
    cells = ""
    for name, told in (("flops", flop), ("wall_s", seconds)):
        before, after = number(forecast, name), getattr(measured, name) if measured else None
        off = before / after - 1 if before is not None and after else None
        cells += f"<td>{_cell(before, told)}</td><td>{_cell(after, told)}</td><td>{_cell(off, _signed)}</td>"
    if memory_too:
        peak = max(measured.peak_rss_bytes, measured.peak_cuda_bytes or 0) if measured else None
        cells += f"<td>{_cell(number(forecast, 'peak_rss_bytes'), memory)}</td><td>{_cell(peak, memory)}</td>"
    else:
        cells += "<td>–</td><td>–</td>"
    return f'<tr><th scope="row">{escape(label)}</th>{cells}</tr>'


def number(content: dict[str, Any], name: str) -> float | None:
    """A finite number in a mapping; None where it is missing or something else."""
    value = content.get(name)
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if known else None


def _mapping(content: Any) -> dict[str, Any]:
    return content if isinstance(content, dict) else {}


def _list(content: Any) -> list[Any]:
    return content if isinstance(content, list) else []


def _cell(value: float | None, told: Told) -> str:
    return "–" if value is None else data(value, told)


def _signed(value: float | None) -> str:
    return f"{'+' if (value or 0) > 0 else ''}{share(value)}"


def _plain(value: float | None) -> str:
    return f"{value:,.2f}"
