"""Gains of the rules that answer findings, as they were measured on pools of known faults (``expected_gains.csv``)."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Literal

Against = Literal["random", "fewer_epochs"]
CLEAN = "none"  # the finding of a pool without a fault
FILE = "expected_gains.csv"


@dataclass(frozen=True)
class Gain:
    """Gain of a rule's rows over rows that cost as much, on pools with one fault.

    Args:
        finding: that the fault gives; `CLEAN` without one.
        rule: by which rows were chosen.
        true_share: of the rows with the fault.
        budget: share of the full cost that was spent.
        learner: ``fine-tuned``, or ``frozen``: a logistic head on frozen embeddings.
        against: random rows, or all rows for fewer epochs, at the same total cost.
        points: mean difference, points of the held-out metric.
        low: of its 95 % interval.
        high: of it.
        pools: that it was measured on.
        seeds: of each.
    """

    finding: str
    rule: str
    true_share: float
    budget: float
    learner: str
    against: Against
    points: float
    low: float
    high: float
    pools: str
    seeds: int

    @property
    def is_gain(self) -> bool:
        """Whether the interval lies above 0."""
        return self.low > 0


@cache
def measured_gains() -> tuple[Gain, ...]:
    """The whole table that comes with the package."""
    text = (resources.files(__package__) / FILE).read_text(encoding="utf-8")
    return tuple(_gain(line) for line in csv.DictReader(text.splitlines()))


def _gain(line: dict[str, str]) -> Gain:
    return Gain(
        finding=line["finding"],
        rule=line["rule"],
        true_share=float(line["true_share"]),
        budget=float(line["budget"]),
        learner=line["learner"],
        against="random" if line["against"] == "random" else "fewer_epochs",
        points=float(line["gain_points"]),
        low=float(line["low"]),
        high=float(line["high"]),
        pools=line["pools"],
        seeds=int(line["seeds"]),
    )


def expected_gain(
    table: Iterable[Gain],
    finding: str,
    rules: Collection[str],
    share: float,
    budget: float,
    against: Against = "random",
) -> Gain | None:
    """The gain to expect of a rule where a share of the rows has a fault; None where nothing near it was measured.

    Taken at the measured budget that is nearest, of fine-tuning where that was measured, and interpolated between the
    measured shares, clean pools being of share 0. Beyond the largest one the gain is taken to be that one's.

    Args:
        table: measured gains.
        finding: the fault; `CLEAN` of a pool without one.
        rules: names of the rule.
        share: of the rows with the fault.
        budget: share of the full cost that is to be spent.
        against: what the gain is over.
    """
    known = [gain for gain in table if gain.rule in rules and gain.against == against]
    learners = {gain.learner for gain in known if gain.finding == finding}
    learner = "fine-tuned" if "fine-tuned" in learners else next(iter(learners), "")
    known = [gain for gain in known if gain.learner == learner and gain.finding in (finding, CLEAN)]
    budgets = {gain.budget for gain in known if gain.finding == finding}
    if not budgets:
        return None
    nearest = min(budgets, key=lambda measured: (abs(measured - budget), measured))
    at = {gain.true_share: gain for gain in known if gain.budget == nearest}
    shares = sorted(at)
    if finding == CLEAN or share >= shares[-1]:
        return at[shares[0] if finding == CLEAN else shares[-1]]
    if share < shares[0]:
        return None
    above = next(measured for measured in shares if measured >= share)
    below = max(measured for measured in shares if measured <= share)
    weight = 0.0 if above == below else (share - below) / (above - below)
    first, last = at[below], at[above]

    def between(name: str) -> float:
        return float((1 - weight) * getattr(first, name) + weight * getattr(last, name))

    values = {name: between(name) for name in ("true_share", "points", "low", "high")}
    return replace(last, **values, finding=finding, seeds=min(first.seeds, last.seeds))  # type: ignore[arg-type]
