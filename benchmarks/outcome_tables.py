"""Tables of what rules and entropy bands came to on faulty pools, as docs/findings.md and docs/diagnose.md show them.

    python benchmarks/outcome_tables.py          # prints all of them, from results/

A difference is that of two arms of the same total cost, in points, with its t interval over seeds.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from _fine_tuned import Run
from _outcomes import FEWER, RANDOM, Outcome
from _table import read_records
from expected_gains import TABLE

from selectune.verdict.intervals import difference_of_seeds

RESULTS = Path(__file__).resolve().parents[1] / "results"
FAULTS = {
    "clean": "none",
    "label_flips": "wrong labels",
    "class_flips": "wrong labels, more in some classes",
    "rare_class": "a rare class",
    "near_copies": "near copies",
    "exact_copies": "exact copies",
    "junk": "junk",
    "off_topic": "off topic",
    "shuffled_words": "shuffled words",
}
DATA = {"sst2": "SST-2", "ag_news": "AG News", "newsgroups20": "20 Newsgroups"}
METRICS = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "accuracy_at_prior": "accuracy at the pool's prior",
    "macro_f1_at_prior": "macro F1 at the pool's prior",
}
NAMES = {
    FEWER: "fewer epochs",
    "balanced": "balanced",
    "semantic_duplicates": "drop copies",
    "label_issues": "drop label issues",
    "all_three": "all three",
    "igse": "IGSE, probe",
    "igse_exact": "IGSE, exact",
    "igse_anchored": "Anchored, probe",
    "igse_anchored_exact": "Anchored, exact",
    "rule": "the rule",
    "euds": "IGSE",
}
ANSWERS = {  # the rule that answers a finding
    "none": "all_three",
    "label_issue": "label_issues",
    "rare_class": "balanced",
    "near_copy": "semantic_duplicates",
    "exact_copy": "semantic_duplicates",
}
POOLED = (
    (FEWER, RANDOM),
    ("rule", RANDOM),
    ("rule", FEWER),
    ("euds", RANDOM),
    ("euds", FEWER),
    ("igse", RANDOM),
    ("igse_anchored", RANDOM),
    ("igse_anchored", "igse"),
    ("igse_exact", "igse"),
    ("igse_anchored_exact", "igse_anchored"),
)
SHOWN_SHARES = ("0", "0.03", "0.3", "0.6")
RULES = (FEWER, "balanced", "semantic_duplicates", "label_issues", "all_three")
BANDS = ("igse", "igse_exact", "igse_anchored", "igse_anchored_exact")


class Line(NamedTuple):
    """One line of a table: the arms of one kind of pool at one cost, each with its metric by seed, in per cent."""

    names: tuple[str, ...]
    arms: dict[str, dict[int, float]]

    def mean(self, arm: str, others: Sequence[str] = ()) -> str:
        """The mean of an arm to one decimal, over its seeds or those of them that other arms have too."""
        seeds = set().union(*(self.arms[other] for other in others)) if others else set(self.arms[arm])
        return f"{np.mean([value for seed, value in self.arms[arm].items() if seed in seeds]):.1f}"

    def gap(self, arm: str, against: str) -> str:
        """The difference of two arms with its interval, or an en dash where one was not run."""
        if arm not in self.arms or against not in self.arms:
            return "–"
        mine, theirs = self.arms[arm], self.arms[against]
        difference = difference_of_seeds(mine, theirs)
        if difference is None:
            (seed,) = mine.keys() & theirs.keys()
            return signed(mine[seed] - theirs[seed])
        return f"{signed(difference.value)} [{signed(difference.low)}, {signed(difference.high)}]"


def signed(points: float) -> str:
    """A difference to one decimal with its sign; 0.0 has none."""
    return "0.0" if abs(points) < 0.05 else f"{points:+.1f}".replace("-", "−")


def lines_of(
    records: Iterable[Outcome | Run], metrics: Sequence[str] = ("accuracy",), of_rare: Sequence[str] = ()
) -> list[Line]:
    """A line for each data set, fault and metric; more metrics where a class is rare."""
    values: dict[tuple[str, str, str], dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for one in records:
        for metric in (*metrics, *(of_rare if one.fault == "rare_class" else ())):
            values[one.data, one.fault, metric][one.arm][one.seed] = 100 * float(getattr(one, metric))
    ordered = sorted(values, key=lambda key: ([*DATA].index(key[0]), [*FAULTS].index(key[1]), [*METRICS].index(key[2])))
    return [Line((DATA[key[0]], FAULTS[key[1]], METRICS[key[2]]), values[key]) for key in ordered]


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    """A table in markdown whose first columns are text and the others numbers."""
    rule = ["---" if place < left else "---:" for place in range(len(head))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def fine_tuned() -> str:
    """All arms of the fine-tuning, by metric."""
    runs = read_records(Run, RESULTS / "faulty_pools_fine_tuned.csv")
    metrics = [*METRICS]
    lines = lines_of(runs, metrics[:2], metrics[2:])
    against = ((FEWER, RANDOM), ("rule", RANDOM), ("rule", FEWER), ("euds", RANDOM), ("euds", FEWER))
    head = ["data", "fault", "metric", "n", "random rows"]
    head += [f"{NAMES[arm]} − {'random' if other == RANDOM else 'fewer epochs'}" for arm, other in against]
    rows = [
        [*line.names, str(len(line.arms[RANDOM])), line.mean(RANDOM), *(line.gap(*each) for each in against)]
        for line in lines
    ]
    return table(head, rows, 3)


def frozen(budget: float, arms: Sequence[str], share: float = 0.3, against: str = RANDOM) -> str:
    """The accuracy of random rows, and the differences of some arms, on frozen embeddings."""
    outcomes = [
        one
        for one in read_records(Outcome, RESULTS / "faulty_pools_outcome.csv")
        if one.budget == budget and one.share in (0.0, share)
    ]
    rows = []
    for line in lines_of(outcomes):
        shown = [arm for arm in arms if arm in line.arms]
        if shown:
            counted = str(max(len(line.arms[arm]) for arm in shown))
            rows.append(
                [*line.names[:2], counted, line.mean(against, shown), *(line.gap(arm, against) for arm in arms)]
            )
    head = ["data", "fault", "n", "random rows" if against == RANDOM else "fewer epochs", *(NAMES[arm] for arm in arms)]
    return table(head, rows, 2)


def _gain(line: dict[str, str]) -> str:
    """The gain of a line of the packaged table, with its interval where there is one."""
    bounds = [signed(float(line[name])) for name in ("low", "high") if line[name]]
    return signed(float(line["gain_points"])) + (f" [{', '.join(bounds)}]" if bounds else "")


def answers() -> str:
    """The gains of the rule that answers each finding, over all data sets, by learner and budget."""
    with TABLE.open(newline="") as file:
        lines = list(csv.DictReader(file))
    by_case: dict[tuple[str, ...], dict[str, dict[str, str]]] = defaultdict(dict)
    for line in lines:
        if ANSWERS.get(line["finding"]) == line["rule"] and line["true_share"] in SHOWN_SHARES:
            key = (line["finding"], line["rule"], line["learner"], line["budget"], line["true_share"])
            by_case[key][line["against"]] = line
    rows = []
    for (finding, rule, learner, budget, share), arms in by_case.items():
        gaps = [_gain(arms[RANDOM]), _gain(arms[FEWER])]
        shown = f"`{finding}`" if finding != "none" else finding
        cells = f"{float(share):.0%}".replace("%", " %"), f"{float(budget):.0%}".replace("%", " %")
        rows.append([shown, NAMES[rule], learner, *cells, arms[RANDOM]["pools"], *gaps])
    head = [
        "finding",
        "rule",
        "learner",
        "rows at fault",
        "cost",
        "pools",
        "against random rows",
        "against fewer epochs",
    ]
    return table(head, rows, 3)


def pooled() -> str:
    """Differences in accuracy over all pools that have both arms, of any fault and data set; t intervals over pools."""
    frozen_ones = read_records(Outcome, RESULTS / "faulty_pools_outcome.csv")
    tuned = read_records(Run, RESULTS / "faulty_pools_fine_tuned.csv")
    accuracy: dict[tuple[str, str, str], dict[tuple[object, ...], float]] = defaultdict(dict)
    for one in frozen_ones:
        accuracy["frozen", f"{one.budget:.0%}".replace("%", " %"), one.arm][one.pool] = 100 * one.accuracy
    for run in tuned:
        accuracy["fine-tuned", "50 %", run.arm][run.key[:3]] = 100 * run.accuracy
    rows = []
    for learner, cost in (("frozen", "50 %"), ("frozen", "16 %"), ("fine-tuned", "50 %")):
        for arm, against in POOLED:
            mine, theirs = accuracy[learner, cost, arm], accuracy[learner, cost, against]
            pools = sorted(mine.keys() & theirs.keys(), key=str)
            if len(pools) > 1:
                line = Line((), {arm: dict(enumerate(mine[each] for each in pools))})
                line.arms[against] = dict(enumerate(theirs[each] for each in pools))
                names = (NAMES[arm], NAMES.get(against, "random rows"))
                rows.append([learner, cost, *names, str(len(pools)), line.gap(arm, against)])
    return table(["learner", "cost", "arm", "against", "pools", "difference"], rows, 4)


def clean_rows_kept() -> str:
    """Per cent of the clean rows that bands keep in a pool that is half junk, by data set and rows kept."""
    cells: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    with (RESULTS / "entropy_bands.csv").open(newline="") as file:
        for line in csv.DictReader(file):
            data, *_, keep = line["case"].split("/")
            if line["metric"] == "clean_rows_kept":
                cells[data, keep.removeprefix("keep ").replace("%", " %")][line["variant"]] = (
                    f"{100 * float(line['value']):.1f}"
                )
    names = list(next(iter(cells.values())))
    rows = [[DATA[data], keep, *(of[name] for name in names)] for (data, keep), of in cells.items()]
    return table(["data", "rows kept", *names], rows, 2)


def tables() -> dict[str, str]:
    """All tables, by the page that shows them (none: the command alone) and what they show."""
    findings, diagnosis = "docs/findings.md: ", "docs/diagnose.md: "
    return {
        f"{diagnosis}answers": answers(),
        f"{findings}over all pools": pooled(),
        f"{findings}fine-tuned": fine_tuned(),
        f"{findings}frozen, rules, half of the cost": frozen(0.5, RULES),
        f"{findings}frozen, rules, 16 % of the cost": frozen(0.16, RULES),
        f"{findings}frozen, bands, half of the cost": frozen(0.5, BANDS),
        f"{findings}frozen, bands, 16 % of the cost": frozen(0.16, [BANDS[0], BANDS[2]]),
        f"{findings}clean rows kept": clean_rows_kept(),
        "frozen, rules against fewer epochs, half of the cost": frozen(0.5, RULES[1:], against=FEWER),
        "frozen, rules against fewer epochs, 16 % of the cost": frozen(0.16, RULES[1:], against=FEWER),
    }


def main() -> None:
    for name, text in tables().items():
        print(f"{name}\n\n{text}\n")


if __name__ == "__main__":
    main()
