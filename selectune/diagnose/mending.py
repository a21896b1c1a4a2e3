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
AGAINST = "random"
NOT_MEASURED = "Not measured: no model was trained on pools with this fault."


@dataclass(frozen=True)
class Gain:
    """Gain of a rule over other rows at the same total cost, as measured on pools with a known fault.

    Args:
        finding: that the rule answers; ``none`` on clean pools.
        rule: in words.
        true_share: of the rows that carry the fault.
        budget: share of the rows, or of a cost, that was spent.
        learner: that was trained.
        against: ``random`` rows, or ``fewer epochs`` on all rows.
        points: of accuracy, in per cent.
        low: of its 95 % interval.
        high: of it.
        pools: that were trained on, a number or names.
        seeds: of each.
    """

    finding: str
    rule: str
    true_share: float
    budget: str
    learner: str
    against: str
    points: float
    low: float
    high: float
    pools: str
    seeds: int

    @property
    def seen(self) -> str:
        """``gain`` or ``loss`` where the interval leaves 0 out, else ``none``."""
        return "gain" if self.low > 0 else "loss" if self.high < 0 else "none"

    def sentence(self) -> str:
        """The gain with its interval, and the pools, learner and rival that it was measured with."""
        verdict = {"gain": "A gain", "loss": "A loss", "none": "No gain could be seen"}[self.seen]
        where = "on clean pools" if self.finding == CLEAN else f"where {_percent(self.true_share)} of the rows had it"
        pools = f"{self.pools} pool{'' if self.pools == '1' else 's'}" if self.pools.isdigit() else self.pools
        seeds = f"{self.seeds} seed{'' if self.seeds == 1 else 's'}"
        return (
            f"{verdict}: {self.rule} gave {_signed(self.points)} points ({_signed(self.low)} to {_signed(self.high)}) "
            f"against {self.against} {'rows ' if self.against == AGAINST else ''}at the same total cost, {where} "
            f"({self.learner}; {pools}, {seeds}; budget {self.budget})."
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
                line["finding"], line["rule"], float(line["true_share"]), _budget(line["budget"]), line["learner"],
                line["against"], float(line["gain_points"]), float(line["low"]), float(line["high"]), line["pools"],
                int(line["seeds"]),
            )
            for line in csv.DictReader(handle)
        )  # fmt: skip


def expected_gains(name: str, share: float, gains: Sequence[Gain]) -> list[Gain]:
    """Gains of the rules that answer a finding, at the nearest measured share at or under the found one.

    Those against random rows come first. A share under all measured ones gets the gains of the same rules on clean
    pools, so that none is ever taken from pools with more of the fault.
    """
    own = [gain for gain in gains if gain.finding == name]
    under = [gain for gain in own if gain.true_share <= share]
    nearest = max((gain.true_share for gain in under), default=0.0)
    rules = {gain.rule for gain in own}
    fitting = [gain for gain in under if gain.true_share == nearest]
    fitting = fitting or [gain for gain in gains if gain.finding == CLEAN and gain.rule in rules]
    return sorted(fitting, key=lambda gain: gain.against != AGAINST)


def mending_of(name: str, finding: Mapping[str, Any], n_rows: int) -> dict[str, Any]:
    """What mending a finding costs and is expected to give, as ``diagnosis.json`` holds it.

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


def _budget(written: str) -> str:
    try:
        return _percent(float(written))
    except ValueError:
        return written


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _signed(points: float) -> str:
    return f"{points:+.1f}".replace("-", "\N{MINUS SIGN}")
