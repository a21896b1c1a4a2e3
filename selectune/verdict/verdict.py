"""The verdict of a run, as ``verdict.json`` holds it and terminal, page and tables show it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from selectune.common.errors import UserError
from selectune.common.typed_json import from_json
from selectune.verdict import prose
from selectune.verdict.decision import Word, decide
from selectune.verdict.evidence import Evidence

Colour = Literal["green", "red", "grey"]
SCHEMA = 1
RED = (Word.COSTS_ACCURACY, Word.LOSES_TO_RANDOM, Word.LOSES_TO_FEWER_EPOCHS, Word.TRAINING_FAILED)
LATER = ("score_interval", "shortened")  # fields that files of earlier versions lack
DERIVED = ("word", "colour", "headline", "sentence")  # in the file for its readers; they follow from the evidence


@dataclass(frozen=True)
class Verdict:
    """The cost of selecting and what it gave. Everything it says follows from the evidence.

    Args:
        evidence: costs, metrics and differences.
    """

    evidence: Evidence

    @property
    def word(self) -> Word:
        """Whether it was worth it, see `decide`."""
        return decide(self.evidence)

    @property
    def colour(self) -> Colour:
        """Green for *pays* alone, red where selecting did harm or the training failed, else grey."""
        return "green" if self.word == Word.PAYS else "red" if self.word in RED else "grey"

    @property
    def headline(self) -> str:
        """The word in plain English, such as "Loses to random rows"."""
        return prose.headline(self.word, self.evidence)

    @property
    def sentence(self) -> str:
        """Cost and metric against each arm, with intervals, or how to run the arm."""
        return prose.sentence(self.word, self.evidence)

    def to_json(self) -> dict[str, Any]:
        """The content of ``verdict.json``, numbers as they are."""
        return {"schema": SCHEMA, **{name: str(getattr(self, name)) for name in DERIVED}, **asdict(self.evidence)}

    @classmethod
    def from_json(cls, content: Any) -> Verdict:
        """The verdict that `to_json` gave; its words are made anew from the numbers.

        Raises:
            UserError: it is of a later schema, lacks a field, has an unknown one, or a value that it cannot have.
        """
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise UserError(f"verdict.json is not of schema {SCHEMA}; make the report of this run again.")
        numbers = {name: value for name, value in content.items() if name not in ("schema", *DERIVED)}
        try:
            return cls(from_json(Evidence, numbers, "verdict", LATER))
        except UserError as error:
            raise UserError(f"verdict.json is damaged: {error} Make the report of this run again.") from None
