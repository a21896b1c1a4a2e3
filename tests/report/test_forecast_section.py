"""Forecast and measured stand beside each other, and a forecast may lack anything."""

from __future__ import annotations

import html
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from selectune.common.errors import UserError
from selectune.costs.ledger import append
from selectune.costs.record import CostRecord
from selectune.costs.saving import Saving
from selectune.costs.scorer_ratio import ScorerRatio
from selectune.forecast.result import Forecast
from selectune.report import RunData, write_report
from selectune.report.forecast_section import forecast_section
from tests.costs.records import record
from tests.mistakes import mistake, names
from tests.report.pages import NASTY, Page, a_run, a_warmed_up_run

FORECAST: dict[str, Any] = {
    "schema": 1,
    "stages": {
        "score": {"part": "fit", "wall_s": 10.5, "flops": 6.25e12, "peak_rss_bytes": 910_000_000},
        "train": {"part": "fit", "wall_s": 30.25, "flops": 9.5e12, "peak_rss_bytes": 920_000_000},
        "warm_up": {"part": "warm_up", "wall_s": 62.5, "flops": 2.05e13, "peak_rss_bytes": 930_000_000},
    },
    "total": {"wall_s": 103.25, "flops": 3.625e13},
    "saving": {"flops": 0.7251, "device_s": 0.7111},
    "break_even_keep": 0.8125,
    "break_even_uses": 0.1375,
    "sentence": "Selection will pay: 73 % of the FLOPs.",
    "assumptions": ["This machine, as it was.", NASTY],
    "device": "cpu",
}


def page_of(run: Path, forecast: Any) -> tuple[str, Page]:
    (run / "forecast.json").write_text(json.dumps(forecast))
    text = write_report(run).read_text(encoding="utf-8")
    return text, Page(text)


def test_both_stand_in_the_page_exactly(tmp_path: Path):
    text, page = page_of(a_run(tmp_path / "run"), FORECAST)
    for stage in FORECAST["stages"].values():
        assert {stage["wall_s"], stage["flops"], stage["peak_rss_bytes"]} <= set(page.figures)
    measured = {14.2: 10.5, 31.3: 30.25, 61.0: 62.5, 6.3e12: 6.25e12, 9.2e12: 9.5e12, 2.1e13: 2.05e13}
    assert {forecast / came - 1 for came, forecast in measured.items()} <= set(page.figures)
    assert {103.25, 3.625e13, 6.3e12 + 9.2e12 + 2.1e13} <= set(page.figures)
    assert {0.7251, 0.7111, 0.8125, 0.1375} <= set(page.figures)
    assert names(text.replace("\N{NO-BREAK SPACE}", " "), FORECAST["sentence"], FORECAST["device"])
    assert "<script" not in text
    assert "Forecast and measured" not in write_report(a_run(tmp_path / "other")).read_text(encoding="utf-8")


def test_costs_that_a_cache_spared_are_measured_by_what_they_were(tmp_path: Path):
    run = a_run(tmp_path / "run")
    append(run / "cost.jsonl", [record("tune_scorer", cached=True, flops=4000)])
    _, page = page_of(run, {"stages": {"tune_scorer": {"part": "fit", "flops": 5000}}})
    assert 5000 / 4000 - 1 in page.figures


def a_forecast(run: Path, records: list[CostRecord]) -> dict[str, Any]:
    """As `estimate` writes it, of these costs and of the saving that a run had."""
    saving = Saving.read(run)
    return Forecast(records, saving, None, None, [], "cpu").to_json()


def test_a_stage_that_serves_both_parts_is_compared_part_by_part(tmp_path: Path):
    run = a_run(tmp_path / "run")
    append(run / "cost.jsonl", [record("score", part="warm_up", flops=1e11, wall_s=4.0)])
    costs = [record("score", flops=7e12, wall_s=16.0), record("score", part="warm_up", flops=2e11, wall_s=3.0)]
    forecast = a_forecast(run, costs)
    assert forecast["stages"]["score"]["part"] == "fit+warm_up"
    text, page = page_of(run, forecast)
    assert {7e12 / 6.3e12 - 1, 2e11 / 1e11 - 1, 16.0 / 14.2 - 1, 3.0 / 4.0 - 1} <= set(page.figures)
    assert "Scoring the pool for the warm-up" in text
    del forecast["stages"]["score"]["parts"]
    assert (7e12 + 2e11) / (6.3e12 + 1e11) - 1 in page_of(run, forecast)[1].figures


def test_of_a_choice_for_the_warm_up_its_saving_is_compared(tmp_path: Path):
    run = a_warmed_up_run(tmp_path / "run")
    forecast = a_forecast(run, [record("score", part="warm_up")])
    forecast["terms"]["warm_up"]["flops"] |= {"saving": 0.625, "break_even_uses": 0.0625}
    text, page = page_of(run, forecast)
    came = Saving.read(run).main.flops
    assert {0.625, 0.0625, came.saving, came.break_even_uses} <= set(page.figures)
    assert "Saving of the warm-up's selection in FLOPs" in html.unescape(text)


def test_a_forecast_of_the_fine_tuning_alone_is_not_held_against_the_warm_ups_saving(tmp_path: Path):
    run = a_warmed_up_run(tmp_path / "run")
    forecast = a_forecast(run, [record("score", part="warm_up")])
    for told in (forecast | {"terms": forecast["terms"] | {"warm_up": None}}, FORECAST):
        assert "Saving of the warm-up" not in page_of(run, told)[0]


@pytest.mark.parametrize("name", [*FORECAST, None])
def test_anything_may_be_missing_or_of_another_kind(tmp_path: Path, name: str | None):
    run = a_run(tmp_path)
    for value in (None, "words", [1], {"score": 3, "fit/train": {"wall_s": True, "flops": None}}):
        (run / "forecast.json").write_text(json.dumps(FORECAST | {name: value} if name else value))
        section = forecast_section(RunData.read(run))
        assert (section is not None) == bool(name or isinstance(value, dict))
        lines = [*section.stages, *section.total] if section else []
        numbers = [number for _, *both in lines for costs in both for number in costs.values()]
        assert all(number is None or math.isfinite(number) for number in numbers)
    page = write_report(run).read_text(encoding="utf-8")
    shown = page[page.index("<h2>Cost") : page.index("<h2>Selection")]
    assert not {"None", "nan"} & set(re.sub(r"<[^>]*>", " ", shown).split())


def test_a_damaged_forecast_is_a_sentence(tmp_path: Path):
    run = a_run(tmp_path / "run")
    (run / "forecast.json").write_text("{")
    with mistake(UserError, run / "forecast.json"):
        write_report(run)


def test_the_scorer_is_compared_with_the_model(tmp_path: Path):
    run = a_run(tmp_path / "run")
    replace(Saving.read(run), scorer_ratio=ScorerRatio("small", "large", 3_000, 16_000, 0.2125)).write(run)
    text = write_report(run).read_text(encoding="utf-8")
    assert {0.1875, 0.2125} <= set(Page(text).figures)
    assert names(text, "0.188 times", "Yin &amp; Rush")
