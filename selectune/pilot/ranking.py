"""The order of plans: by the gain that was measured for what the diagnosis found, and else the simpler one first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from selectune.costs.saving import percent
from selectune.diagnose.diagnosis import TITLES as FAULTS
from selectune.diagnose.expected_gains import expected_gain
from selectune.diagnose.mending import ANSWERS, CLEAN, FEWER_EPOCHS, RANDOM, Gain
from selectune.pilot.faults import Fault
from selectune.pilot.plans import Plan
from selectune.pilot.recipes import TITLES

BASES = (FEWER_EPOCHS, RANDOM)
MEASURED_ANYWHERE = (FEWER_EPOCHS, "euds", "gotd")  # on pools with faults that they do not answer
AGAINST = {RANDOM: "random rows", FEWER_EPOCHS: "all rows for fewer epochs"}


@dataclass(frozen=True)
class Ranked:
    """A plan in its place.

    Args:
        plan: the plan.
        gain: over random rows at the same total cost, as it was measured; None where nothing like it was.
        over_fewer_epochs: over all rows for fewer epochs, likewise.
        answered: faults of the pool for which such a gain was measured, each by itself.
        why: it stands above the next one, in a sentence; of plans that do not fit, why they do not.
    """

    plan: Plan
    gain: Gain | None
    over_fewer_epochs: Gain | None
    answered: int = 0
    why: str = ""

    @property
    def lifted(self) -> bool:
        """Whether it was measured to be better than random rows on pools with a fault that counts here."""
        if self.gain is None or self.gain.seen != "gain":
            return False
        return self.gain.finding != CLEAN or self.plan.name in MEASURED_ANYWHERE


def ranking(
    plans: Sequence[Plan], faults: Mapping[str, Fault], table: Sequence[Gain], budget: float, scorer: float = 1.0
) -> list[Ranked]:
    """The plans in their order, the first of them the one to take.

    A plan stands above random rows, or above all rows for fewer epochs, only where the interval of its gain over them
    lies above 0. Of plans that stand above both the larger gain goes first. All else is in the order of simplicity, but
    that what was measured to lose comes after it, and what does not fit into the budget last.

    Args:
        plans: see `selectune.pilot.plans.candidates`.
        faults: of the pool.
        table: measured gains.
        budget: as a share of the full cost.
        scorer: weights of the model that embeds and scores rows, as a share of the learner's.
    """
    made = [_measured(plan, faults, table, budget, scorer) for plan in sorted(plans, key=lambda plan: plan.simplicity)]
    fit, unfit = [one for one in made if not one.plan.unfit], [one for one in made if one.plan.unfit]
    bases = [one for one in fit if one.plan.name in BASES]
    if bases and bases[0].gain is not None and bases[0].gain.seen == "loss":
        bases.reverse()  # random rows were measured to be better than fewer epochs
    others = [one for one in fit if one.plan.name not in BASES]
    first = [
        one for one in others if one.lifted and (one.over_fewer_epochs is None or one.over_fewer_epochs.seen == "gain")
    ]
    # better than random rows, but not than fewer epochs
    between = [
        one for one in others if one.lifted and one not in first and bases and bases[0].plan.name == FEWER_EPOCHS
    ]
    rest = [one for one in others if one not in first and one not in between]
    rest.sort(key=lambda one: one.gain is not None and one.gain.seen == "loss")
    ordered = [*_by_gain(first), *bases[:1], *_by_gain(between), *bases[1:], *rest, *unfit]
    return [replace(one, why=_why(one, after)) for one, after in zip_longest(ordered, ordered[1:])]


def _measured(plan: Plan, faults: Mapping[str, Fault], table: Sequence[Gain], budget: float, scorer: float) -> Ranked:
    """A plan with its gains; where it answers several faults, the largest that was measured for one of them."""
    if plan.name == RANDOM:
        return Ranked(plan, None, None)
    counting = [fault for fault in faults.values() if fault.counts]
    if plan.name not in MEASURED_ANYWHERE:
        counting = [fault for fault in counting if fault.name in plan.answers]

    def gains(against: str) -> list[Gain]:
        expected = (
            expected_gain(table, fault.name, rule_of(plan, fault.name), fault.share, budget, against, scorer)
            for fault in counting
        )
        return [gain for gain in expected if gain is not None]

    def best(against: str) -> Gain | None:
        found = gains(against)
        if not found:
            return expected_gain(table, CLEAN, plan.rule, 0.0, budget, against, scorer)
        if plan.name in MEASURED_ANYWHERE:
            return found[0]  # of the fault of most rows
        return max(found, key=lambda gain: (gain.seen == "gain", gain.points))

    answered = sum(gain.seen == "gain" for gain in gains(RANDOM) if gain.finding in plan.answers)
    return Ranked(plan, best(RANDOM), None if plan.name == FEWER_EPOCHS else best(FEWER_EPOCHS), answered)


def rule_of(plan: Plan, finding: str) -> str:
    """The rule in the table whose gain is expected of a plan, where a pool has a finding; empty where none is.

    Of a plan of several rules it is the last that answers the finding: copies were dropped by embeddings there, at the
    cost of a pass that `Deduplicate` does not take.
    """
    return plan.rule or ANSWERS.get(finding, ("",))[-1]


def _by_gain(lifted: Sequence[Ranked]) -> list[Ranked]:
    """The largest gain first; of equal ones what answers more faults, and then the simpler one.

    Gains of several faults are not added up, as they were measured one by one.
    """

    def key(one: Ranked) -> tuple[float, int, tuple[int, float]]:
        assert one.gain is not None
        return -one.gain.points, -one.answered, one.plan.simplicity

    return sorted(lifted, key=key)


def _why(one: Ranked, after: Ranked | None) -> str:
    """Why a plan stands above the next one."""
    if one.plan.unfit:
        return f"It does not fit: {one.plan.unfit}"
    if after is None:
        return "It is the last: nothing measured speaks for it over a simpler plan."
    if after.plan.unfit:
        return f"{quoted(after.plan.name)} does not fit into the budget."
    name, gain, other = quoted(after.plan.name), one.gain, after.gain
    if after.plan.name in BASES and gain is not None and one.plan.name not in BASES:
        over = one.over_fewer_epochs if after.plan.name == FEWER_EPOCHS and one.over_fewer_epochs is not None else gain
        return f"It is expected to gain {points(over)} over {AGAINST[over.against]}{on(over)}."
    if one.lifted and after.lifted and gain is not None and other is not None:
        if gain.points != other.points:
            return f"More is to be gained than by {name}: {points(gain)} against {points(other)}."
        if one.answered > after.answered:
            return f"It answers {one.answered} faults that were measured to matter one by one, {name} {after.answered}."
        return f"It is simpler than {name}, of which no more is to be expected."
    if one.plan.name == RANDOM and after.plan.name == FEWER_EPOCHS and other is not None:
        return f"All rows for fewer epochs are expected to give {points(other)} against random rows{on(other)}."
    if one.plan.name == FEWER_EPOCHS and after.plan.name == RANDOM:
        if gain is not None and gain.seen == "gain":
            return f"It is expected to gain {points(gain)} over random rows{on(gain)}."
        return "It needs no choice and sees every row; nothing measured says that random rows for longer are better."
    if other is None:
        return f"It is simpler than {name}, whose gain was not measured on such a pool."
    if other.seen == "loss":
        return f"The next, {name}, is expected to lose: {points(other)} against {AGAINST[other.against]}{on(other)}."
    if other.seen == "gain" and after.over_fewer_epochs is not None:
        over = after.over_fewer_epochs
        return f"The next, {name}, is expected to give {points(over)} against {AGAINST[over.against]}{on(over)}."
    return f"It is simpler than {name}, whose gain may be nothing: {points(other)} over random rows{on(other)}."


def quoted(name: str) -> str:
    """The title of a plan within a sentence."""
    return f"“{TITLES[name]}”"


def points(gain: Gain) -> str:
    """A gain with its interval: "+6.2 [+4.3, +8.1] points"."""
    shown = f"{gain.points:+.1f} [{gain.low:+.1f}, {gain.high:+.1f}] points"
    return shown.replace("-", "\N{MINUS SIGN}")


def on(gain: Gain) -> str:
    """The pools that a gain is expected from, as the end of a sentence."""
    pools = f"{gain.pools} pool{'' if gain.pools == 1 else 's'}"
    seeds = f"{gain.seeds} seed{'' if gain.seeds == 1 else 's'}"
    fault = "without a fault"
    if gain.finding != CLEAN:
        # between measured shares it is interpolated
        fault = (
            f"with {FAULTS.get(gain.finding, gain.finding).lower()}, taken to {percent(gain.true_share)} of the rows"
        )
    return f" by {pools} {fault} ({seeds}; {gain.learner}; {percent(gain.budget)} of the cost)"
