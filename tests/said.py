"""The numbers that README and docs say, each with how the CSVs in `results/` have it: page, pattern, and the number."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np

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


def gained(task: str, by: str) -> str:
    """How far EUDS's box at 16 % is from random rows of as many tokens, or of its cost, in points."""
    return points("euds", task, f"random_same_{by}", "matched_versus_this", "0.16")


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


def same_rows(hold_zero: bool) -> str:
    """How many of EUDS's lines compare a selector with as many random rows, or hold 0 in the interval of that."""
    lines = [
        line
        for line in lines_of("small_euds_summary.csv")
        if line["method"] != "full" and line["versus_random"] and not line["matches"]
    ]
    return str(sum(not hold_zero or float(line["low"]) <= 0 <= float(line["high"]) for line in lines))


def euds_runs(method: str, column: str, task: str | None = None) -> list[float]:
    """A column of EUDS's runs of a method at 16 %, or without a budget."""
    return [
        float(row[column])
        for row in lines_of("small_euds.csv")
        if row["method"] == method and row["budget"] != "0.5" and task in (None, row["task"])
    ]


def squad_runs(full: bool) -> list[str]:
    """F1 of SQuAD's runs in per cent, the best first."""
    runs = [row for row in lines_of("small_euds.csv") if row["task"] == "squad"]
    found = [float(run["test/f1"]) for run in runs if (run["method"] == "full") == full]
    return [f"{100 * value:.1f}" for value in sorted(found, reverse=True)]


def box_over(other: str, task: str) -> str:
    """How far the box is from another method at 16 %, in points."""
    gap = of("euds", task, "igse_box", "mean", "0.16") - of("euds", task, other, "mean", "0.16")
    return f"{abs(100 * gap):.1f}"


def saved_by_box() -> str:
    return f"{100 * np.mean(euds_runs('igse_box', 'saving_flops', 'sst2')):.0f}"


def trained_on(which: Callable[[list[float]], float]) -> str:
    """The fewest or most tokens that SST-2's selectors train on at 16 %."""
    found = [
        float(line["tokens_trained_on"])
        for line in lines_of("small_euds_summary.csv")
        if (line["task"], line["budget"]) == ("sst2", "0.16")
        and line["method"] not in ("full", "random")
        and not line["matches"]
    ]
    return f"{which(found):,.0f}"


EUDS: list[tuple[str, Callable[[], str]]] = [
    (r"Of (\d+) comparisons, \d+ intervals hold 0", lambda: same_rows(hold_zero=False)),
    (r"Of \d+ comparisons, (\d+) intervals hold 0", lambda: same_rows(hold_zero=True)),
    (
        r"three entropies, lies ([\d.]+) points above a random half",
        lambda: points("euds", "ag_news", "igse_box", budget="0.5"),
    ),
    (r"keep of SST-2 are ([\d,]+) to", lambda: trained_on(min)),
    (r"keep of SST-2 are [\d,]+ to ([\d,]+) tokens", lambda: trained_on(max)),
    (r"train on (\d+) to \d+ random rows instead", lambda: f"{min(euds_runs('random_same_cost', 'rows')):.0f}"),
    (r"train on \d+ to (\d+) random rows instead", lambda: f"{max(euds_runs('random_same_cost', 'rows')):.0f}"),
    (r"random rows instead of (\d+) chosen ones", lambda: f"{max(euds_runs('igse_box', 'rows', 'sst2')):.0f}"),
    (r"are better by ([\d.]+) points on SST-2", lambda: gained("sst2", "cost")),
    (r"points on SST-2 and by ([\d.]+) on AG News", lambda: gained("ag_news", "cost")),
    (r"keep 320 is (\d+) % and", lambda: selecting("euds", "sst2", "igse_box", "0.16")),
    (r"keep 320 is \d+ % and (\d+) %", lambda: selecting("euds", "ag_news", "igse_box", "0.16")),
    (r"On SST-2 the box is ([\d.]+) points above random rows", lambda: gained("sst2", "tokens")),
    (r"tokens as (\d+) to \d+ random ones", lambda: f"{min(euds_runs('random_same_tokens', 'rows', 'sst2')):.0f}"),
    (r"tokens as \d+ to (\d+) random ones", lambda: f"{max(euds_runs('random_same_tokens', 'rows', 'sst2')):.0f}"),
    (r"SST-2 comes to ([\d.]+) % at 16 %", lambda: mean("euds", "sst2", "igse_box", "0.16")),
    (r"SST-2 comes to [\d.]+ % at 16 % and to ([\d.]+) % at half", lambda: mean("euds", "sst2", "igse_box", "0.5")),
    (r"of the rows, against ([\d.]+) % with all", lambda: mean("euds", "sst2", "full", "0.5")),
    (r"AG News to ([\d.]+) % and", lambda: mean("euds", "ag_news", "igse_box", "0.16")),
    (r"AG News to [\d.]+ % and ([\d.]+) %, against", lambda: mean("euds", "ag_news", "igse_box", "0.5")),
    (r"AG News to [\d.]+ % and [\d.]+ %, against ([\d.]+) %", lambda: mean("euds", "ag_news", "full", "0.5")),
    (r"the box saves (\d+) % of the FLOPs", saved_by_box),
    (r"([\d.]+) points of accuracy go with them", lambda: box_over("full", "sst2")),
    (r"information and loss ([\d.]+) to", lambda: points("euds", "sst2", "loss", budget="0.16")),
    (r"information and loss [\d.]+ to ([\d.]+) below", lambda: points("euds", "sst2", "k_center", budget="0.16")),
    (r"the sum is ([\d.]+) points above the box on SST-2", lambda: box_over("igse_sum", "sst2")),
    (r"the box on SST-2, and ([\d.]+) below on AG News", lambda: box_over("igse_sum", "ag_news")),
    (r"has an F1 over ([\d.]+) %", lambda: squad_runs(full=False)[0]),
    (r"of these have ([\d.]+) % and", lambda: squad_runs(full=True)[0]),
    (r"of these have [\d.]+ % and ([\d.]+) %", lambda: squad_runs(full=True)[1]),
]

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
        r"entropies are ([\d.]+) points worse than as many random rows",
        lambda: points("quick", "docstrings", "igse_box"),
    ),
    ("README.md", r"of (\d+) selections of SST-2, AG News and SQuAD", lambda: same_rows(hold_zero=False)),
    ("README.md", r"their rivals, (\d+) are not told apart", lambda: same_rows(hold_zero=True)),
    (
        "README.md",
        r"is ([\d.]+) points above a random half",
        lambda: points("euds", "ag_news", "igse_box", budget="0.5"),
    ),
    ("README.md", r"are better: by ([\d.]+) points on SST-2", lambda: gained("sst2", "cost")),
    ("README.md", r"points on SST-2 and ([\d.]+) on AG News, where", lambda: gained("ag_news", "cost")),
    ("README.md", r"GOT-D costs ([\d.]+) to", lambda: dearer("gotd", "chemprot", "gotd", "random")),
    ("README.md", r"GOT-D costs [\d.]+ to ([\d.]+) times as much", lambda: dearer("gotd", "sciie", "gotd", "random")),
    ("docs/guide.md", r"Spearman ([\d.]+) on SST-2, [\d.]+ on AG News", lambda: agreement("sst2")),
    ("docs/guide.md", r"Spearman [\d.]+ on SST-2, ([\d.]+) on AG News", lambda: agreement("ag_news")),
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


SAID += [("docs/findings.md", pattern, expected) for pattern, expected in EUDS + FINDINGS]
