"""Numbers that README and docs state, each computed from the CSVs in `results/` and rounded as the page has it.

A `Statement` is bound to a page, a heading and an order of numbers, not to the wording around them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from compared import FIT

from selectune.verdict.evidence import ARMS
from tests.results_numbers import (
    agreement,
    at_as_many_rows,
    benchmark,
    best_of_seed_2,
    box_to,
    compared,
    compared_at_prior,
    comparisons,
    euds_rows,
    from_abstracts,
    gotd_less,
    interval,
    matched,
    mean,
    mean_nats,
    nats_fewer,
    points,
    rows_per_s,
    saved_by_box,
    selecting,
    squad_f1,
    times_the_cost,
    tokens_trained_on,
    words,
)

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


row = partial(Statement, row=True)
README, FINDINGS = ("README.md", "When it does not pay"), "docs/findings.md"
QUICKSTART = ("README.md", "What the quickstart shows")
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
    *(row(*QUICKSTART, partial(compared, "quickstart", arm)) for arm in (FIT, *ARMS)),
    Statement(*QUICKSTART, lambda: compared_at_prior("quickstart", "all_rows")),
    Statement(*README, lambda: [*matched("sst2", "cost"), *matched("ag_news", "cost")]),
    Statement(*README, lambda: [*comparisons(), *interval("euds", "ag_news", "igse_box", budget="0.5")]),
    Statement(*README, lambda: interval("quick", "docstrings", "igse_box")),
    Statement(*README, lambda: [times_the_cost("gotd", task, "gotd") for task in ("chemprot", "sciie")]),
    Statement(
        *README,
        lambda: [
            *(times_the_cost("gotd_lm", task, "gotd") for task in ("sciie", "chemprot")),
            *(
                part
                for of in ("gotd", "tapt")
                for task in ("scicite", "sciie")
                for part in nats_fewer("gotd_lm", task, of)
            ),
            *gotd_less("sciie", "dsir_same_cost"),
        ],
    ),
    Statement("docs/methods.md", "GOT-D", lambda: gotd_less("sciie", "dsir_same_cost")),
    Statement("docs/guide.md", "Choosing a selector", lambda: [agreement("sst2"), agreement("ag_news")]),
    row("docs/methods.md", "`generative_entropy`", lambda: [agreement("sst2"), agreement("ag_news")]),
    Statement("docs/methods.md", "`generative_entropy`", lambda: [mean_nats("masked"), mean_nats("masked_pseudo")]),
    *(
        Statement("docs/methods.md", heading, partial(at_as_many_rows, *methods))
        for heading, methods in {
            "`information_entropy`": ["information"],
            "`generative_entropy`": ["generative"],
            "`semantic_entropy`": ["semantic"],
            "`KCenter`": ["k_center"],
            "`Nearest`": ["nearest"],
        }.items()
    ),
    Statement(
        "docs/methods.md",
        "`TopK`",
        lambda: [
            part
            for method in ("lowest_generative", "highest_generative", "loss")
            for part in interval("euds", "sst2", method, budget="0.16")
        ],
    ),
    Statement("docs/methods.md", "DSIR", lambda: nats_fewer("gotd_lm", "sciie", "dsir")),
    Statement(
        "docs/limits.md",
        "Limits",
        lambda: [f"{benchmark('memory.csv', 'select', 'difference', 'peak_rss_anon_mb'):.0f}"],
    ),
    row(*BENCHMARK, lambda: [f"{rows_per_s('encoder'):.1f}"]),
    row(*BENCHMARK, lambda: [f"{rows_per_s('exact'):.1f}", f"{rows_per_s('exact') / rows_per_s('encoder'):.2f}"]),
    row(*BENCHMARK, lambda: [f"{rows_per_s('naive'):.1f}"]),
    row(*BENCHMARK, lambda: [f"{benchmark('scoring.csv', 'sst2', 'probe', 'spearman_to_exact'):.3f}"]),
    row(*BENCHMARK, lambda: [f"{benchmark('scoring.csv', 'imdb', 'probe_early', 'rows_per_s'):.2f}"]),
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
