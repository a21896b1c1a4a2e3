"""Who is compared with whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selectune.tables.grid import NO_BUDGET, Cell
from selectune.tables.results import Result
from selectune.tables.summary import Line, summarise
from selectune.verdict.evidence import Cost
from selectune.verdict.judged import Judged


def runs(method: str, budget: str, values: list[float], **more: Any) -> list[Result]:
    """A run a seed, without metrics of its rows."""
    row = dict.fromkeys(("tokens_trained_on", "total_flops", "selection_flops", "total_device_s"), 1.0)
    return [
        Result(
            Cell("reviews", method, budget, seed, Path("nowhere"), {}, "accuracy", **more),
            {**row, "test/accuracy": value, "warnings": ""},
            1.0,
            Judged(metrics={"accuracy": value}, kept_rows=5, pool_rows=10, cost=Cost(1.0, 1.0)),
        )
        for seed, value in enumerate(values)
    ]


def by_method(results: list[Result]) -> dict[str, Line]:
    (group,) = summarise(results)
    return {line.method: line for line in group.lines}


@pytest.mark.parametrize("budget", ["0.5", NO_BUDGET], ids=["of a budget", "of none"])
def test_matched_rows_are_compared_with_the_run_that_they_match(budget: str) -> None:
    """Also where that method takes no budget, beside others that do."""
    band, same = runs("band", budget, [0.8, 0.9]), runs("same", budget, [0.7, 0.7], match="band", by="cost")
    lines = by_method([*runs("random", "0.5", [0.6, 0.6]), *band, *same])
    match = lines["same"].match
    assert match is not None
    assert (match.method, match.by) == ("band", "cost")
    assert match.gain is not None
    assert match.gain.value == pytest.approx(0.15)
    assert lines["band"].match is lines["random"].match is None
    assert lines["band"].versus_random is not None
    assert lines["band"].versus_random.value == pytest.approx(0.25)


def test_matched_rows_without_the_run_that_they_match_are_compared_with_nothing() -> None:
    lines = by_method(runs("random", "0.5", [0.6, 0.6]) + runs("same", "0.5", [0.7, 0.7], match="band", by="rows"))
    assert lines["same"].match is not None
    assert lines["same"].match.gain is None
