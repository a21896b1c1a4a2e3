"""Gains of rules for a fine-tuned model beside those for a linear head: how far apart are they?

    python benchmarks/learners_apart.py --check  # seconds; exits with 1 where a pilot takes another spread

Both are over random rows at half of the cost of three epochs on all rows, on pools with the same fault of the same data
sets: results/faulty_pools_fine_tuned.csv (the 22M model, 1,500 rows, three seeds) and results/faulty_pools_outcome.csv
(heads on frozen embeddings, five seeds). A pilot rehearses plans with heads, and takes the gain of a fine-tuning to lie
around what they show with a standard deviation of FINE_TUNED_SPREAD. What is printed as ``spread`` is the root mean
square of the differences, less what the seeds of the fine-tunings alone make of it, and as ``times`` the slope of the
heads' gains over the fine-tunings', by least squares weighted for the noise of both.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from _fine_tuned import Run
from _table import Row, parser, read_records, table
from fine_tuned_outcomes import ANSWERS, SHARES
from scipy.optimize import minimize_scalar

from selectune.pilot.recommendation import FINE_TUNED_SPREAD

RESULTS = Path(__file__).resolve().parents[1] / "results"
RANDOM, BUDGET = "random", "0.5"
WITHIN = 0.5  # of the spread, by which what is measured may differ from what a pilot takes
Gains = dict[tuple[str, str, str], list[float]]  # of each seed, in points, by data set, fault and rule


def of_fine_tunings() -> Gains:
    """Gains over random rows of the model that is fine-tuned."""
    runs: dict[tuple[str, str, int], dict[str, float]] = defaultdict(dict)
    for run in read_records(Run, RESULTS / "faulty_pools_fine_tuned.csv"):
        name = ANSWERS[run.fault] if run.arm == "rule" else run.arm
        runs[run.data, run.fault, run.seed][name] = 100 * run.accuracy
    return _gains(runs)


def of_heads() -> Gains:
    """Gains over random rows of heads, on pools with as much of the fault."""
    runs: dict[tuple[str, str, str], dict[str, float]] = defaultdict(dict)
    with (RESULTS / "faulty_pools_outcome.csv").open(newline="") as file:
        for line in csv.DictReader(file):
            fault = line["fault"]
            if line["budget"] == BUDGET and fault in SHARES and float(line["share"]) == SHARES[fault]:
                runs[line["data"], fault, line["seed"]][line["arm"]] = 100 * float(line["accuracy"])
    return _gains(runs)


def _gains(runs: dict[tuple[str, str, int], dict[str, float]] | dict[tuple[str, str, str], dict[str, float]]) -> Gains:
    made: Gains = defaultdict(list)
    for (data, fault, _), arms in runs.items():
        for arm, accuracy in arms.items():
            if arm != RANDOM and RANDOM in arms:
                made[data, fault, arm].append(accuracy - arms[RANDOM])
    return made


def times(tuned: np.ndarray, heads: np.ndarray, noise: float, noise_of_heads: float) -> float:
    """The factor by which gains of heads are larger, where both are known with some variance (Deming 1943)."""

    def misfit(slope: float) -> float:
        return float(np.sum((heads - slope * tuned) ** 2) / (noise_of_heads + slope**2 * noise))

    return float(minimize_scalar(misfit, bounds=(0.1, 10), method="bounded").x)


def main() -> None:
    options = parser(__doc__ or "").parse_args()
    tuned, heads = of_fine_tunings(), of_heads()
    rows, apart, noise, noise_of_heads = [], [], [], []
    for key in (key for key in tuned if key in heads):
        case, arm = "/".join(key[:2]), key[2]
        apart.append(float(np.mean(tuned[key]) - np.mean(heads[key])))
        noise.append(float(np.var(tuned[key], ddof=1)) / len(tuned[key]))
        noise_of_heads.append(float(np.var(heads[key], ddof=1)) / len(heads[key]))
        rows += [Row(case, arm, "fine_tuned", float(np.mean(tuned[key]))), Row(case, arm, "head", np.mean(heads[key]))]
        rows.append(Row(case, arm, "apart", apart[-1]))
    spread = float(np.sqrt(max(0.0, np.mean(np.square(apart)) - np.mean(noise))))
    both = [np.array([row.value for row in rows if row.metric == name]) for name in ("fine_tuned", "head")]
    rows += [Row("all", "", "apart", float(np.mean(apart))), Row("all", "", "spread", spread)]
    rows.append(Row("all", "", "times", times(*both, float(np.mean(noise)), float(np.mean(noise_of_heads)))))
    print(table(rows))
    taken = 100 * FINE_TUNED_SPREAD
    if options.check and abs(spread - taken) > WITHIN * taken:
        print(f"missed: a pilot takes the spread to be {taken:g} points", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
