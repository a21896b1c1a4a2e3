"""The decision that a plan comes to, as ``plan.json`` holds it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from selectune.common.errors import UserError
from selectune.common.run_files import RunFiles
from selectune.common.typed_json import from_json
from selectune.diagnose.mending import RANDOM
from selectune.pilot.faults import Fault
from selectune.pilot.plans import Amount, FullTraining
from selectune.pilot.ranking import AGAINST, BASES, Ranked, on, points
from selectune.pilot.recipes import TITLES

SCHEMA = 1


@dataclass(frozen=True)
class LeftOut:
    """A plan that is not made, and why not."""

    name: str
    why: str


@dataclass(frozen=True)
class Decision:
    """Ranked plans for a pool and a budget.

    Args:
        pool: where its rows are from.
        pool_fingerprint: of its content.
        budget: as it was asked for.
        share: of the full cost that it is.
        full: the training on all rows.
        diagnosis: cost of the diagnosis, an earlier one's where it was kept; it is not in the budget.
        diagnosed_before: whether the diagnosis was there already, and so cost nothing now.
        prior: class prior by which classes are called rare; empty for rows without classes.
        faults: of the pool, those of most rows first.
        ranked: plans, the first of them the one to take; those that do not fit into the budget are last.
        left_out: plans that were not made.
        notes: assumptions of the forecast.
        device: that times are of.
        schema: version of this format.
    """

    pool: str
    pool_fingerprint: str
    budget: str
    share: float
    full: FullTraining
    diagnosis: Amount
    diagnosed_before: bool
    prior: str
    faults: tuple[Fault, ...]
    ranked: tuple[Ranked, ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]
    device: str
    schema: int = SCHEMA

    @property
    def first(self) -> Ranked | None:
        """The plan to take; None where none fits into the budget."""
        return next((one for one in self.ranked if not one.plan.unfit), None)

    def sentence(self) -> str:
        """The advice, in a sentence."""
        first = self.first
        if first is None:
            return "No plan fits into this budget; ask for more."
        name, gain = first.plan.name, first.gain
        if first.lifted and gain is not None:
            return f"{TITLES[name]}: expected to gain {points(gain)} over {AGAINST[gain.against]}{on(gain)}."
        fitting = [one.plan.name for one in self.ranked if not one.plan.unfit]
        lost = any(one.plan.name in BASES and one.gain is not None and one.gain.seen == "loss" for one in self.ranked)
        advice = "Train on random rows" if name == RANDOM else "Train on all rows for fewer epochs"
        if set(fitting[:2]) == set(BASES) and not lost:
            advice = "Train on random rows, or on all for fewer epochs"
        if any(fault.counts for fault in self.faults):
            return f"{advice}: of what was found in this pool, nothing was measured to make choosing pay."
        return f"{advice}: nothing was found in this pool that choosing would mend."

    def to_json(self) -> dict[str, Any]:
        """The decision as JSON types, with its sentence."""
        return {"sentence": self.sentence(), **asdict(self)}

    @classmethod
    def read(cls, folder: Path) -> Decision:
        """Read ``plan.json`` of a run.

        Raises:
            UserError: it is missing or damaged, or of another version.
        """
        path = RunFiles(folder).plan
        try:
            decision: Decision = from_json(cls, json.loads(path.read_text()), left_out=["sentence"])
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}); plan first.", path=path) from None
        except ValueError as error:
            reason = str(error).rstrip(".")
            raise UserError(f"{path} is damaged ({reason}); plan again.", path=path) from None
        if decision.schema != SCHEMA:
            raise UserError(f"{path} is of schema {decision.schema}, not {SCHEMA}; plan again.", path=path)
        return decision
