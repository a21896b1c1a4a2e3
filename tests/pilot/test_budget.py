"""The budget of a plan is parsed in one place, and bad ones are refused in one sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from selectune.common.errors import BudgetError
from selectune.pilot.budget import OPTION, TotalBudget
from tests.mistakes import mistake
from tests.pilot.made_up import FULL


@pytest.mark.parametrize(
    ("text", "share"),
    [("0.3", 0.3), ("1", 1.0), (".5", 0.5), ("3e-1", 0.3), ("100rows", 0.1), (" 1 row", 0.001), ("0.1h", 0.6)],
)
def test_a_budget_is_a_share_of_the_full_cost(text: str, share: float) -> None:
    assert TotalBudget.parse(text).share_of(FULL) == pytest.approx(share)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "much",
        "0",
        "-0.3",
        "1.5",
        "30%",
        "0rows",
        "2.5rows",
        "3000 tokens",
        "2hours",
        "nan",
        "inf",
        "0.3 0.4",
        "1e999h",
    ],
)
def test_what_is_no_budget_is_refused(text: str) -> None:
    with mistake(BudgetError, OPTION, repr(text), option=OPTION):
        TotalBudget.parse(text)


def test_more_rows_than_there_are_are_refused_and_more_hours_are_all_of_them() -> None:
    with mistake(BudgetError, OPTION, FULL.rows, option=OPTION):
        TotalBudget.parse("1001rows").share_of(FULL)
    assert TotalBudget.parse("1000rows").share_of(FULL) == 1
    assert TotalBudget.parse("5h").share_of(FULL) == 1


def test_hours_are_of_a_device_and_add_up_over_devices() -> None:
    twice = replace(FULL, cost=FULL.cost.times(2))
    assert TotalBudget.parse("0.1h").share_of(twice) == pytest.approx(TotalBudget.parse("0.1h").share_of(FULL) / 2)


def test_a_budget_reads_as_it_was_written() -> None:
    for text in ("0.3", "3000rows", "1234567rows", "2h"):
        assert str(TotalBudget.parse(text)) == text
