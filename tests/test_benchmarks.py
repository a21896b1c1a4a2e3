"""The benchmarks' table is that of their committed numbers."""

from __future__ import annotations

import csv
import importlib
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

run_all = importlib.import_module("all")  # a script of benchmarks/
growth = importlib.import_module("growth")


@pytest.mark.parametrize("page", run_all.PAGES)
def test_a_page_shows_the_table_of_the_numbers_in_results(page: str) -> None:
    text = (REPOSITORY / page).read_text()
    table = run_all.table(short=page == "README.md")
    assert text == run_all.with_table(text, table), "run python benchmarks/all.py --table"
    assert len(table.splitlines()) > 4


def test_every_line_has_its_numbers_and_a_missed_bar_is_told() -> None:
    claim = run_all.Claim(
        "less", "memory", lambda values: values["select", "difference", "peak_rss_anon_mb"], 1e-3, True
    )
    assert claim.line().endswith("**no** |")
    absent = run_all.Claim("not run", "startup", lambda values: values["no", "such", "case"], 1.0)
    assert "not measured" in absent.line()
    names = {one.name for one in run_all.BENCHMARKS}
    assert {claim.of for claim in run_all.CLAIMS} <= names


@pytest.mark.parametrize("benchmark", run_all.BENCHMARKS, ids=lambda one: one.name)
def test_every_benchmark_is_a_script_whose_command_stands_on_the_page(benchmark: run_all.Benchmark) -> None:
    script = Path(REPOSITORY / benchmark.command[1])
    assert script.is_file()
    assert f"results/{benchmark.name}.csv" in (REPOSITORY / "docs" / "benchmarks.md").read_text()


def test_the_page_on_growth_shows_the_table_of_its_numbers() -> None:
    with (REPOSITORY / "results" / "growth.csv").open(newline="") as handle:
        rows = [growth.Row(*line[:3], float(line[3])) for line in list(csv.reader(handle))[1:]]
    again = growth.growth([row for row in rows if row.metric != "exponent"])
    assert [row for row in rows if row.metric == "exponent"] == again
    text = (REPOSITORY / "docs" / "growth.md").read_text()
    assert f"<!-- table of benchmarks/growth.py -->\n{growth.table(rows)}\n<!-- end of the table -->" in text


def test_a_page_without_its_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="substring not found"):
        run_all.with_table("no marks", "")
    with pytest.raises(ValueError, match="once each"):
        run_all.with_table("\n".join([*run_all.MARKS, *run_all.MARKS]), "")
