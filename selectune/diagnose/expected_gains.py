"""The gain to expect of a rule where a share of a pool has a fault, from those of ``expected_gains.csv``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from selectune.diagnose.mending import CLEAN, FINE_TUNED, RANDOM, Gain, read_gains

NEAR = 2.0  # times a budget, or a part of it


def measured_gains() -> tuple[Gain, ...]:
    """The table that comes with the package, but for gains of a single pool, which have no interval."""
    return tuple(gain for gain in read_gains() if gain.seen != "unknown")


def expected_gain(
    table: Iterable[Gain], finding: str, rule: str, share: float, budget: float, against: str = RANDOM
) -> Gain | None:
    """The gain to expect of a rule where a share of the rows has a fault; None where nothing near it was measured.

    Interpolated between measured shares, clean pools being of share 0; over the largest one, the gain is that one's. It
    is of fine-tuning where that was measured at a budget within a factor of 2, else of the nearest budget.

    Args:
        table: measured gains.
        finding: the fault; `CLEAN` of a pool without one.
        rule: its name in the table.
        share: of the rows with the fault.
        budget: share of the full cost that is to be spent.
        against: what the gain is over.
    """
    groups: dict[tuple[str, float], dict[float, Gain]] = {}
    for gain in table:
        if gain.rule == rule and gain.against == against and gain.finding in (finding, CLEAN):
            groups.setdefault((gain.learner, gain.budget), {})[gain.true_share] = gain

    def distance(group: tuple[str, float]) -> tuple[bool, bool, float, str]:
        learner, measured = group
        off = abs(math.log(measured / budget))
        far = off > math.log(NEAR) + 1e-9
        return far, not far and learner != FINE_TUNED, off, learner

    nearest = (_at(groups[group], finding, share) for group in sorted(groups, key=distance))
    return next((gain for gain in nearest if gain is not None), None)


def _at(gains: Mapping[float, Gain], finding: str, share: float) -> Gain | None:
    """The gain at a share of the fault, of those by share; None where it is under all of them."""
    if all(gain.finding != finding for gain in gains.values()):
        return None
    if finding == CLEAN:
        return gains[0.0]
    lower = [measured for measured in gains if measured <= share]
    if not lower:
        return None
    below = max(lower)
    above = min((measured for measured in gains if measured > share), default=below)
    weight = 0.0 if above == below else (share - below) / (above - below)
    first, last = gains[below], gains[above]

    def between(name: str) -> float:
        return float((1 - weight) * getattr(first, name) + weight * getattr(last, name))

    points, low, high = (between(name) for name in ("points", "low", "high"))
    pools, seeds = min(first.pools, last.pools), min(first.seeds, last.seeds)
    found = replace(last, finding=finding, true_share=between("true_share"), points=points, low=low, high=high)
    return replace(found, pools=pools, seeds=seeds)
