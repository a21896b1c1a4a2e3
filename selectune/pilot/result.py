"""The outcome of a pilot, as ``pilot.json`` holds it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from selectune.common.errors import UserError
from selectune.common.run_files import RunFiles
from selectune.common.typed_json import from_json
from selectune.costs.saving import Unit
from selectune.pilot.learning_curve import Interval, Shape
from selectune.pilot.plans import Amount
from selectune.pilot.ranking import BASES
from selectune.pilot.recipes import TITLES
from selectune.pilot.recommendation import PlanGain

SCHEMA = 1
SHAPES: dict[Shape, str] = {
    "falling": "the error falls with the rows",
    "flat": "the error does not change with the rows beyond the noise of so few, so the forecast rests on other curves",
    "rising": "the error rises with the rows, as where more of them teach a fault of the pool",
    "at chance": "the small trainings have not left chance, so the forecast is what a fine-tuning is expected to make "
    "of a linear head's",
}


@dataclass(frozen=True)
class Tried:
    """A training of a pilot, judged on the held-out rows.

    Args:
        plan: its name; ``random`` for the nested subsets.
        kind: a small training of the model on a ``subset`` or for an ``arm``, or a ``rehearsal`` by a linear head.
        rows: that were trained on.
        passes: rows that were seen in all.
        accuracy: on the held-out rows as they are, a fraction.
        sound: the same on those that look sound, classes weighed alike where one is rare; of a rehearsal, on rows of
            the pool that its heads did not see.
    """

    plan: str
    kind: Literal["subset", "arm", "rehearsal"]
    rows: int
    passes: int
    accuracy: float
    sound: float


@dataclass(frozen=True)
class CurvePoint:
    """The forecast of the accuracy after training on random rows."""

    rows: int
    accuracy: Interval


@dataclass(frozen=True)
class Outlook:
    """A plan after the pilot.

    Args:
        gain: in accuracy over random rows at the same total cost, on held-out rows that look sound.
        rows: that it trains on.
        accuracy: forecast on the held-out rows as they are.
        trials: how it was tried: by an ``arm``, a ``rehearsal``, both or neither.
        why_not: why there is no arm; empty where there is one.
    """

    gain: PlanGain
    rows: int
    accuracy: Interval
    trials: tuple[str, ...]
    why_not: str = ""


@dataclass(frozen=True)
class Pilot:
    """What a pilot found out.

    Args:
        pool: where its rows are from.
        pool_fingerprint: of its content.
        budget: of the plans, as it was asked for.
        budget_share: of the full cost that it is.
        share: of the full cost that the pilot might take.
        full: the cost of training on all rows.
        unit: in which shares are counted.
        spent: by the pilot in all, its diagnosis included, and what a cache spared it.
        diagnosis: the part of it that the diagnosis took.
        held_out: rows of ``dev`` that it was judged on.
        sound: of these, rows that look sound.
        unseen: rows of the pool that look sound, by which rehearsals were judged, too; 0 where `held_out` is trusted.
        split_off: whether they were split off the pool, and so carry its faults.
        sizes: rows of the nested random subsets.
        tried: all trainings.
        curve: forecasts of the accuracy at growing sizes.
        shape: of the curve so far.
        level: of the intervals.
        all_rows: forecast of the accuracy after training on all rows.
        loss: the same of the mean loss, nats.
        plans: that fit into the budget, in their order.
        plan: to take.
        right: probability that no plan gains more than `margin` over it.
        margin: within which plans count as equal.
        schema: version of this format.
    """

    pool: str
    pool_fingerprint: str
    budget: str
    budget_share: float
    share: float
    full: Amount
    unit: Unit
    spent: Amount
    diagnosis: Amount
    held_out: int
    sound: int
    unseen: int
    split_off: bool
    sizes: tuple[int, ...]
    tried: tuple[Tried, ...]
    curve: tuple[CurvePoint, ...]
    shape: Shape
    level: float
    all_rows: Interval
    loss: Interval
    plans: tuple[Outlook, ...]
    plan: str
    right: float
    margin: float
    schema: int = SCHEMA

    @property
    def picked(self) -> Outlook:
        """The plan to take."""
        return next(one for one in self.plans if one.gain.name == self.plan)

    @property
    def spent_share(self) -> float:
        """What was spent, as a share of the full cost."""
        return self.spent.over(self.full, self.unit)

    def sentence(self) -> str:
        """The recommendation, in a sentence."""
        gain, within = self.picked.gain, f"{100 * self.margin:g} points"
        sure = f"with a probability of {self.right:.0%} no other plan gives {within} more"
        if self.plan in BASES:
            advice = "Train on random rows" if self.plan == "random" else "Train on all rows for fewer epochs"
            return f"{advice}: choosing rows is not expected to pay, and {sure}."
        return (
            f"{TITLES[self.plan]}: expected to gain {points_of(gain)} over random rows at the same total cost; {sure}."
        )

    def to_json(self) -> dict[str, Any]:
        """The outcome as JSON types, with its sentence."""
        return {"sentence": self.sentence(), **asdict(self)}

    @classmethod
    def read(cls, folder: Path) -> Pilot:
        """Read ``pilot.json`` of a run.

        Raises:
            UserError: it is missing or damaged, or of another version.
        """
        path = RunFiles(folder).pilot
        try:
            pilot: Pilot = from_json(cls, json.loads(path.read_text()), left_out=["sentence"])
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}); pilot first.", path=path) from None
        except ValueError as error:
            reason = str(error).rstrip(".")
            raise UserError(f"{path} is damaged ({reason}); pilot again.", path=path) from None
        if pilot.schema != SCHEMA:
            raise UserError(f"{path} is of schema {pilot.schema}, not {SCHEMA}; pilot again.", path=path)
        return pilot


def points_of(gain: PlanGain) -> str:
    """A gain with its interval: "+6.2 [+4.3, +8.1] points"."""
    shown = f"{100 * gain.gain:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}] points"
    return shown.replace("-", "\N{MINUS SIGN}")


def percent_of(one: Interval) -> str:
    """An accuracy with its interval: "91.2 % [89.9, 92.5]"."""
    return f"{100 * one.value:.1f} % [{100 * one.low:.1f}, {100 * one.high:.1f}]"
