"""Numbers in README and docs are those of the CSVs in `results/`, as rounded there."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from selectune.tables.bootstrap import Difference
from selectune.tables.markdown import table_of
from selectune.tables.summary import Group, Line
from tests.conftest import REPOSITORY

Figures = dict[tuple[str, str, str], float]


def read(name: str) -> Figures:
    with (REPOSITORY / "results" / name).open(newline="") as file:
        return {(row["case"], row["variant"], row["metric"]): float(row["value"]) for row in csv.DictReader(file)}


def lines_of(name: str) -> list[dict[str, str]]:
    return rows_of(REPOSITORY / "results" / name)


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def agreement(case: str) -> str:
    return f"{read('agreement.csv')[case, 'masked', 'spearman_to_masked_pseudo']:.2f}"


def mean_of(case: str, variant: str) -> str:
    return f"{read('agreement.csv')[case, variant, 'mean_nats']:.1f}"


def scoring(case: str, variant: str, metric: str = "rows_per_s", file: str = "scoring.csv") -> float:
    return read(file)[case, variant, metric]


def times(variant: str, case: str = "sst2") -> str:
    return f"{scoring(case, variant) / scoring(case, 'encoder'):.2f}"


def of(table: str, task: str, method: str, column: str, budget: str | None = None) -> float:
    """A figure of a line of a table; `budget` where the task has several."""
    (line,) = (
        row
        for row in lines_of(f"small_{table}_summary.csv")
        if (row["task"], row["method"]) == (task, method) and budget in (None, row["budget"])
    )
    return float(line[column])


def mean(table: str, task: str, method: str, budget: str | None = None) -> str:
    """A figure in per cent."""
    return f"{100 * of(table, task, method, 'mean', budget):.1f}"


def selecting(table: str, task: str, method: str, budget: str | None = None) -> str:
    """Per cent of the cost that is the selection's."""
    parts = [of(table, task, method, column, budget) for column in ("selection_flops", "total_flops")]
    return f"{100 * parts[0] / parts[1]:.0f}"


def points(table: str, task: str, method: str, column: str = "versus_random", budget: str | None = None) -> str:
    """The size of a difference, in points."""
    return f"{abs(100 * of(table, task, method, column, budget)):.1f}"


def dearer(table: str, task: str, method: str, than: str = "random", budget: str | None = None) -> str:
    costs = [of(table, task, name, "total_flops", budget) for name in (method, than)]
    return f"{costs[0] / costs[1]:.1f}"


def picks(task: str, method: str) -> str:
    """Per cent of the windows that are from abstracts, over seeds."""
    runs = [row for row in lines_of("small_gotd.csv") if (row["task"], row["method"]) == (task, method)]
    rows = sum(int(run["warm_up_rows"]) for run in runs)
    return f"{100 * sum(int(run['from/pool_cs_abstracts']) for run in runs) / rows:.0f}"


def worst_seed() -> str:
    """The best ChemProt figure after a warm-up with seed 2, in per cent."""
    runs = [row for row in lines_of("small_gotd.csv") if row["task"] == "chemprot" and row["method"] != "none"]
    return f"{100 * max(float(run['test/micro_f1']) for run in runs if run['seed'] == '2'):.1f}"


FINDINGS: list[tuple[str, Callable[[], str]]] = [
    (r"lies below random by ([\d.]+) points", lambda: points("gotd", "sciie", "gotd")),
    (r"are ([\d.]+) points above no warm-up", lambda: points("gotd", "sciie", "none")),
    (r"above no warm-up, for ([\d.]+) times the cost", lambda: dearer("gotd", "sciie", "random", "none")),
    (r"GOT-D takes ([\d]+) % of its windows", lambda: picks("sciie", "gotd")),
    (r"of its windows from them, TAPT/c (\d+) %", lambda: picks("sciie", "tapt_c")),
    (r"of its windows from them, TAPT/c \d+ %, DSIR (\d+) %", lambda: picks("sciie", "dsir")),
    (r"on ChemProt GOT-D takes (\d+) %", lambda: picks("chemprot", "gotd")),
    (r"on ChemProt GOT-D takes \d+ %, TAPT/c (\d+) %", lambda: picks("chemprot", "tapt_c")),
    (r"on ChemProt GOT-D takes \d+ %, TAPT/c \d+ %, DSIR (\d+) %", lambda: picks("chemprot", "dsir")),
    (
        r"spend (\d+) % of their total on SciERC",
        lambda: selecting("gotd", "sciie", "gotd"),
    ),
    (r"([\d.]+) times the cost of random windows", lambda: dearer("gotd", "sciie", "gotd", "random")),
    (r"micro-F1 of ([\d.]+) % or below", worst_seed),
    (r"all three entropies lies ([\d.]+) points below", lambda: points("quick", "docstrings", "igse_box")),
    (r"Both cost ([\d.]+) to", lambda: dearer("quick", "docstrings", "generative")),
    (r"Both cost [\d.]+ to ([\d.]+) times", lambda: dearer("quick", "docstrings", "igse_box")),
    (r"of them\*\* here: ([\d.]+) % against", lambda: mean("quick", "docstrings", "full")),
]


