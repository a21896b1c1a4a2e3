"""Fixtures of the tests of forecasts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selectune.forecast import measure


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are not tested here."""
    monkeypatch.setattr(measure, "STEPS", 6)


def forecast_of(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "forecast.json").read_text())
    return content
