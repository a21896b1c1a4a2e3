"""Costs that ``estimate`` forecast, beside those that the run then had."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from selectune.costs.record import Part, Total, add_up
from selectune.costs.saving import UNIT_NAMES, UNITS, Saving
from selectune.report.numbers import Formatter, element, share
from selectune.report.run_data import STAGE_NAMES, RunData

Costs = dict[str, float | None]  # FLOPs, seconds and memory
Line = tuple[str, Costs, Costs]  # a name, what was forecast, and what came


@dataclass(frozen=True)
class ForecastSection:
    """A forecast beside what came of it: its own sentence, the costs, the saving, and its assumptions."""

    sentence: str
    stages: list[Line]
    total: list[Line]  # one line, or none where the forecast has no total
    savings: list[tuple[str, str, str]]
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
        rows.append((name, _expected(expected), _came(measured)))
    memory: Costs = {"memory": None}  # of a sum it means nothing
    total = _mapping(forecast.get("total"))
    totals = [("These stages", _expected(total) | memory, _came(spent) | memory)] if total else []
    sentence, assumptions, device = (forecast.get(name) for name in ("sentence", "assumptions", "device"))
    notes = [str(one) for one in assumptions] if isinstance(assumptions, list) else []
    notes += [f"Forecast for {device}."] if isinstance(device, str) else []
    notes.append("What a cache spared counts as measured by what it cost when it was made.")
    return ForecastSection(sentence if isinstance(sentence, str) else "", rows, totals, _savings(run), notes)


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


def _expected(forecast: dict[str, Any]) -> Costs:
    quantities = {"flops": "flops", "wall_s": "wall_s", "memory": "peak_rss_bytes"}
    return {name: _number(forecast, quantity) for name, quantity in quantities.items()}


def _came(measured: Total | None) -> Costs:
    if measured is None:
        return dict.fromkeys(("flops", "wall_s", "memory"))
    memory = max(measured.peak_rss_bytes, measured.peak_cuda_bytes or 0)
    return {"flops": measured.flops, "wall_s": measured.wall_s, "memory": memory}


def _savings(run: RunData) -> list[tuple[str, str, str]]:
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
    return [
        (name, element(before, write), "–" if after is None else element(after, write))
        for name, before, after, write in lines
        if before is not None
    ]


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
