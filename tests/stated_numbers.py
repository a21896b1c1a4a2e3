"""Numbers that README and docs state, each computed from the CSVs in `results/` and rounded as the page has it.

A `Statement` is bound to a page, a heading and an order of numbers, not to the wording around them.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests.conftest import REPOSITORY

NUMBER = re.compile(r"(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)?(?!\w)")


class Statement(NamedTuple):
    """Numbers that one paragraph, point of a list or, with `row`, row of a table under a heading has in this order."""

    page: str
    heading: str
    numbers: Callable[[], list[str]]
    row: bool = False

    def blocks(self, text: str) -> list[str]:
        """The blocks of the page that it may be in."""
        return [block for block in blocks_under(self.heading, text) if block.startswith("|") == self.row]


def blocks_under(heading: str, text: str) -> list[str]:
    """The paragraphs, points of lists and rows of tables under a heading, as they are in the page."""
    found: list[str] = []
    inside, code, joined = False, False, False
    for line in text.splitlines(keepends=True):
        code ^= line.startswith("```")
        if re.match("#+ ", line) and not code:
            inside = line.strip("# \n") == heading
            joined = False
        elif inside and line.strip():
            if joined and not line.startswith(("- ", "|")):
                found[-1] += line
            else:
                found.append(line)
            joined = True
        else:
            joined = False
    return found


def states(block: str, numbers: list[str]) -> bool:
    """Whether a block has exactly these numbers in this order; others may stand between them."""
    return [number for number in NUMBER.findall(block) if number in numbers] == numbers


@cache
def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def benchmark(file: str, case: str, variant: str, metric: str) -> float:
    """A value of a benchmark."""
    (row,) = (
        row
        for row in rows_of(REPOSITORY / "results" / file)
        if (row["case"], row["variant"], row["metric"]) == (case, variant, metric)
    )
    return float(row["value"])


def agreement(case: str) -> str:
    return f"{benchmark('agreement.csv', case, 'masked', 'spearman_to_masked_pseudo'):.2f}"


def mean_nats(variant: str) -> str:
    return f"{benchmark('agreement.csv', 'sst2', variant, 'mean_nats'):.1f}"


def rows_per_s(variant: str) -> float:
    return benchmark("scoring.csv", "sst2", variant, "rows_per_s")


def runs(table: str, **equal: str) -> list[dict[str, str]]:
    """The runs of a table whose columns have these values."""
    return _where(rows_of(REPOSITORY / "results" / f"small_{table}.csv"), equal)


def lines(table: str, **equal: str) -> list[dict[str, str]]:
    """The lines of a table's summary whose columns have these values."""
    return _where(rows_of(REPOSITORY / "results" / f"small_{table}_summary.csv"), equal)


def _where(rows: Iterable[dict[str, str]], equal: dict[str, str]) -> list[dict[str, str]]:
    return [row for row in rows if all(row[name] == value for name, value in equal.items())]


def of(table: str, task: str, method: str, column: str, **budget: str) -> float:
    """A value of a line of a summary; `budget` where the task has several."""
    (line,) = lines(table, task=task, method=method, **budget)
    return float(line[column])


def mean(table: str, task: str, method: str, **budget: str) -> str:
    """The metric in per cent."""
    return f"{100 * of(table, task, method, 'mean', **budget):.1f}"


def points(table: str, task: str, method: str, column: str = "versus_random", **budget: str) -> str:
    """The size of a difference, in points."""
    return f"{abs(100 * of(table, task, method, column, **budget)):.1f}"


VERSUS = {"random": ("versus_random", "low", "high"), "same": ("matched_versus_this", "matched_low", "matched_high")}


def interval(table: str, task: str, method: str, against: str = "random", **budget: str) -> list[str]:
    """Size of a difference in points, and the bounds of its interval without their signs."""
    columns = VERSUS.get(against, (f"versus_{against}", f"low_{against}", f"high_{against}"))
    return [points(table, task, method, column, **budget) for column in columns]


def matched(task: str, by: str) -> list[str]:
    """The difference of EUDS's box at 16 % to random rows of as many tokens or the same cost, as `interval` has it."""
    return interval("euds", task, f"random_same_{by}", "same", budget="0.16")


def words(table: str, word: str = "", **equal: str) -> str:
    """Number of verdicts of a table, or of those that have a word."""
    return str(sum(line["verdict"] == word if word else bool(line["verdict"]) for line in lines(table, **equal)))


