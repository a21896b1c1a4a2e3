"""Numbers in README and docs are those of the CSVs in `results/`, as rounded there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from _fine_tuned import Run
from _table import read_records
from compared import runs_in
from compared import table_of as compared_table
from detection_tables import tables as detection_tables
from expected_gains import COLUMNS, FINE_TUNED, TABLE, text
from fine_tuned_outcomes import SAME
from large_learner import markdown
from outcome_tables import tables
from pilot_tables import fine_tuned
from pilot_tables import tables as pilot_tables
from pool_faults import rare_class
from scipy.stats import ttest_1samp
from verdicts import AGAINST, TABLES, against_gotd, groups_of, summary_file

from selectune.tables.formats import table_of
from selectune.tables.summary import write_summary
from tests.conftest import REPOSITORY
from tests.results_numbers import rows_of
from tests.stated_numbers import NUMBER, STATEMENTS, Statement, states


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda of: f"{of.page}: {of.heading}")
def test_a_stated_number_is_that_of_its_file_and_a_changed_digit_is_noticed(statement: Statement) -> None:
    page, numbers = (REPOSITORY / statement.page).read_text(), statement.numbers()
    found = statement.blocks(page)
    holding = [block for block in found if states(block, numbers)]
    assert len(holding) == 1, f"{statement.page}, {statement.heading}: no block, or more than one, states {numbers}"
    for number in NUMBER.finditer(holding[0]):
        if number[0] in numbers:
            digit = str((int(number[0][-1]) + 1) % 10)
            wrong = holding[0][: number.end() - 1] + digit + holding[0][number.end() :]
            changed = statement.blocks(page.replace(holding[0], wrong))
            assert len(changed) == len(found)
            assert not any(states(block, numbers) for block in changed), f"{number[0]} may change unnoticed"


@pytest.mark.parametrize("file", sorted((REPOSITORY / "results").glob("*.csv")), ids=lambda file: file.name)
def test_a_result_has_its_command_beside_it(file) -> None:
    pages = [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md"), *(REPOSITORY / "benchmarks").glob("*.py")]
    assert any(f"results/{file.name}" in page.read_text() for page in pages)


def with_untouched(summary: Path) -> list[dict[str, str]]:
    """The runs of a table, and those of random rows again as they were before they were trained."""
    runs = rows_of(summary.with_name(summary.name.replace("_summary", "")))
    free = dict.fromkeys(("total_flops", "selection_flops", "tokens_trained_on"), "0")
    return runs + [
        run | free | {"method": "untouched", "budget": "none"}
        | {name.removesuffix("_before"): value for name, value in run.items() if name.endswith("_before")}
        for run in runs
        if run["method"] == "random"
    ]  # fmt: skip


SUMMARIES = sorted((REPOSITORY / "results").glob("*_summary.csv"))


@pytest.mark.parametrize("file", SUMMARIES, ids=lambda file: file.name)
def test_a_summary_is_that_of_its_runs(file: Path) -> None:
    runs = with_untouched(file)
    assert all(re.fullmatch(r"[0-9a-f]{40}", run["commit"]) for run in runs), "made by committed code"
    for line in rows_of(file):
        found = [
            run
            for run in runs
            if (run["task"], run["method"]) == (line["task"], line["method"])
            and run["budget"] in (line["budget"], "none")
        ]
        values = [float(run[f"test/{line['metric']}"]) for run in found]
        random = [
            run
            for run in runs
            if (run["task"], run["method"], run["budget"]) == (line["task"], "random", line["budget"])
        ]
        if line["versus_random"]:
            theirs = {run["seed"]: float(run[f"test/{line['metric']}"]) for run in random}
            gaps = [float(run[f"test/{line['metric']}"]) - theirs[run["seed"]] for run in found]
            assert float(line["versus_random"]) == pytest.approx(np.mean(gaps), rel=1e-6, abs=1e-8)
        if line.get("matches"):
            mine = {run["seed"]: float(run[f"test/{line['metric']}"]) for run in found}
            gains = [
                float(run[f"test/{line['metric']}"]) - mine[run["seed"]]
                for run in runs
                if (run["task"], run["method"], run["budget"]) == (line["task"], line["matches"], line["budget"])
            ]
            assert float(line["matched_versus_this"]) == pytest.approx(np.mean(gains), rel=1e-6, abs=1e-8)
        assert len(values) == int(line["n"]) > 0
        assert float(line["mean"]) == pytest.approx(np.mean(values), rel=1e-6, abs=1e-8)
        assert float(line["sd"]) == pytest.approx(np.std(values, ddof=1), rel=1e-6, abs=1e-8)
        for column in ("total_flops", "selection_flops", "tokens_trained_on"):
            assert float(line[column]) == pytest.approx(np.mean([float(run[column]) for run in found]), rel=1e-6)


@pytest.mark.parametrize("table", TABLES)
def test_a_summary_has_the_intervals_and_verdicts_of_its_runs(table: str, tmp_path: Path) -> None:
    assert {summary_file(name) for name in TABLES} == set(SUMMARIES)
    write_summary(groups_of(table), tmp_path / "summary.csv")
    assert rows_of(tmp_path / "summary.csv") == rows_of(summary_file(table)), "run benchmarks/verdicts.py"


def test_differences_to_gotd_are_those_of_its_runs() -> None:
    assert AGAINST.read_text() == against_gotd(), "run benchmarks/verdicts.py"


@pytest.mark.parametrize("table", TABLES)
def test_the_findings_show_whole_tables(table: str) -> None:
    page = (REPOSITORY / "docs" / "findings.md").read_text()
    for group in groups_of(table):
        assert table_of(group) in page, f"paste this into docs/findings.md:\n{table_of(group)}"


def test_an_interval_of_a_committed_difference_is_the_t_interval_over_its_seeds() -> None:
    checked = 0
    for file in SUMMARIES:
        runs = with_untouched(file)
        for line in (line for line in rows_of(file) if line["versus_random"]):
            random, ours = (
                {
                    run["seed"]: float(run[f"test/{line['metric']}"])
                    for run in runs
                    if (run["task"], run["method"]) == (line["task"], method)
                    and run["budget"] in (line["budget"], "none")
                }
                for method in ("random", line["method"])
            )
            gaps = [value - random[seed] for seed, value in ours.items()]
            expected = ttest_1samp(gaps, 0).confidence_interval(0.95)
            assert (float(line["low"]), float(line["high"])) == pytest.approx(tuple(expected), rel=1e-6, abs=1e-8)
            checked += 1
    assert checked == 98


def test_the_findings_show_what_a_large_learner_made_of_a_small_scorer() -> None:
    page = (REPOSITORY / "docs" / "findings.md").read_text()
    table = markdown(read_records(Run, REPOSITORY / "results" / "large_learner.csv"))
    assert table in page, f"paste this into docs/findings.md:\n{table}"


@pytest.mark.parametrize("name", ["quickstart", "quickstart_even"])
def test_the_findings_show_what_a_comparison_came_to(name: str) -> None:
    page = (REPOSITORY / "docs" / "findings.md").read_text()
    table = compared_table(runs_in(name))
    assert table in page, f"paste this into docs/findings.md:\n{table}"


def test_the_page_of_pilots_has_the_tables_of_its_results() -> None:
    page = (REPOSITORY / "docs" / "pilot.md").read_text()
    for table in [*pilot_tables(), fine_tuned()]:
        assert table in page, f"paste this into docs/pilot.md:\n{table}"


def test_the_packaged_gains_are_those_of_the_results() -> None:
    assert TABLE.read_text() == text(), "run benchmarks/expected_gains.py"
    lines = rows_of(TABLE)
    assert tuple(lines[0]) == COLUMNS
    for line in lines:
        assert line["learner"] in ("frozen", "fine-tuned")
        assert line["against"] in ("random", "fewer_epochs")
        assert line["rule"] != line["against"]
        assert (line["finding"] == "none") == (float(line["true_share"]) == 0)
        if int(line["pools"]) > 1:
            assert float(line["low"]) <= float(line["gain_points"]) <= float(line["high"])


def test_fine_tuned_runs_cost_their_budget() -> None:
    runs = read_records(Run, FINE_TUNED)
    assert len({run.key for run in runs}) == len(runs) > 0
    for run in runs:
        assert abs(run.off_budget) <= SAME, run.key
        assert re.fullmatch(r"[0-9a-f]{40}", run.commit), "made by committed code"
    budgets = {(run.data, run.fault, run.seed, run.budget_flops) for run in runs}
    assert len(budgets) == len({key[:3] for key in budgets}), "the arms of a pool have one budget"


def test_a_pool_with_a_rare_class_has_no_copies_where_there_are_rows_enough() -> None:
    labels = np.arange(300) % 2
    pool = rare_class([f"row {i}" for i in range(300)], labels, 0.3, np.random.default_rng(0), 100)
    assert len(set(pool.texts)) == len(pool.texts) == 100
    assert pool.faulty.sum() == 3
    assert [int(text.split()[1]) % 2 for text in pool.texts] == pool.labels.tolist()
    with pytest.raises(ValueError, match="larger sample"):
        rare_class(["a", "b"], np.array([0, 1]), 0.3, np.random.default_rng(0), 100)


def test_pages_show_the_tables_of_outcomes() -> None:
    for name, table in tables().items():
        page, _, shown = name.partition(": ")
        assert not shown or table in (REPOSITORY / page).read_text(), f"paste this as {name}:\n{table}"


def test_the_page_of_diagnoses_shows_how_well_they_find() -> None:
    page = (REPOSITORY / "docs" / "diagnose.md").read_text()
    for name, table in detection_tables().items():
        assert table in page, f"paste this at {name}:\n{table}"
