"""The gain to expect of a rule where a share of a pool has a fault, from those of ``expected_gains.csv``."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from selectune.diagnose.mending import CLEAN, FINE_TUNED, RANDOM, Gain, read_gains

NEAR = 2.0  # times a budget or a size of the scorer, or a part of it
Z = 1.96  # of a 95 % interval


def measured_gains() -> tuple[Gain, ...]:
    """The table that comes with the package, but for gains of a single pool, which have no interval."""
    return tuple(gain for gain in read_gains() if gain.seen != "unknown")


def expected_gain(
    table: Iterable[Gain],
    finding: str,
    rule: str,
    share: float,
    budget: float,
    against: str = RANDOM,
    scorer: float = 1.0,
) -> Gain | None:
    """The gain to expect of a rule where a share of the rows has a fault; None where nothing near it was measured.

    Interpolated between measured shares, clean pools being of share 0; over the largest one, the gain is that one's. It
    is that of the nearest size of the scorer, and there of the learners that were measured at a budget within a factor
    of 2: of a fine-tuned model and of a linear head, pooled (`_pooled`), where both were. Else it is of the nearest
    budget.

    Args:
        table: measured gains.
        finding: the fault; `CLEAN` of a pool without one.
        rule: its name in the table.
        share: of the rows with the fault.
        budget: share of the full cost that is to be spent.
        against: what the gain is over.
        scorer: weights of the model that embeds and scores rows, as a share of the learner's.
    """
    groups: dict[tuple[float, str, float], dict[float, Gain]] = defaultdict(dict)
    for gain in table:
        if gain.rule == rule and gain.against == against and gain.finding in (finding, CLEAN):
            groups[gain.scorer, gain.learner, gain.budget][gain.true_share] = gain

    def off(group: tuple[float, str, float]) -> tuple[float, bool, float, str]:
        size, learner, measured = group
        of_budget = abs(math.log(measured / budget))
        return abs(math.log(size / scorer)), of_budget > math.log(NEAR) + 1e-9, of_budget, learner

    every = ((off(group), _at(groups[group], finding, share)) for group in sorted(groups, key=off))
    found = [(apart, one) for apart, one in every if one is not None]
    if not found:
        return None
    (size, far, *_), nearest = found[0]
    alike = {one.learner: one for apart, one in reversed(found) if apart[:2] == (size, False)}  # the nearest budget
    return nearest if far else _pooled(sorted(alike.values(), key=lambda one: one.learner != FINE_TUNED))


def _pooled(gains: Sequence[Gain]) -> Gain:
    """The mean gain of two learners, weighted by precision, with what they differ by beyond their intervals.

    A random-effects mean (DerSimonian & Laird 1986) over learners. So many pools as one learner was trained on say
    little; where two learners agree, both together say more, and where they do not, neither does.
    """
    if len(gains) < 2:
        return gains[0]
    first, second = gains
    variances = [((one.high or 0.0) - (one.low or 0.0)) ** 2 / (2 * Z) ** 2 for one in gains]
    between = max(0.0, ((first.points - second.points) ** 2 - sum(variances)) / 2)
    weights = [1 / (variance + between + 1e-12) for variance in variances]
    mean = sum(weight * one.points for weight, one in zip(weights, gains, strict=True)) / sum(weights)
    half, pools = Z / math.sqrt(sum(weights)), first.pools + second.pools
    learner, seeds = f"{first.learner} and {second.learner}", min(first.seeds, second.seeds)
    return replace(first, points=mean, low=mean - half, high=mean + half, pools=pools, seeds=seeds, learner=learner)


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
