"""The packaged table of gains to expect from a rule, from the outcomes that were measured on faulty pools.

    python benchmarks/expected_gains.py           # writes selectune/diagnose/expected_gains.csv
    python benchmarks/expected_gains.py --check   # exits with 1 where that is not what results/ has

A line is a finding, a rule (by the name of its file in configs/selectors; ``all_three`` drops copies and label issues
and balances classes; ``fewer_epochs`` trains on all rows), the share of the rows at fault, the total cost as a share of
that of all epochs on all rows, the learner (``frozen``: a linear head on embeddings; ``fine-tuned``: the whole 22M
model), the arm that it is compared with, at the same total cost, and the weights of the scorer as a share of the
learner's: 0.17 where SmolLM2-135M was fine-tuned for an epoch and scored by the 22M model. ``gain_points`` is the mean
difference in accuracy over all pools, in points; ``low`` and ``high`` are its 95 % t interval over these pools, empty
where there is but one.
Pools of one data set are alike, and the data sets are two or three: another one may lie outside.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import defaultdict
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from _fine_tuned import Run
from _outcomes import ARMS, FEWER, RANDOM, Outcome
from _table import read_records
from fine_tuned_outcomes import ANSWERS
from pool_faults import RARE_PART

from selectune.verdict.intervals import difference_of_seeds

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "selectune" / "diagnose" / "expected_gains.csv"
FROZEN, FINE_TUNED = (ROOT / "results" / f"faulty_pools_{name}.csv" for name in ("outcome", "fine_tuned"))
LARGE = ROOT / "results" / "large_learner.csv"
COLUMNS = (
    "finding", "rule", "true_share", "budget", "learner", "against", "gain_points", "low", "high", "pools", "seeds",
    "scorer",
)  # fmt: skip
FINDINGS = {
    "clean": "none",
    "label_flips": "label_issue",
    "class_flips": "label_issue",
    "near_copies": "near_copy",
    "exact_copies": "exact_copy",
    "shuffled_words": "not_language",
}  # of other faults, their own names
ARMS_OF_TUNED = {"euds": "igse"}
ARMS_OF_LARGE = {"random": RANDOM, "balanced": "balanced", "densest": "igse", "anchored": "igse_anchored"}
LARGE_SCORER = 0.17  # 22.7 million weights over 134.5


class Measured(NamedTuple):
    """The accuracy of one rule on one pool."""

    finding: str
    true_share: float
    budget: float
    learner: str
    data: str
    fault: str
    seed: int
    rule: str
    accuracy: float
    scorer: float = 1.0

    @property
    def case(self) -> tuple[str, float, float, str, float]:
        """The columns that a line of the table is for, beside rule and arm."""
        return self.finding, self.true_share, self.budget, self.learner, self.scorer

    @property
    def pool(self) -> tuple[str, str, int]:
        """The pool."""
        return self.data, self.fault, self.seed


def measured() -> Iterator[Measured]:
    """All outcomes in results/."""
    frozen: list[Outcome | Run] = [*read_records(Outcome, FROZEN)]
    for one in [*frozen, *read_records(Run, FINE_TUNED)]:
        share = one.share * (RARE_PART if one.fault == "rare_class" else 1)
        tuned = isinstance(one, Run)
        rule = {**ARMS_OF_TUNED, "rule": ANSWERS[one.fault]}.get(one.arm, one.arm) if tuned else one.arm
        yield Measured(
            FINDINGS.get(one.fault, one.fault), round(share, 4), 0.5 if isinstance(one, Run) else one.budget,
            "fine-tuned" if tuned else "frozen", one.data, one.fault, one.seed, rule, one.accuracy,
        )  # fmt: skip
    for run in read_records(Run, LARGE):
        if run.arm in ARMS_OF_LARGE:
            yield Measured(
                "none", 0.0, 0.5, "fine-tuned", run.data, run.fault, run.seed, ARMS_OF_LARGE[run.arm], run.accuracy,
                LARGE_SCORER,
            )  # fmt: skip


def gains() -> list[dict[str, str]]:
    """The lines of the table, by column."""
    by_case: dict[tuple[str, float, float, str, float], dict[str, dict[tuple[str, str, int], float]]] = defaultdict(
        dict
    )
    for one in measured():
        by_case[one.case].setdefault(one.rule, {})[one.pool] = one.accuracy
    lines = []
    for (finding, share, budget, learner, scorer), rules in sorted(by_case.items()):
        for rule in sorted(rules, key=[*ARMS].index):
            for against in (RANDOM, FEWER):
                # of one epoch, random rows are all rows for fewer epochs
                theirs = rules.get(against, rules[RANDOM] if scorer == LARGE_SCORER else {})
                shared = sorted(rules[rule].keys() & theirs.keys())
                if rule in (RANDOM, against) or not shared:
                    continue
                difference = difference_of_seeds(
                    *({number: 100 * of[pool] for number, pool in enumerate(shared)} for of in (rules[rule], theirs))
                )
                mean = float(np.mean([100 * (rules[rule][pool] - theirs[pool]) for pool in shared]))
                bounds = ("", "") if difference is None else (f"{difference.low:.2f}", f"{difference.high:.2f}")
                values = (finding, rule, f"{share:g}", f"{budget:g}", learner, against, f"{mean:.2f}", *bounds)
                counts = f"{len(shared)}", f"{len({seed for *_, seed in shared})}"
                lines.append(dict(zip(COLUMNS, (*values, *counts, f"{scorer:g}"), strict=True)))
    return lines


def text() -> str:
    """The table as its file has it."""
    file = StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(gains())
    return file.getvalue()


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--check", action="store_true", help="write nothing; exit with 1 where the file is stale")
    if not made.parse_args().check:
        TABLE.write_text(text())
    elif TABLE.read_text() != text():
        print(f"{TABLE.relative_to(ROOT)} is not what results/ has; run benchmarks/expected_gains.py", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
