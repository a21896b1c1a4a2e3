"""Costs that ``estimate`` forecast, beside those that the run then had."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape
from typing import Any

from selectune.costs.record import Part, Total, add_up
from selectune.costs.saving import UNIT_NAMES, UNITS, Saving
from selectune.report.html_tables import bullets, cell, row, table
from selectune.report.labels import capital
from selectune.report.numbers import Formatter, flop, memory, seconds, share
from selectune.report.run_data import STAGE_NAMES, RunData

ABOVE = (("", 1), ("FLOPs", 3), ("Wall time", 3), ("Peak memory", 2))
COLUMNS = ("Stage", *2 * ("forecast", "measured", "off by"), "forecast", "measured")


def forecast_table(run: RunData) -> str:
    """Forecast and measured costs of each stage, the saving, and assumptions of the forecast; empty without one."""
    forecast = run.forecast
    if not forecast:
        return ""
    rows, spent = "", Total()
    for stage, part, expected in _stages(forecast):
        records = [record for record in run.costs.kept if record.stage == stage and record.part in part.split("+")]
        measured = add_up(records) if records else None
        spent += measured or Total()
        label = STAGE_NAMES.get(stage, stage)  # type: ignore[call-overload]
        label += " for the warm-up" if part == "warm_up" and stage != "warm_up" else ""
        rows += _row(label, expected, measured)
    body = f"<tbody>{rows}</tbody>"
    if total := _mapping(forecast.get("total")):
        body += f'<tbody class="sum">{_row("These stages", total, spent, with_memory=False)}</tbody>'
    sentence, assumptions, device = (forecast.get(name) for name in ("sentence", "assumptions", "device"))
    notes = [str(one) for one in assumptions] if isinstance(assumptions, list) else []
    if isinstance(device, str):
        notes.append(f"Forecast for {device}.")
    notes.append("What a cache spared counts as measured by what it cost when it was made.")
    return (
        (f"<p>{escape(sentence)}</p>" if isinstance(sentence, str) else "")
        + table(COLUMNS, body, "costs", ABOVE)
        + _savings(run)
        + bullets(notes, "note")
    )


def _stages(forecast: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Stage, part and forecast costs; a stage that serves several parts comes once for each."""
    for name, costs in _mapping(forecast.get("stages")).items():
        if not isinstance(costs, dict):
            continue
        before, _, stage = str(name).rpartition("/")
        parts = {part: one for part, one in _mapping(costs.get("parts")).items() if isinstance(one, dict)}
        if len(parts) > 1:
            yield from ((stage, part, one) for part, one in parts.items())
        else:
            yield stage, str(costs.get("part") or before or "fit"), costs


def _row(label: str, forecast: dict[str, Any], measured: Total | None, with_memory: bool = True) -> str:
    cells = []
    for name, write in (("flops", flop), ("wall_s", seconds)):
        before, after = _number(forecast, name), getattr(measured, name) if measured else None
        off = before / after - 1 if before is not None and after else None
        cells += [cell(before, write), cell(after, write), cell(off, _signed)]
    expected, peak = None, None
    if with_memory:
        expected = _number(forecast, "peak_rss_bytes")
        peak = max(measured.peak_rss_bytes, measured.peak_cuda_bytes or 0) if measured else None
    return row(escape(label), [*cells, cell(expected, memory), cell(peak, memory)])


def _savings(run: RunData) -> str:
    """The saving and the break-even, forecast and measured."""
    measured = run.saving.main if run.saving else None
    expected = _expected_saving(run.forecast, measured.part if measured else None)
    of = " of the warm-up's choice" if measured and measured.part == "warm_up" else ""
    lines: list[tuple[str, float | None, float | None, Formatter]] = []
    for unit in UNITS:
        saved: float | None = getattr(measured, unit).saving if measured else None
        lines.append((f"Saving{of} in {UNIT_NAMES[unit]}", expected[unit], saved, share))
    uses = measured.flops.break_even_uses if measured else None
    lines.append((f"Break-even{of}, in uses of the selection", expected["break_even_uses"], uses, "{:,.2f}".format))
    lines.append(("Break-even, in the share kept", _number(run.forecast, "break_even_keep"), None, share))
    rows = "".join(
        row(capital(label), [cell(before, write), cell(after, write)])
        for label, before, after, write in lines
        if before is not None
    )
    return table(("", "Forecast", "Measured"), f"<tbody>{rows}</tbody>", "terms") if rows else ""


def _expected_saving(forecast: dict[str, Any], part: Part | None) -> dict[str, float | None]:
    """The forecast saving in each unit and break-even, of the warm-up where rows were selected for that alone.

    All are None where the forecast is of another part than the measured saving.
    """
    try:
        main = Saving.from_json(_mapping(forecast.get("terms"))).main
    except (KeyError, TypeError, ValueError):  # a forecast of an earlier version, or a damaged one
        main = None
    if part is not None and part != (main.part if main else "fit"):
        return dict.fromkeys((*UNITS, "break_even_uses"))
    if main is not None:
        return {**{unit: getattr(main, unit).saving for unit in UNITS}, "break_even_uses": main.flops.break_even_uses}
    saving = _mapping(forecast.get("saving"))
    return {**{unit: _number(saving, unit) for unit in UNITS}, "break_even_uses": _number(forecast, "break_even_uses")}


def _number(content: dict[str, Any], name: str) -> float | None:
    """A finite number in a mapping; None where it is missing or something else."""
    value = content.get(name)
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if known else None


def _mapping(content: Any) -> dict[str, Any]:
    return content if isinstance(content, dict) else {}


def _signed(value: float | None) -> str:
    return f"{'+' if (value or 0) > 0 else ''}{share(value)}"
