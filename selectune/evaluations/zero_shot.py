"""Zero-shot classification by the likelihood of verbalised labels, or of the choices that a row has."""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from selectune.common import checks
from selectune.common.errors import DataError
from selectune.data.pool import text_hashes
from selectune.evaluations.base import Evaluated, Evaluation, as_key, rows_of
from selectune.evaluations.language_model import CausalModel
from selectune.evaluations.parts import Parts

_LETTERS = tuple(string.ascii_uppercase)


class ZeroShot(Evaluation):
    """The class whose verbalisation a language model finds likeliest after a prompt, by ``lm-evaluation-harness``.

    Every row has the same verbalisations, or choices of its own. Three decisions: ``accuracy`` by the sum of the log
    probabilities of a verbalisation's tokens; ``accuracy_norm`` by that sum over the number of its characters;
    ``accuracy_calibrated`` by the sum less that after the same prompt with every field empty (Holtzman et al. 2021),
    which takes away what the label is as likely for by itself. ``majority_accuracy`` is that of always answering the
    most frequent class.

    Args:
        dataset: see `Evaluation`, as for all other arguments.
        template: of the prompt; ``{column}`` stands for a column of the data set.
        labels: verbalisations, in the order of the classes, as they follow the prompt; a space is put before each.
            ``{column}`` in one stands for a column, so that each row has its own; a name alone is that of a column that
            holds a list of them, ``choices.text`` that of a list within a column.
        label_column: of the class: its number from 0 on, false and true, or a letter from A on, alike in
            all rows.
        max_rows: draw so many rows.
    """

    def __init__(
        self,
        dataset: str,
        template: str,
        labels: list[str] | str,
        label_column: str = "label",
        max_rows: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(dataset, **kwargs)
        checks.at_least("max_rows of a ZeroShot evaluation", max_rows, 1, DataError)
        self.fields = fields_of(template, self.name)
        if not isinstance(labels, str) and (len(set(labels)) < 2 or len(set(labels)) < len(labels)):
            raise DataError(f"The labels of {self.name} are {labels}; give each of at least two classes another one.")
        if not self.fields:
            raise DataError(f"The template of {self.name} names no column; write such as '{{text}}' into it.")
        self.template, self.labels, self.label_column, self.max_rows = template, labels, label_column, max_rows
        self.prompts: list[str] = []
        self.choices: list[list[str]] = []
        self.true = np.zeros(0, dtype=np.int64)
        self.source = ""

    def check(self, root: str | None) -> None:
        """Load the rows.

        Raises:
            DataError: no such data, a class without a verbalisation, or a row without two choices.
        """
        found = self.find(root)
        columns = [*dict.fromkeys([*self.fields, *self._label_fields(), self.label_column])]
        rows = rows_of(found, self.split, columns, self.max_rows, self.seed)
        self.source = found.described
        self.true = _classes(rows[self.label_column], self.label_column, self.source)
        given = [dict(zip(columns, row)) for row in zip(*(rows[column] for column in columns))]
        self.prompts = [filled(self.template, row) for row in given]
        self.choices = [self._choices(row, place) for place, row in enumerate(given)]
        counts = np.array([len(choices) for choices in self.choices])
        wrong = (self.true < 0) | (self.true >= counts)
        if wrong.any():
            place = int(wrong.argmax())
            raise DataError(
                f"{self.source} has the class {self.true[place]} in its row {place}, but {self.name} has "
                f"{counts[place]} labels there; give one for each class, from 0 on."
            )

    def run(self, model: CausalModel, parts: Parts | None = None) -> Evaluated:
        """Score every label after every prompt, and after the empty one."""
        empty = filled(self.template, dict.fromkeys(self.fields, ""))
        different = [*dict.fromkeys(choice for choices in self.choices for choice in choices)]
        contexts = [prompt for prompt, choices in zip(self.prompts, self.choices) for _ in choices]
        following = [choice for choices in self.choices for choice in choices]
        scored = model.score(
            contexts + [empty] * len(different), [f" {choice}" for choice in following + different]
        ).log_probability
        alone = dict(zip(different, scored[len(following) :]))
        shape = (len(self.true), max(map(len, self.choices)))
        has = np.arange(shape[1]) < np.array([len(choices) for choices in self.choices])[:, None]
        sums, lengths, less = np.full(shape, -np.inf), np.ones(shape), np.zeros(shape)
        sums[has], lengths[has] = scored[: len(following)], [len(choice) for choice in following]
        less[has] = [alone[choice] for choice in following]
        decisions = {"accuracy": sums, "accuracy_norm": sums / lengths, "accuracy_calibrated": sums - less}
        guessed = {name: values.argmax(axis=1) for name, values in decisions.items()}
        metrics = {name: float((guess == self.true).mean()) for name, guess in guessed.items()}
        metrics["majority_accuracy"] = float(np.bincount(self.true).max() / len(self.true))
        columns: dict[str, np.ndarray] = {"row_id": np.arange(len(self.true)), "label": self.true}
        columns |= {f"log_probability_{i}": np.where(has, sums, np.nan)[:, i] for i in range(shape[1])}
        return Evaluated(metrics, columns | {f"prediction_{name}": guess for name, guess in guessed.items()})

    def _label_fields(self) -> list[str]:
        """The columns that the labels name."""
        if isinstance(self.labels, str):
            return [self.labels]
        return [*chain(*(fields_of(label, self.name) for label in self.labels))]

    def _choices(self, row: Mapping[str, Any], place: int) -> list[str]:
        """The choices of a row."""
        fields = self._label_fields()
        given = row[self.labels] if isinstance(self.labels, str) else [row[field] for field in fields]
        known = isinstance(given, list) and all(one is not None for one in given)
        choices = [filled(label, row) for label in self.labels] if fields != [self.labels] else given
        texts = [str(choice) for choice in choices] if known else []
        if len(set(texts)) < 2 or not all(text.strip() for text in texts):
            raise DataError(
                f"The choices of {self.name} are {given!r} in row {place} of {self.source}; give a list of two "
                "different texts or more, or a column for each."
            )
        return texts

    @property
    def text_hash(self) -> np.ndarray:
        """Of the prompts."""
        return text_hashes(self.prompts)

    @property
    def key(self) -> list[Any]:
        """The prompts with their choices and classes."""
        return as_key(
            kind="ZeroShot", prompts=self.prompts, template=self.template, choices=self.choices,
            classes=self.true.tolist(),
        )  # fmt: skip


def fields_of(template: str, name: str) -> list[str]:
    """The columns that a template names.

    Raises:
        DataError: a brace is open, or holds no name.
    """
    try:
        parsed = [one for one in string.Formatter().parse(template) if one[1] is not None]
    except ValueError:
        parsed = [("", "", "", None)]
    if any(not field or spec or conversion for _, field, spec, conversion in parsed):
        raise DataError(
            f"'{template}' of {name} has a brace that holds no column; write {{{{ or }}}} for a brace itself."
        )
    return [*dict.fromkeys(str(field) for _, field, _, _ in parsed)]


class _OfColumns(string.Formatter):
    """Takes a field's whole name as that of a column, dots too."""

    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, str]:
        return kwargs[field_name], field_name


def filled(template: str, row: Mapping[str, Any]) -> str:
    """A template with the values of a row in it."""
    return _OfColumns().vformat(template, (), row)


def _classes(values: Iterable[Any], column: str, described: str) -> np.ndarray:
    """Numbers from 0 on of classes that are given as numbers or digits, as false and true, or as letters from A on."""
    given = list(values)
    lettered = bool(given) and given[0] in _LETTERS
    numbers = np.zeros(len(given), dtype=np.int64)
    for place, value in enumerate(given):
        try:
            numbers[place] = _LETTERS.index(value) if lettered else int(value)
            if isinstance(value, float) and value != numbers[place]:
                raise ValueError
        except (TypeError, ValueError, OverflowError):
            raise DataError(
                f"The column '{column}' of {described} holds {value!r} in its row {place}; classes are numbers from 0 "
                "on, false and true, or letters from A on, of one kind in all rows."
            ) from None
    return numbers
