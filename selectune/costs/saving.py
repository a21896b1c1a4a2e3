"""The saving of a selection, which may be a loss; `compute_saving` computes it from a ledger.

``saving = 1 - (selection + training on the subset) / training on everything``, with the same number of epochs in both.
Selection is charged always, in full, even where a cache spared it. Start-up that both need alike (preparing data,
warming up, whatever was done for the warm-up's data) is left out; evaluation is shown apart, and so is work that was
repeated after an interruption: a resumed run has the saving of the uninterrupted one.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from selectune.common.errors import UserError
from selectune.common.files import write_json
from selectune.common.run_files import RunFiles
from selectune.common.typed_json import from_json
from selectune.costs.record import Part, Stage
from selectune.costs.scorer_ratio import ScorerRatio

Unit = Literal["flops", "device_s"]
UNITS: tuple[Unit, ...] = get_args(Unit)
UNIT_NAMES: dict[Unit, str] = {"flops": "FLOPs", "device_s": "device time"}
SELECTION: tuple[Stage, ...] = ("tune_scorer", "score", "solve", "select", "search")
DEFINITIONS: dict[Part, str] = {
    "fit": "1 - (selection + training on the subset) / training on everything, same epochs",
    "warm_up": "1 - (selection + warming up on the subset) / warming up on the whole pool, same epochs",
}
SHARED = (2, 5, 10)  # trainings that share a selection, in `Saving.shared_sentence`
WHOLE: dict[Part, str] = {"fit": "training on everything", "warm_up": "warming up on the whole pool"}
LATER = ("scorer_ratio", "part", "warm_up", "search", "redone")  # fields that files of earlier versions lack


@dataclass(frozen=True, kw_only=True)
class Terms:
    """The terms of a saving in one unit, FLOPs or device seconds; None is what is unknown."""

    tune_scorer: float | None  # of the selection, spent or avoided, as are the next four
    score: float | None  # computing signals
    solve: float | None  # deriving signals and solving
    select: float | None  # selecting rows
    search: float | None = 0.0  # proxy trainings of a `Search`; files of earlier versions have them in `select`
    selection: float | None  # the five added up
    selection_avoided: float | None  # the part of it that a cache spared this run, charged all the same
    training: float | None  # on the subset
    full_training: float | None  # on everything
    full_is_estimated: bool  # whether it was not run, but taken from this run's cost a token
    shared: float | None  # start-up that both need, not in the saving
    evaluation: float | None  # not in the saving
    saving: float | None  # a fraction of `full_training`; negative when selecting cost more than it saved
    # Uses of one selection (other heads, models, seeds) at which it costs as much as it saves; None when no number of
    # uses pays for it.
    break_even_uses: float | None
    # Spent besides on work that was repeated after an interruption; of a fine-tuning, in the whole run. Files of
    # earlier versions lack it.
    redone: float | None = 0.0


@dataclass(frozen=True)
class Saving:
    """The saving of a selection with all its terms, as ``saving.json`` holds it.

    Tokens are counted as a model reads a row: truncated, special tokens included, padding left out. ``part`` says
    whether it is that of the fine-tuning or of the warm-up before it, and ``warm_up`` is the latter beside the former.
    """

    flops: Terms
    device_s: Terms
    kept_rows: int
    pool_rows: int
    kept_tokens: int
    pool_tokens: int
    epochs: float | None = None
    definition: str = DEFINITIONS["fit"]
    scorer_ratio: ScorerRatio | None = None
    part: Part = "fit"
    warm_up: Saving | None = None

    def sentence(self) -> str:
        """The headline, in a few plain sentences."""
        if self.warm_up is None:
            return self._own_sentence()
        sentences = [self._own_sentence()] if self.main is self else []
        sentences.append(self.warm_up.sentence())
        on_top = []  # of plain fine-tuning
        for unit in UNITS:
            before, plain = getattr(self.warm_up, unit), getattr(self, unit).training
            if plain and before.selection is not None and before.training is not None:
                on_top.append(f"{times((before.selection + before.training) / plain)} its {UNIT_NAMES[unit]}")
        if on_top:
            sentences.append(f"On top of plain fine-tuning, choosing and warming up took {' and '.join(on_top)}.")
        return " ".join(sentences)

    @property
    def main(self) -> Saving:
        """The saving to look at first: the warm-up's where rows were selected for that alone."""
        if self.warm_up is None or any(getattr(self, unit).selection for unit in UNITS):
            return self
        return self.warm_up

    @property
    def selects(self) -> bool:
        """Whether rows were left out, or looking at them cost something."""
        return self.kept_rows < self.pool_rows or any(getattr(self, unit).selection for unit in UNITS)

    @property
    def unit(self) -> Unit:
        """FLOPs, or device time where FLOPs are unknown."""
        return "device_s" if self.flops.saving is None else "flops"

    @property
    def losing(self) -> Unit | None:
        """The unit in which selecting loses while it wins in the other one; None where they agree."""
        shares = {unit: share for unit in UNITS if (share := getattr(self, unit).saving) is not None}
        lost = [unit for unit, share in shares.items() if share <= 0]
        return lost[0] if len(lost) == 1 and len(shares) == 2 else None

    def _own_sentence(self) -> str:
        known = {unit: terms.saving for unit in UNITS if (terms := getattr(self, unit)).saving is not None}
        if not known:
            return f"What selection saved is not known: {self._gap()}."
        whole = WHOLE[self.part]
        name = "Selection" if self.part == "fit" else "The choice of what to warm up on"
        if self.part == "fit" and not self.selects:
            name, whole = "Training for fewer epochs", "training for all of them"
        if any(getattr(self, unit).full_is_estimated for unit in known):
            whole += " (estimated)"
        gains = [f"{percent(saving)} of the {UNIT_NAMES[unit]}" for unit, saving in known.items() if saving > 0]
        losses = [f"{times(1 - saving)} the {UNIT_NAMES[unit]}" for unit, saving in known.items() if saving <= 0]
        if not gains and all(saving == 0 and not getattr(self, unit).selection for unit, saving in known.items()):
            did = "trained" if self.part == "fit" else "warmed up"
            return f"Nothing was selected: this run {did} on everything, so there is nothing saved and nothing lost."
        if losses and not gains:
            doing = "training" if self.part == "fit" else "warming up"
            took = f"selecting and {doing} on the subset took {' and '.join(losses)} of {whole}"
            sentences = [f"{name} cost more than it saved: {took}."]
        else:
            but = f", but took {' and '.join(losses)} of it" if losses else ""
            sentences = [f"{name} saved {' and '.join(gains)} of {whole}{but}."]
        if losses:
            sentences.append(self.break_even_sentence(next(unit for unit, saving in known.items() if saving <= 0)))
        if "flops" not in known:
            sentences.append("The FLOPs are not known.")
        return " ".join(sentences)

    def break_even_sentence(self, unit: Unit | None = None) -> str:
        """From how many uses on the selection pays; default in FLOPs, or in device time where FLOPs are unknown."""
        if self.main is not self:
            return self.main.break_even_sentence(unit)
        terms: Terms = getattr(self, unit or self.unit)
        name = UNIT_NAMES[unit or self.unit]
        if terms.saving is None:
            return f"Whether reusing the selection would pay is not known: {self._gap()}."
        if not self.selects and terms.saving > 0:  # by fewer epochs, so there is no selection to be paid back
            return ""
        if not terms.selection:
            return f"The selection cost no {name}, so there is nothing to pay back."
        if terms.break_even_uses is None:
            return f"In {name} no reuse would pay for it, as training on the subset is not cheaper than on everything."
        uses = math.floor(terms.break_even_uses) + 1  # strictly more than it cost
        if uses == 1:
            return f"In {name} it pays for itself in its first use, and each reuse saves more."
        return f"In {name} it pays from {uses:,} uses on (other heads, models or seeds trained on the same rows)."

    def shared_sentence(self) -> str:
        """The saving where several trainings share one selection, each charged its part; empty without a selection."""
        terms: Terms = getattr(self, self.unit)
        if not terms.selection or not terms.full_training or terms.training is None:
            return ""

        def part(uses: int) -> str:
            saved = 1 - (terms.selection / uses + terms.training) / terms.full_training  # type: ignore[operator]
            amount = f"{percent(saved)} less" if saved > 0 else f"{percent(-saved)} more"
            return f"over {uses} trainings {amount}"

        cases = ", ".join(map(part, SHARED))
        return f"Charged in full above; the selection shared {cases} {UNIT_NAMES[self.unit]} than {WHOLE[self.part]}."

    def _gap(self) -> str:
        if not self.device_s.training:
            return "there was no training"
        return "the ledger lacks a cost that it depends on"

    def to_json(self) -> dict[str, Any]:
        """The saving as JSON types."""
        return {"sentence": self.sentence(), **asdict(self)}

    @classmethod
    def from_json(cls, content: Any) -> Saving:
        """The saving that `to_json` gave, or that of an earlier version.

        Raises:
            UserError: a field is missing, not known, or has a value that it cannot have; the message names it.
        """
        saving: Saving = from_json(cls, content, "saving", later=LATER, left_out=["sentence"])
        return saving

    def write(self, run_dir: Path) -> None:
        """Write ``saving.json`` into a run, whole or not at all."""
        write_json(RunFiles(run_dir).saving, self.to_json())

    @classmethod
    def read(cls, run_dir: Path) -> Saving:
        """Read ``saving.json`` of a run.

        Raises:
            UserError: it is damaged.
        """
        path = RunFiles(run_dir).saving
        try:
            return cls.from_json(json.loads(path.read_text()))
        except ValueError as error:
            raise UserError(
                f"{path} is damaged ({str(error).rstrip('.')}); remove it, or run again into a new folder."
            ) from None


def percent(fraction: float) -> str:
    """Such as "61 %", with a decimal below 10 %."""
    digits = 0 if fraction >= 0.1 or fraction == 0 else 1
    return f"{fraction:.{digits}%}".replace("%", " %")


def times(ratio: float) -> str:
    """Such as "1.30 times", with a third decimal where two would hide on which side of 1 it is."""
    return f"{ratio:.3f} times" if ratio < 1.1 else f"{ratio:.2f} times"
