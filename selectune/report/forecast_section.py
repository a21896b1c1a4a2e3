"""Costs that ``estimate`` forecast, beside those that the run then had."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from selectune.costs.record import Part, Total, add_up
from selectune.costs.saving import UNIT_NAMES, UNITS, Saving
from selectune.report.cells import Group, Row, Table, cell
from selectune.report.labels import capital
from selectune.report.numbers import Formatter, flop, memory, seconds, share
from selectune.report.run_data import STAGE_NAMES, RunData
from selectune.report.verdict_section import signed_share

ABOVE = (("", 1), ("FLOPs", 3), ("Wall time", 3), ("Peak memory", 2))
COLUMNS = ("Stage", *2 * ("forecast", "measured", "off by"), "forecast", "measured")


@dataclass(frozen=True)
class ForecastSection:
    """A forecast beside what came of it: its own sentence, the costs, the saving, and its assumptions."""

    sentence: str
    costs: Table
    savings: Table | None
    notes: list[str]


def forecast_section(run: RunData) -> ForecastSection | None:
    """Forecast and measured costs of each stage, the saving, and assumptions of the forecast; None without one."""
    forecast = run.forecast
    if not forecast:
        return None
    rows, spent = [], Total()
    for stage, part, expected in _stages(forecast):
        records = [record for record in run.costs.kept if record.stage == stage and record.part in part.split("+")]
        measured = add_up(records) if records else None
        spent += measured or Total()
        name = STAGE_NAMES.get(stage, stage)  # type: ignore[call-overload]
        name += " for the warm-up" if part == "warm_up" and stage != "warm_up" else ""
        rows.append(_row(name, expected, measured))
    groups = [Group(rows)]
    if total := _mapping(forecast.get("total")):
        groups.append(Group([_row("These stages", total, spent, with_memory=False)], kind="sum"))
    sentence, assumptions, device = (forecast.get(name) for name in ("sentence", "assumptions", "device"))
    notes = [str(one) for one in assumptions] if isinstance(assumptions, list) else []
    notes += [f"Forecast for {device}."] if isinstance(device, str) else []
    notes.append("What a cache spared counts as measured by what it cost when it was made.")
    costs = Table("costs", COLUMNS, groups, ABOVE)
    return ForecastSection(sentence if isinstance(sentence, str) else "", costs, _savings(run), notes)


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


def _row(name: str, forecast: dict[str, Any], measured: Total | None, with_memory: bool = True) -> Row:
    cells = []
    for quantity, write in (("flops", flop), ("wall_s", seconds)):
        before, after = _number(forecast, quantity), getattr(measured, quantity) if measured else None
        off = before / after - 1 if before is not None and after else None
        cells += [cell(before, write), cell(after, write), cell(off, signed_share)]
    expected, peak = None, None
    if with_memory:
        expected = _number(forecast, "peak_rss_bytes")
        peak = max(measured.peak_rss_bytes, measured.peak_cuda_bytes or 0) if measured else None
    return Row(name, [*cells, cell(expected, memory), cell(peak, memory)])


def _savings(run: RunData) -> Table | None:
    """The saving and the break-even, forecast and measured."""
    measured = run.saving.main if run.saving else None
    expected = _expected_saving(run.forecast, measured.part if measured else None)
    of = " of the warm-up's selection" if measured and measured.part == "warm_up" else ""
    lines: list[tuple[str, float | None, float | None, Formatter]] = []
    for unit in UNITS:
        saved: float | None = getattr(measured, unit).saving if measured else None
        lines.append((f"Saving{of} in {UNIT_NAMES[unit]}", expected[unit], saved, share))
    uses = measured.flops.break_even_uses if measured else None
    lines.append((f"Break-even{of}, in uses of the selection", expected["break_even_uses"], uses, "{:,.2f}".format))
    lines.append(("Break-even, in the share kept", _number(run.forecast, "break_even_keep"), None, share))
    rows = [
        Row(capital(name), [cell(before, write), cell(after, write)])
        for name, before, after, write in lines
        if before is not None
    ]
    return Table("terms", ("", "Forecast", "Measured"), [Group(rows)]) if rows else None


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
