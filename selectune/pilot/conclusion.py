"""The outcome of a pilot from its trainings: forecasts, gains and the plan to take."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import NormalDist
from typing import Literal

import numpy as np

from selectune.pilot.decision import Decision
from selectune.pilot.learning_curve import Interval
from selectune.pilot.plans import Amount
from selectune.pilot.recommendation import PlanGain, Prior, Recommendation, recommend
from selectune.pilot.result import CurvePoint, Outlook, Pilot, Tried
from selectune.pilot.small_trainings import Judged
from selectune.pilot.trying import RANDOM, Trials

LEVEL = 0.8


def concluded(
    decision: Decision, trials: Trials, split_off: bool, share: float, spent: Amount, seed: int
) -> Pilot:  # fmt: skip
    """The outcome of all trainings.

    Args:
        decision: the plans.
        trials: of them.
        split_off: whether the held-out rows were rows of the pool.
        share: that the pilot might take.
        spent: that it took.
        seed: of draws.
    """
    fitting = {one.plan.name: one for one in decision.ranked if not one.plan.unfit}
    names = list(fitting)  # of equal plans the one is taken for which the more was measured elsewhere
    priors = {name: Prior.of(one.gain) for name, one in fitting.items()}
    weighed = recommend(names, priors, trials.gains(), level=LEVEL, seed=seed)
    # On the held-out rows as they are: forecasts are compared with what a fit measures on them.
    as_it_is = recommend(names, priors, trials.gains(as_it_is=True), level=LEVEL, seed=seed)
    assert trials.cheap_full is not None
    whole = trials.forecast(decision.full.rows, trials.cheap_full, seed)
    rows, _, rehearsed = trials.rehearsed[RANDOM]
    random = trials.forecast(len(rows), rehearsed, seed).accuracy
    weights = trials.weights
    held_out = len(trials.curve[0].wrong)
    return Pilot(
        pool=decision.pool,
        pool_fingerprint=decision.pool_fingerprint,
        budget=decision.budget,
        budget_share=decision.share,
        share=share,
        full=decision.full.cost,
        unit=decision.full.unit,
        spent=spent,
        diagnosis=decision.diagnosis,
        held_out=held_out,
        sound=held_out if weights is None else int((weights > 0).sum()),
        unseen=0 if trials.unseen is None else int((trials.unseen.weights > 0).sum()),
        split_off=split_off,
        sizes=tuple(len(rows) for rows in trials.subsets),
        tried=tuple(_tried(trials, decision.full.epochs)),
        curve=tuple(CurvePoint(rows, interval) for rows, interval in whole.curve),
        shape=whole.shape,
        level=LEVEL,
        all_rows=whole.accuracy,
        loss=whole.loss,
        plans=tuple(_outlooks(weighed, as_it_is, random, trials, {n: one.plan.rows for n, one in fitting.items()})),
        plan=weighed.plan,
        right=weighed.right,
        margin=weighed.margin,
    )


def _tried(trials: Trials, epochs: float) -> list[Tried]:
    """All trainings with the accuracies that they came to."""

    def of(
        plan: str, kind: Literal["subset", "arm", "rehearsal"], rows: np.ndarray, passes: int, judged: Judged
    ) -> Tried:  # fmt: skip
        wrong, weights = judged.wrong, trials.weights
        accuracy = 1.0 - float(np.mean(wrong))
        if kind == "rehearsal" and trials.unseen is not None:
            wrong, weights = trials.on_unseen[plan], trials.unseen.weights
        return Tried(plan, kind, len(rows), passes, accuracy, 1.0 - float(np.average(wrong, weights=weights)))

    made = [
        of(RANDOM, "subset", rows, round(len(rows) * epochs), judged)
        for rows, judged in zip(trials.subsets, trials.curve)
    ]
    made += [of(name, "arm", *one) for name, one in trials.arms.items()]
    return made + [of(name, "rehearsal", *one) for name, one in trials.rehearsed.items()]


def _outlooks(
    weighed: Recommendation, as_it_is: Recommendation, random: Interval, trials: Trials, rows: Mapping[str, int]
) -> list[Outlook]:
    """Each plan with its gain, and the accuracy that is forecast for it."""
    made = []
    for gain, plain in zip(weighed.gains, as_it_is.gains):
        tried = [kind for kind, of in (("arm", trials.arms), ("rehearsal", trials.rehearsed)) if gain.name in of]
        if gain.name == RANDOM:
            tried = ["arm", "rehearsal"]  # the largest subset is its arm
        why_not = trials.why_not.get(gain.name, "")
        made.append(Outlook(gain, rows[gain.name], _after(random, plain), tuple(tried), why_not))
    return made


def _after(random: Interval, gain: PlanGain) -> Interval:
    """The accuracy of a plan: that of random rows and its gain, whose errors are taken to be independent."""
    reach = NormalDist().inv_cdf((1 + LEVEL) / 2)
    value = min(1.0, max(0.0, random.value + gain.gain))
    # the interval of random rows need not be symmetric
    below, above = (np.hypot(side, reach * gain.sd) for side in (random.value - random.low, random.high - random.value))
    return Interval(value, max(0.0, value - float(below)), min(1.0, value + float(above)))