def box_to(other: str, task: str) -> str:
    """The difference of EUDS's box to another method at 16 %, in points."""
    gap = of("euds", task, "igse_box", "mean", budget="0.16") - of("euds", task, other, "mean", budget="0.16")
    return f"{abs(100 * gap):.1f}"


def selecting(table: str, task: str, method: str, **budget: str) -> str:
    """Per cent of the cost that is the selection's."""
    selection, total = (of(table, task, method, f"{part}_flops", **budget) for part in ("selection", "total"))
    return f"{100 * selection / total:.0f}"


def times_the_cost(table: str, task: str, method: str, than: str = "random") -> str:
    costs = [of(table, task, name, "total_flops") for name in (method, than)]
    return f"{costs[0] / costs[1]:.1f}"


def from_abstracts(task: str, method: str) -> str:
    """Per cent of the windows that are from abstracts, over seeds."""
    of_method = runs("gotd", task=task, method=method)
    rows = sum(int(run["warm_up_rows"]) for run in of_method)
    return f"{100 * sum(int(run['from/pool_cs_abstracts']) for run in of_method) / rows:.0f}"


def comparisons(table: str = "euds") -> tuple[str, str]:
    """Lines of a table that compare a selector with as many random rows, and those with 0 in the interval of that."""
    others = ("full", "none")
    of_selectors = [line for line in lines(table, matches="") if line["method"] not in others and line["versus_random"]]
    with_0 = [line for line in of_selectors if float(line["low"]) <= 0 <= float(line["high"])]
    return str(len(of_selectors)), str(len(with_0))


def euds_rows(method: str, which: Callable[[list[int]], int], **task: str) -> str:
    """The fewest or most rows that a method's runs at 16 % train on."""
    return str(which([int(run["rows"]) for run in runs("euds", method=method, **task) if run["budget"] != "0.5"]))


def tokens_trained_on(which: Callable[[list[float]], float]) -> str:
    """The fewest or most tokens that SST-2's selectors train on at 16 %."""
    of_selectors = [
        float(line["tokens_trained_on"])
        for line in lines("euds", task="sst2", budget="0.16", matches="")
        if line["method"] not in ("full", "random")
    ]
    return f"{which(of_selectors):,.0f}"


def saved_by_box() -> str:
    """Per cent of SST-2's FLOPs at 16 %."""
    savings = [float(run["saving_flops"]) for run in runs("euds", task="sst2", method="igse_box", budget="0.16")]
    return f"{100 * np.mean(savings):.0f}"


def squad_f1(full: bool) -> list[str]:
    """F1 of SQuAD's runs in per cent, the best first."""
    found = [float(run["test/f1"]) for run in runs("euds", task="squad") if (run["method"] == "full") == full]
    return [f"{value:.1f}" for value in sorted(found, reverse=True)]


def best_of_seed_2() -> str:
    """The best metric of ChemProt after a warm-up with seed 2, in per cent."""
    found = [float(run["test/micro_f1"]) for run in runs("gotd", task="chemprot", seed="2") if run["method"] != "none"]
    return f"{100 * max(found):.1f}"


row = partial(Statement, row=True)
README, FINDINGS = ("README.md", "When it does not pay"), "docs/findings.md"
EUDS = (FINDINGS, "Entropies on sentiment, topics and questions: EUDS")
GOTD = (FINDINGS, "Warming up on chosen texts: GOT-D")
DOCSTRINGS = (FINDINGS, "Entropies on docstrings, the table that needs no download")
BENCHMARK = ("docs/probe.md", "The benchmark")

