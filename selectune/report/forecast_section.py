"""What ``estimate`` forecast, beside what the run then took."""

from __future__ import annotations

import math
from collections.abc import Callable
from html import escape
from typing import Any

from selectune.costs import CostRecord, Total, add_up
from selectune.report.facts import STAGE_NAMES, Facts
from selectune.report.figures import flop, memory, seconds, share
from selectune.report.tables import bullets, capital, data, table
from selectune.savings import UNIT_NAMES, UNITS, Unit

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
    for name, told in stages.items():
        records = _measured(facts.records, name, told)
        measured = add_up(records) if records else None
        spent += measured or Total()
        stage = name.rpartition("/")[2]
        label = STAGE_NAMES.get(stage, stage)  # type: ignore[call-overload]
        part = " for the warm-up" if _part(name, told) == "warm_up" and stage != "warm_up" else ""
        rows += _row(f"{label}{part}", told, measured)
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


def _savings(facts: Facts) -> str:
    """The saving and the break-even, as forecast and as it came."""
    saving = _mapping(facts.forecast.get("saving"))
    lines: list[tuple[str, float | None, float | None, Told]] = []
    for unit in UNITS:
        lines.append((f"Saving in {UNIT_NAMES[unit]}", number(saving, unit), _came(facts, unit, "saving"), share))
    uses = number(facts.forecast, "break_even_uses")
    lines.append(("Break-even, in uses of the selection", uses, _came(facts, "flops", "break_even_uses"), _plain))
    lines.append(("Break-even, in the share kept", number(facts.forecast, "break_even_keep"), None, share))
    rows = "".join(
        f'<tr><th scope="row">{capital(label)}</th><td>{_cell(before, told)}</td><td>{_cell(after, told)}</td></tr>'
        for label, before, after, told in lines
        if before is not None
    )
    return table(("", "Forecast", "Measured"), f"<tbody>{rows}</tbody>", "terms") if rows else ""


def _came(facts: Facts, unit: Unit, name: str) -> float | None:
    found: float | None = getattr(getattr(facts.saving, unit), name) if facts.saving else None
    return found


def _part(name: str, told: dict[str, Any]) -> Any:
    return told.get("part") or (name.partition("/")[0] if "/" in name else "fit")


def _measured(records: list[CostRecord], name: str, told: dict[str, Any]) -> list[CostRecord]:
    stage, part = name.rpartition("/")[2], _part(name, told)
    return [record for record in records if record.stage == stage and record.part == part]


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
