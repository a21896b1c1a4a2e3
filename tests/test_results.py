"""Numbers in README and docs are those of the CSVs in `results/`, as rounded there."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from selectune.tables.markdown import table_of
from selectune.tables.summary import Group, Line, Match
from selectune.verdict.intervals import Difference
from tests.conftest import REPOSITORY
from tests.stated_numbers import NUMBER, STATEMENTS, Statement, rows_of, states


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


SUMMARIES = sorted((REPOSITORY / "results").glob("*_summary.csv"))


@pytest.mark.parametrize("file", SUMMARIES, ids=lambda file: file.name)
def test_a_summary_is_that_of_its_runs(file: Path) -> None:
    runs = rows_of(file.with_name(file.name.replace("_summary", "")))
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


@pytest.mark.parametrize("file", SUMMARIES, ids=lambda file: file.name)
def test_the_findings_show_whole_tables(file: Path) -> None:
    page = (REPOSITORY / "docs" / "findings.md").read_text()
    for group in groups_of(rows_of(file)):
        assert table_of(group) in page, f"paste this into docs/findings.md:\n{table_of(group)}"


def groups_of(lines: list[dict[str, str]]) -> list[Group]:
    """The summary of the runs, as `summarise` made it."""
    groups = []
    for (task, budget, metric), of in groupby(lines, key=lambda line: (line["task"], line["budget"], line["metric"])):
        groups.append(Group(task, budget, metric, [line_of(line) for line in of]))
    return groups


def line_of(line: dict[str, str]) -> Line:
    numbers = {name: float(line[name]) for name in ("mean", "sd", "total_flops", "selection_flops", "total_device_s")}
    found = None
    if line["versus_random"]:
        value, low, high = (float(line[name]) for name in ("versus_random", "low", "high"))
        found = Difference(value, low, high, 1.0, int(line["n"]), 0, "rows" if line["over_rows"] == "True" else "seeds")
    return Line(
        method=line["method"],
        budget=line["budget"],
        mean=numbers["mean"],
        sd=numbers["sd"],
        n=int(line["n"]),
        tokens=float(line["tokens_trained_on"]),
        flops=numbers["total_flops"],
        selection_flops=numbers["selection_flops"],
        device_s=numbers["total_device_s"],
        versus_random=found,
        match=match_of(line),
    )


def match_of(line: dict[str, str]) -> Match | None:
    if not line.get("matches"):
        return None
    value, low, high = (float(line[name]) for name in ("matched_versus_this", "matched_low", "matched_high"))
    return Match(line["matches"], line["by"], Difference(value, low, high, 1.0, int(line["n"]), 0, "rows"))
