"""Comparisons and warnings of a page."""

from __future__ import annotations

from dataclasses import replace

from selectune.tables.formats import markdown, table_of
from selectune.tables.page import page as page_of
from selectune.tables.summary import Group, Line, Match
from selectune.verdict.intervals import Difference
from selectune.verdict.verdict import Verdict
from tests.verdict.cases import CASES

RANDOM = Line("random", "0.5", 0.7, 0.01, 3, 900.0, 1e9, 0.0, 10.0, None)
BAND = replace(
    RANDOM, method="band", mean=0.72, versus_random=Difference(0.02, -0.01, 0.05, 0.2, 3, 60, "seeds and rows")
)
DEARER = Match("band", "cost", Difference(-0.03, -0.05, -0.01, 0.01, 3, 60, "seeds and rows"))
GROUP = Group("reviews", "0.5", "accuracy", [RANDOM, BAND, replace(RANDOM, method="same_cost", match=DEARER)])


def test_matched_random_rows_are_compared_with_what_they_match() -> None:
    table, gains = table_of(GROUP).split("\n\n")
    assert len(table.splitlines()) == 2 + 3
    same = "- `band` against random rows of the same total cost (`same_cost`): "
    assert gains == same + "\N{MINUS SIGN}3.0 [\N{MINUS SIGN}5.0, \N{MINUS SIGN}1.0]"
    assert table_of(replace(GROUP, lines=[RANDOM, BAND])) == "\n".join(table.splitlines()[:4])


def test_a_difference_over_fewer_seeds_than_the_mean_says_so() -> None:
    (whole,) = (row for row in table_of(GROUP).splitlines() if row.startswith("| band"))
    assert "| +2.0 [\N{MINUS SIGN}1.0, +5.0] |" in whole
    partial = replace(BAND, versus_random=replace(BAND.versus_random, n_seeds=2))  # type: ignore[type-var]
    assert "+5.0] (2 seeds) |" in table_of(replace(GROUP, lines=[RANDOM, partial]))


def test_a_verdict_stands_beside_its_difference_to_all_rows() -> None:
    judged = replace(BAND, verdict=Verdict(CASES["costs accuracy"].evidence))
    (row,) = (row for row in table_of(replace(GROUP, lines=[RANDOM, judged])).splitlines() if "band" in row)
    assert row.endswith("| \N{MINUS SIGN}36.1 [\N{MINUS SIGN}39.0, \N{MINUS SIGN}33.1] | Costs accuracy |")
    (row,) = (row for row in table_of(GROUP).splitlines() if row.startswith("| random"))
    assert row.endswith("| \N{EN DASH} | \N{EN DASH} |")


def test_what_selections_warned_of_stands_under_the_table() -> None:
    def page(*lines: Line) -> str:
        return markdown(page_of([replace(GROUP, lines=list(lines))], None, 6, 6, "data.keep", ""))

    assert "warned" not in page(RANDOM, BAND)
    told = page(RANDOM, replace(BAND, warned=("It is concentrated.", "So is it here.")))
    assert "Warnings:\n\n- `band`, 2 of 3 runs: It is concentrated.\n" in told