SAID: list[tuple[str, str, Callable[[], str]]] = [
    (
        "README.md",
        r"is ([\d.]+) points worse than as many random rows",
        lambda: points("quick", "docstrings", "igse_box"),
    ),
    ("README.md", r"GOT-D costs ([\d.]+) to", lambda: dearer("gotd", "chemprot", "gotd", "random")),
    ("README.md", r"GOT-D costs [\d.]+ to ([\d.]+) times as much", lambda: dearer("gotd", "sciie", "gotd", "random")),
    ("README.md", r"Spearman ([\d.]+) on SST-2, [\d.]+ on AG News", lambda: agreement("sst2")),
    ("README.md", r"Spearman [\d.]+ on SST-2, ([\d.]+) on AG News", lambda: agreement("ag_news")),
    ("docs/methods.md", r"\| Spearman \| ([\d.]+) \|", lambda: agreement("sst2")),
    ("docs/methods.md", r"\| Spearman \| [\d.]+ \| ([\d.]+) \|", lambda: agreement("ag_news")),
    ("docs/methods.md", r"mean entropies ([\d.]+) against", lambda: mean_of("sst2", "masked")),
    ("docs/methods.md", r"mean entropies [\d.]+ against ([\d.]+) nats", lambda: mean_of("sst2", "masked_pseudo")),
    (
        "docs/limits.md",
        r"(\d+) MB more than of ten thousand",
        lambda: f"{read('memory.csv')['select', 'difference', 'peak_rss_anon_mb']:.0f}",
    ),
    ("docs/probe.md", r"\| encoder alone \| ([\d.]+) \|", lambda: f"{scoring('sst2', 'encoder'):.1f}"),
    ("docs/probe.md", r"\| scoring, exact \| ([\d.]+) \|", lambda: f"{scoring('sst2', 'exact'):.1f}"),
    ("docs/probe.md", r"\| scoring, exact \| [\d.]+ \| ([\d.]+) \|", lambda: times("exact")),
    ("docs/probe.md", r"\| naive: [^|]+\| ([\d.]+) \|", lambda: f"{scoring('sst2', 'naive'):.1f}"),
    (
        "docs/probe.md",
        r"\| scoring, probe on layers 2 and 6 \| [\d.]+ \| [\d.]+ \| ([\d.]+) \|",
        lambda: f"{scoring('sst2', 'probe', 'spearman_to_exact'):.3f}",
    ),
    (
        "docs/probe.md",
        r"\| scoring, probe on layer 2 \|[^|]+\|[^|]+\|[^|]+\| ([\d.]+) \*",
        lambda: f"{scoring('imdb', 'probe_early', file='scoring_imdb_probe.csv'):.2f}",
    ),
]


SAID += [("docs/findings.md", pattern, expected) for pattern, expected in FINDINGS]


@pytest.mark.parametrize(("page", "pattern", "expected"), SAID, ids=[f"{page}: {pattern}" for page, pattern, _ in SAID])
def test_a_number_is_that_of_its_file(page: str, pattern: str, expected: Callable[[], str]) -> None:
    text = " ".join((REPOSITORY / page).read_text().split())
    found = re.search(pattern, text)
    assert found, "the sentence is there no more; mend this list"
    assert found[1] == expected()


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
            assert float(line["versus_random"]) == pytest.approx(np.mean(gaps), abs=1e-8)
        assert len(values) == int(line["n"]) > 0
        assert float(line["mean"]) == pytest.approx(np.mean(values), abs=1e-8)
        assert float(line["sd"]) == pytest.approx(np.std(values, ddof=1), abs=1e-8)
        for column in ("total_flops", "selection_flops", "tokens_trained_on"):
            assert float(line[column]) == pytest.approx(np.mean([float(run[column]) for run in found]), rel=1e-6)


@pytest.mark.parametrize("file", SUMMARIES, ids=lambda file: file.name)
def test_the_findings_show_whole_tables(file: Path) -> None:
    page = (REPOSITORY / "docs" / "findings.md").read_text()
    for group in groups_of(rows_of(file)):
        assert table_of(group) in page, f"paste this into docs/findings.md:\n{table_of(group)}"


def groups_of(lines: list[dict[str, str]]) -> list[Group]:
    """What `summarise` had made of the runs."""
    groups = []
    for (task, budget, metric), of in groupby(lines, key=lambda line: (line["task"], line["budget"], line["metric"])):
        groups.append(Group(task, budget, metric, [line_of(line) for line in of]))
    return groups


def line_of(line: dict[str, str]) -> Line:
    numbers = {name: float(line[name]) for name in ("mean", "sd", "total_flops", "selection_flops", "total_device_s")}
    found = None
    if line["versus_random"]:
        value, low, high = (float(line[name]) for name in ("versus_random", "low", "high"))
        found = Difference(value, low, high, int(line["n"]), line["over_rows"] == "True")
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
    )
