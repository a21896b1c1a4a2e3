"""The verdict of a run, as ``verdict.json`` holds it and terminal, page and tables show it."""

from __future__ import annotations

import types
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from selectune.common.errors import UserError
from selectune.verdict import prose
from selectune.verdict.decision import Word, decide
from selectune.verdict.evidence import Evidence

Colour = Literal["green", "red", "grey"]
SCHEMA = 1
RED = (Word.COSTS_ACCURACY, Word.LOSES_TO_RANDOM, Word.LOSES_TO_FEWER_EPOCHS, Word.TRAINING_FAILED)
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
            return cls(_built(Evidence, numbers, "verdict"))
        except UserError as error:
            raise UserError(f"verdict.json is damaged: {error} Make the report of this run again.") from None


def _built(kind: Any, content: Any, name: str) -> Any:
    """A value of a type, from its JSON: a dataclass, a literal, a number, a text, or None where that is allowed.

    Raises:
        UserError: it is another; the message names it.
    """
    if get_origin(kind) in (Union, types.UnionType):
        if content is None:
            return None
        options = [one for one in get_args(kind) if one is not type(None)]
        return _built(options[0], content, name)
    if is_dataclass(kind):
        if not isinstance(content, dict) or content.keys() != {field.name for field in fields(kind)}:
            raise UserError(f"{name} does not have the fields of a {kind.__name__}.")  # type: ignore[union-attr]
        hints = get_type_hints(kind)
        return kind(**{key: _built(hints[key], value, f"{name}.{key}") for key, value in content.items()})  # type: ignore[operator]
    if get_origin(kind) is Literal:
        fits = content in get_args(kind)
    else:
        number = (int, float) if kind is float else kind
        fits = isinstance(content, number) and isinstance(content, bool) == (kind is bool)
    if not fits:
        raise UserError(f"{name} is {content!r}.")
    return content
