from __future__ import annotations

import csv

import pytest
from interval_coverage import BAR, RIVALS, SEED_SDS, TASTE, World, accuracy_cell, class_cell, measure, outside

from tests.conftest import REPOSITORY


def test_the_committed_cells_of_three_and_five_seeds_hold_the_bar() -> None:
    with (REPOSITORY / "results" / "interval_coverage.csv").open() as file:
        cells = {
            (row["case"], row["variant"]): float(row["value"])
            for row in csv.DictReader(file)
            if row["metric"] == "coverage"
        }
    for rows in ("differ", "alike"):
        for seed_sd in SEED_SDS:
            assert (f"rows {rows}, seed sd {seed_sd}, 1 seed", "verdict") in cells
            for n_seeds in (3, 5):
                coverage = cells[f"rows {rows}, seed sd {seed_sd}, {n_seeds} seeds", "verdict"]
                assert BAR[0] <= coverage <= BAR[1]


def test_a_simulation_is_the_same_each_time() -> None:
    world = World(TASTE, 2)
    assert list(accuracy_cell(world, 3, 5, "a")) == list(accuracy_cell(world, 3, 5, "a"))
    assert list(class_cell(world, 3, 5, "a")) == list(class_cell(world, 3, 5, "a"))


@pytest.mark.slow
def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """300 draws a cell: their coverage has a standard deviation of 1.3 points, so each cell may be 3 of these off."""
    rows = [row for row in measure(300) if row.metric == "coverage" and row.variant not in RIVALS]
    judged = [row for row in rows if row.case.endswith((" 3 seeds", " 5 seeds"))]
    assert len(judged) == 16 + 8
    assert all(0.91 <= row.value <= 0.99 for row in judged)
    assert sum(row.value for row in judged) / len(judged) == pytest.approx(0.955, abs=0.015)
    assert len(outside(rows)) <= 2
