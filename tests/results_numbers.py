"""Numbers computed from the CSVs in `results/`, rounded as pages have them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import numpy as np
from compared import FIT, natural_difference, runs_in, verdict_of

from tests.conftest import REPOSITORY


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


def nats_fewer(table: str, task: str, method: str) -> list[str]:
    """Nats by which a loss is lower than with random windows, and the bounds of that, the lower one first."""
    return [f"{-of(table, task, method, column):.3f}" for column in ("versus_random", "high", "low")]


def gotd_less(task: str, method: str) -> list[str]:
    """Nats by which GOT-D's loss is higher than another method's, and the bounds of that."""
    with (REPOSITORY / "results" / "small_gotd_lm_against_gotd.csv").open(newline="") as lines:
        line = next(one for one in csv.DictReader(lines) if (one["task"], one["method"]) == (task, method))
    return [f"{float(line[column]):.3f}" for column in ("difference", "low", "high")]


VERSUS = {"random": ("versus_random", "low", "high"), "same": ("matched_versus_this", "matched_low", "matched_high")}


def interval(table: str, task: str, method: str, against: str = "random", **budget: str) -> list[str]:
    """Size of a difference in points, and the bounds of its interval without their signs."""
    columns = VERSUS.get(against, (f"versus_{against}", f"low_{against}", f"high_{against}"))
    return [points(table, task, method, column, **budget) for column in columns]


def at_as_many_rows(method: str) -> list[str]:
    """The differences to as many random rows at 16 % of SST-2 and of AG News, as `interval` has them."""
    return [part for task in ("sst2", "ag_news") for part in interval("euds", task, method, budget="0.16")]


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


def compared(name: str, arm: str) -> list[str]:
    """Accuracy and total cost of a run of a comparison, and where it is a rival the difference of the fit to it."""
    runs, evidence = runs_in(name), verdict_of(runs_in(name)).evidence
    mine = [run for run in runs if run.arm == arm]
    numbers = [f"{100 * np.mean([run.accuracy for run in mine]):.1f}"]
    numbers.append(f"{np.mean([run.flops for run in mine]) / 1e12:.2f}")
    gap = None if arm == FIT else evidence.arm(arm).difference
    return numbers if gap is None else [*numbers, *(f"{abs(100 * one):.1f}" for one in (gap.value, gap.low, gap.high))]


def compared_at_prior(name: str, arm: str) -> list[str]:
    """The difference of the fit to a rival at the pool's shares, with its interval."""
    fit, other = ([run for run in runs_in(name) if run.arm == of] for of in (FIT, arm))
    return [f"{abs(100 * one):.1f}" for one in natural_difference(fit, other)]
