"""Mending a finding: its cost, and the gain that was measured where pools had the same fault."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from selectune.report.labels import part_of
from selectune.report.numbers import count

EXPECTED_GAINS = Path(__file__).with_name("expected_gains.csv")
CLEAN = "none"  # in place of a finding: pools without a fault
RANDOM, FEWER_EPOCHS = "random", "fewer_epochs"
FINE_TUNED = "fine-tuned"
NOT_MEASURED = "Not measured: no model was trained on such pools with a rule that answers this."
ANSWERS = {  # rules, by their files in configs/selectors
    "exact_copy": ("deduplicate", "semantic_duplicates"),
    "near_copy": ("deduplicate", "semantic_duplicates"),
    "label_issue": ("label_issues",),
    "rare_class": ("balanced",),
}
IN_WORDS = {
    "deduplicate": "Deduplicate",
    "semantic_duplicates": "SemanticDuplicates",
    "label_issues": "LabelIssues",
    "balanced": "Balanced",
    FEWER_EPOCHS: "all rows for fewer epochs",
    RANDOM: "random rows",
    FINE_TUNED: "a fine-tuned 22M model",
    "frozen": "a linear head on frozen embeddings",
}


@dataclass(frozen=True)
class Gain:
    """Gain of a rule over another at the same total cost, as measured on pools with a known fault.

    Args:
        finding: that the rule answers; ``none`` on clean pools.
        rule: by its file in ``configs/selectors``; ``fewer_epochs`` is training on all rows for fewer epochs.
        true_share: of the rows that carry the fault.
        budget: total cost, as a share of that of training on all rows.
        learner: that was trained.
        against: ``random`` rows or ``fewer_epochs``.
        points: difference in accuracy, in per cent.
        low: of its 95 % interval; None where a single pool was trained on.
        high: of it; None likewise.
        pools: number of pools that were trained on.
        seeds: number of seeds that they were made with.
        scorer: weights of the scorer, as a share of the learner's.
    """

    finding: str
    rule: str
    true_share: float
    budget: float
    learner: str
    against: str
    points: float
    low: float | None
    high: float | None
    pools: int
    seeds: int
    scorer: float = 1.0

    @property
    def seen(self) -> str:
        """``gain`` or ``loss`` where the interval leaves 0 out, ``none`` where it holds 0, ``unknown`` without one."""
        if self.low is None or self.high is None:
            return "unknown"
        return "gain" if self.low > 0 else "loss" if self.high < 0 else "none"

    def sentence(self) -> str:
        """The gain with its interval, and the pools, learner and rival that it was measured with."""
        verdict = {"gain": "A gain", "loss": "A loss", "none": "No gain could be seen", "unknown": "Not known yet"}
        where = "on clean pools" if self.finding == CLEAN else f"where {_percent(self.true_share)} of the rows had it"
        interval = "no interval: one pool"
        if self.low is not None and self.high is not None:
            interval = f"95 % interval {_signed(self.low)} to {_signed(self.high)}"
        return (
            f"{verdict[self.seen]}: {_in_words(self.rule)} gave {_signed(self.points)} points of accuracy ({interval}) "
            f"against {_in_words(self.against)} at the same total cost, {where} ({_counted(self.pools, 'pool')}, "
            f"{_counted(self.seeds, 'seed')}, {_in_words(self.learner)}, at {_percent(self.budget)} of the full cost)."
        )

    def to_json(self) -> dict[str, Any]:
        """The gain as JSON types."""
        return {**vars(self), "seen": self.seen, "sentence": self.sentence()}


@cache
def read_gains(file: Path = EXPECTED_GAINS) -> tuple[Gain, ...]:
    """The measured gains of a table, in its order; none where it is missing.

    Raises:
        ValueError: a number in it is none.
        KeyError: it lacks a column.
    """
    if not file.is_file():
        return ()
    with file.open(newline="", encoding="utf-8") as handle:
        return tuple(
            Gain(
                finding=line["finding"],
                rule=line["rule"],
                true_share=float(line["true_share"]),
                budget=float(line["budget"]),
                learner=line["learner"],
                against=line["against"],
                points=float(line["gain_points"]),
                low=float(line["low"]) if line["low"] else None,
                high=float(line["high"]) if line["high"] else None,
                pools=int(line["pools"]),
                seeds=int(line["seeds"]),
                scorer=float(line["scorer"]),
            )
            for line in csv.DictReader(handle)
        )


def expected_gains(name: str, share: float, gains: Sequence[Gain]) -> list[Gain]:
    """Gains of the rules that answer a finding, at the nearest measured share at or under the found one.

    A share under all measured ones gets the gains of the same rules on clean pools, so that none is ever taken from
    pools with more of the fault. Those against random rows come first, of these fine-tuning, of these larger budgets.
    """
    rules = ANSWERS.get(name, ())
    gains = [gain for gain in gains if gain.scorer == 1]
    under = [gain for gain in gains if gain.rule in rules and gain.finding == name and gain.true_share <= share]
    nearest = max((gain.true_share for gain in under), default=0.0)
    fitting = [gain for gain in under if gain.true_share == nearest]
    fitting = fitting or [gain for gain in gains if gain.rule in rules and gain.finding == CLEAN]
    return sorted(
        fitting, key=lambda gain: (gain.against != RANDOM, gain.learner != FINE_TUNED, -gain.budget, -gain.pools)
    )


def mending_of(name: str, finding: Mapping[str, Any], n_rows: int) -> dict[str, Any]:
    """Cost of mending a finding and the gain to expect from it, as ``diagnosis.json`` holds them.

    Args:
        name: of the finding.
        finding: with its ``rows`` (a number), ``share`` and ``details``.
        n_rows: of the pool.
    """
    expected = expected_gains(name, finding["share"], read_gains())
    return {
        "cost": _cost(name, finding, n_rows),
        "expected": expected[0].sentence() if expected else NOT_MEASURED,
        "gains": [gain.to_json() for gain in expected],
    }


def _cost(name: str, finding: Mapping[str, Any], n_rows: int) -> dict[str, Any]:
    """Rows that mending takes from the pool, rows to read, tokens more in each epoch, and a sentence.

    No remedy needs a pass of a model that the diagnosis has not made: its embeddings lie in the cache.
    """
    rows, details = finding["rows"], finding["details"]
    cost: dict[str, Any] = {"passes": 0, "rows_lost": 0, "rows_to_read": 0, "tokens_more": 0}
    if name == "truncated":
        more = details["tokens_lost"]
        return cost | {"tokens_more": more, "sentence": f"{count(more)} tokens more to read in each epoch."}
    if name == "rare_class":
        return cost | {"sentence": "No pass; within the same budget, rows of other classes make room."}
    lost = details["surplus"] if rows and name in ("exact_copy", "near_copy") else rows
    cost["rows_lost"] = lost
    less = f"{rows_in_words(lost)} less, {part_of(lost, n_rows)} of the pool"
    if name == "label_issue":
        cost["rows_to_read"] = rows
        return cost | {"sentence": f"No further pass: {less}; or {rows_in_words(rows)} to read again and relabel."}
    return cost | {"sentence": f"No further pass: {less}."}


def rows_in_words(number: int) -> str:
    """A number of rows: "1 row", "1,200 rows"."""
    return f"{count(number)} row{'' if number == 1 else 's'}"


def _in_words(name: str) -> str:
    return IN_WORDS.get(name, name)


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _signed(points: float) -> str:
    return f"{points:+.1f}".replace("-", "\N{MINUS SIGN}")