STATEMENTS = [
    Statement(
        *README,
        lambda: [
            words("euds", "costs_accuracy", task="sst2", budget="0.16"),
            words("euds", task="sst2", budget="0.16"),
            words("euds", "not_known_yet", task="sst2", budget="0.16"),
        ],
    ),
    Statement(*README, lambda: [*matched("sst2", "cost"), *matched("ag_news", "cost")]),
    Statement(*README, lambda: [*comparisons(), *interval("euds", "ag_news", "igse_box", budget="0.5")]),
    Statement(*README, lambda: interval("quick", "docstrings", "igse_box")),
    Statement(*README, lambda: [times_the_cost("gotd", task, "gotd") for task in ("chemprot", "sciie")]),
    Statement("docs/guide.md", "Choosing a selector", lambda: [agreement("sst2"), agreement("ag_news")]),
    row("docs/methods.md", "`generative_entropy`", lambda: [agreement("sst2"), agreement("ag_news")]),
    Statement("docs/methods.md", "`generative_entropy`", lambda: [mean_nats("masked"), mean_nats("masked_pseudo")]),
    Statement(
        "docs/limits.md",
        "Limits",
        lambda: [f"{benchmark('memory.csv', 'select', 'difference', 'peak_rss_anon_mb'):.0f}"],
    ),
    row(*BENCHMARK, lambda: [f"{rows_per_s('encoder'):.1f}"]),
    row(*BENCHMARK, lambda: [f"{rows_per_s('exact'):.1f}", f"{rows_per_s('exact') / rows_per_s('encoder'):.2f}"]),
    row(*BENCHMARK, lambda: [f"{rows_per_s('naive'):.1f}"]),
    row(*BENCHMARK, lambda: [f"{benchmark('scoring.csv', 'sst2', 'probe', 'spearman_to_exact'):.3f}"]),
    row(*BENCHMARK, lambda: [f"{benchmark('scoring_imdb_probe.csv', 'imdb', 'probe_early', 'rows_per_s'):.2f}"]),
    Statement(
        *EUDS,
        lambda: [
            words("euds"),
            *(words("euds", word) for word in ("costs_accuracy", "loses_to_random", "not_known_yet")),
        ],
    ),
    Statement(
        *EUDS,
        lambda: [
            *comparisons(),
            comparisons()[0],
            *interval("euds", "ag_news", "igse_box", budget="0.16"),
            *interval("euds", "ag_news", "igse_box", budget="0.5"),
            tokens_trained_on(min),
            tokens_trained_on(max),
        ],
    ),
    Statement(
        *EUDS,
        lambda: [
            euds_rows("random_same_cost", min),
            euds_rows("random_same_cost", max),
            euds_rows("igse_box", max, task="sst2"),
            *matched("sst2", "cost"),
            *matched("ag_news", "cost"),
            euds_rows("igse_box", min, task="sst2"),
            selecting("euds", "sst2", "igse_box", budget="0.16"),
            selecting("euds", "ag_news", "igse_box", budget="0.16"),
        ],
    ),
    Statement(
        *EUDS,
        lambda: [
            *matched("sst2", "tokens"),
            euds_rows("random_same_tokens", min, task="sst2"),
            euds_rows("random_same_tokens", max, task="sst2"),
        ],
    ),
    Statement(
        *EUDS,
        lambda: [
            *(mean("euds", "sst2", "igse_box", budget=budget) for budget in ("0.16", "0.5")),
            mean("euds", "sst2", "full", budget="0.5"),
            *(mean("euds", "ag_news", "igse_box", budget=budget) for budget in ("0.16", "0.5")),
            mean("euds", "ag_news", "full", budget="0.5"),
            saved_by_box(),
            *interval("euds", "sst2", "igse_box", "all_rows", budget="0.16"),
            *interval("euds", "ag_news", "igse_box", "all_rows", budget="0.16"),
        ],
    ),
    Statement(
        *EUDS,
        lambda: [
            points("euds", "sst2", "loss", budget="0.16"),
            points("euds", "sst2", "k_center", budget="0.16"),
            box_to("igse_sum", "sst2"),
            box_to("igse_sum", "ag_news"),
        ],
    ),
    Statement(*EUDS, lambda: [squad_f1(full=False)[0], *squad_f1(full=True)]),
    Statement(
        *GOTD,
        lambda: [*comparisons("gotd"), *interval("gotd", "sciie", "gotd"), words("gotd", "not_known_yet")],
    ),
    Statement(
        *GOTD,
        lambda: [
            points("gotd", "sciie", "none"),
            times_the_cost("gotd", "sciie", "random", "none"),
            *interval("gotd", "sciie", "none")[1:],
        ],
    ),
    Statement(
        *GOTD,
        lambda: [from_abstracts(task, of) for task in ("sciie", "chemprot") for of in ("gotd", "tapt_c", "dsir")],
    ),
    Statement(*GOTD, lambda: [selecting("gotd", "sciie", "gotd"), times_the_cost("gotd", "sciie", "gotd")]),
    Statement(*GOTD, lambda: [best_of_seed_2()]),
    Statement(
        *DOCSTRINGS,
        lambda: [
            *interval("quick", "docstrings", "igse_box"),
            *(times_the_cost("quick", "docstrings", method) for method in ("generative", "igse_box")),
        ],
    ),
    Statement(
        *DOCSTRINGS,
        lambda: [
            *interval("quick", "docstrings", "igse_box", "all_rows"),
            *interval("quick", "docstrings", "generative", "all_rows"),
        ],
    ),
    Statement(*DOCSTRINGS, lambda: [mean("quick", "docstrings", "full"), mean("quick", "docstrings", "random")]),
]
