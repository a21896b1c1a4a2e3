"""The word of a verdict, from costs and intervals by a fixed table."""

from __future__ import annotations

from enum import StrEnum

from selectune.verdict.evidence import FAIR, SAME, ArmName, Evidence


class Word(StrEnum):
    """Whether selecting was worth it."""

    PAYS = "pays"
    COSTS_ACCURACY = "costs_accuracy"
    NO_DIFFERENCE = "no_difference"
    LOSES_TO_RANDOM = "loses_to_random"
    LOSES_TO_FEWER_EPOCHS = "loses_to_fewer_epochs"
    TRAINING_FAILED = "training_failed"
    NOT_KNOWN_YET = "not_known_yet"
    NOTHING_SELECTED = "nothing_selected"


def decide(evidence: Evidence) -> Word:
    """The first line that fits. L and U are the bounds of the 95 % interval of (run - arm), m the margin.

    1. The loss was not a number, or the metric is not above that of the largest class: training failed.
    2. All rows were kept: nothing was selected.
    3. Cheaper than all rows, L against all rows > -m, L against both arms of the same cost > 0, several seeds: pays.
    4. U against random rows < 0: loses to random. U against fewer epochs < 0: loses to fewer epochs.
    5. U against all rows < -m: costs accuracy.
    6. All bounds against all arms are within -m and m: no difference.
    7. Anything else, such as an arm that was not run: not known yet.

    An arm that cost less than the run cannot show that the run pays, and one that cost more cannot show that it loses.
    All rows for fewer epochs are judged by lines 1 and 3 to 7 as well, against the other two arms.
    """
    margin, saved, arms = evidence.margin_points, evidence.saved(), evidence.rivals
    gains = {name: gain for name in arms if (gain := evidence.gain(name)) is not None}
    if failed(evidence):
        return Word.TRAINING_FAILED
    if evidence.kept_rows == evidence.pool_rows and not evidence.shortened:
        return Word.NOTHING_SELECTED
    if (
        len(gains) == len(arms)
        and min(difference.n_seeds for _, difference in evidence.differences()) > 1
        and saved is not None
        and saved >= SAME
        and gains["all_rows"][0] > -margin
        and all(gains[arm][0] > 0 and not cheaper(evidence, arm) for arm in arms[1:])
    ):
        return Word.PAYS
    losing: dict[ArmName, Word] = {"random_rows": Word.LOSES_TO_RANDOM, "fewer_epochs": Word.LOSES_TO_FEWER_EPOCHS}
    for arm, word in losing.items():
        if arm in gains and gains[arm][1] < 0 and evidence.relative_cost(arm) <= 1 + FAIR:
            return word
    if "all_rows" in gains and gains["all_rows"][1] < -margin:
        return Word.COSTS_ACCURACY
    if len(gains) == len(arms) and all(-margin <= low and high <= margin for low, high in gains.values()):
        return Word.NO_DIFFERENCE
    return Word.NOT_KNOWN_YET


def failed(evidence: Evidence) -> bool:
    """Whether the loss was not a number, or the metric is not better than that of always answering one class."""
    if evidence.loss_failed or evidence.score is None or evidence.majority is None:
        return evidence.loss_failed
    gap = evidence.score - evidence.majority
    return (gap if evidence.metric.higher_is_better else -gap) <= 0


def cheaper(evidence: Evidence, arm: ArmName) -> bool:
    """Whether an arm cost so much less than the run that beating it proves nothing."""
    return evidence.relative_cost(arm) < 1 - FAIR
