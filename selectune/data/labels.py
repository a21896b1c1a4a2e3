"""From labels as data sets write them to the numbers of classes, or to numbers that are learned as they are."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from selectune.common.errors import DataError, first_few

if TYPE_CHECKING:
    from datasets import Dataset

AROUND = r"[\s\ufeff\u200b]+"  # byte order marks and zero-width spaces are no white space to Python
SPACE = re.compile(rf"^{AROUND}|{AROUND}$")
WHOLE = re.compile(r"[+-]?(0|[1-9]\d{0,17})(\.0*)?")
NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")
MANY_NUMBERS = 20  # as many classes with numbers for names may well be measurements
HIDDEN = "so nothing can be measured on it; name a labelled split, e.g. --data.test_split validation."


def class_label(label: object) -> int | str | None:
    """A label as classes are compared: a whole number as int, however it is written, else a name; None where missing.

    ``1``, ``1.0``, ``"1"`` and ``"1.0"`` are one class, ``True`` and ``"True"`` are one; ``"007"`` is a name.

    Raises:
        TypeError: it is neither a number nor a text.
    """
    if label is None or label != label:  # NaN differs from itself
        return None
    if isinstance(label, bool):
        return str(label)
    if isinstance(label, float):
        return int(label) if label.is_integer() and abs(label) < 1e18 else str(label)
    if isinstance(label, int):
        return label
    if not isinstance(label, str):
        raise TypeError
    name = SPACE.sub("", label)
    return int(name.partition(".")[0]) if WHOLE.fullmatch(name) else name or None


def with_class_labels(split: Dataset, column: str, where: str) -> Dataset:
    """The split, whose labels are all whole numbers or all names without white space around them.

    Numbers of classes that the split itself names (``ClassLabel``) stay as they are.

    Raises:
        DataError: a label is missing, or neither a number nor a text.
    """
    given = split[column][:]
    labels = _by_value(
        given, class_label, f"{where} has labels such as", "but one must be a number or a name; correct them."
    )
    missing = [i for i, label in enumerate(labels) if label is None]
    if missing and len(missing) == len(labels):
        raise DataError(f"{where} has no label in any row, {HIDDEN}", option="data.test_split", rows=missing)
    if missing:
        message = f"{where} has {len(missing)} row(s) without a label (first: row {missing[0]}); fill them."
        raise DataError(message, rows=missing)
    if getattr(split.features[column], "names", None):
        return split
    stripped = [label for label in given if isinstance(label, str) and label != SPACE.sub("", label)]
    if stripped:
        warnings.warn(
            f"{where} has {len(stripped):,} label(s) with white space around them, such as {stripped[0]!r}; it is left "
            "out.",
            stacklevel=2,
        )
    if not all(isinstance(label, int) for label in labels):
        labels = [str(label) for label in labels]
    return _replaced(split, column, given, labels)


def with_number_labels(split: Dataset, column: str, where: str) -> Dataset:
    """The split, whose labels are numbers even where they were written as texts; a missing one is None."""

    def number(label: object) -> float | int | None:
        if isinstance(label, str):
            text = SPACE.sub("", label)
            return (int(text) if re.fullmatch(r"[+-]?\d{1,18}", text) else float(text)) if text else None
        if label is not None and not isinstance(label, int | float):
            raise TypeError
        return label

    given = split[column][:]
    labels = _by_value(
        given, number, f"{where} has the label", "but with data.regression all must be numbers, as 3.6; correct it."
    )
    return _replaced(split, column, given, labels)


def numbers_of(labels: Sequence[float | int | None], where: str) -> np.ndarray:
    """Labels that are learned as they are, float32, shape (rows,).

    Raises:
        DataError: one is missing or not finite, or all are hidden.
    """
    numbers = np.array([np.nan if label is None else label for label in labels], dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(numbers))
    if len(bad):
        raise DataError(
            f"{where} has {len(bad)} row(s) whose label is no finite number (first: row {bad[0]}); correct them.",
            rows=bad.tolist(),
        )
    if len(numbers) > 1 and (numbers == -1).all():
        raise DataError(f"The labels of {where} are hidden (all -1), {HIDDEN}", option="data.test_split")
    return numbers.astype(np.float32)


@dataclass(frozen=True)
class Classes:
    """The classes of a train split.

    Args:
        names: in the order of their numbers in the model, 0 to C-1.
        labels: how each is written where labels are whole numbers; None where they are not.
    """

    names: tuple[str, ...]
    labels: tuple[int, ...] | None = None

    @classmethod
    def of(cls, labels: Sequence[int | str], where: str, numbers_are_classes: bool = False) -> Classes:
        """The classes of labels from `with_class_labels`: numbers in their order, names in the alphabet's.

        Args:
            labels: of each row.
            where: for the messages.
            numbers_are_classes: accept names that are numbers as classes without question.

        Raises:
            DataError: labels look like measurements, or are hidden.

        Warns:
            UserWarning: many classes are numbers, or two differ by case only.
        """
        distinct = sorted(set(labels), key=lambda label: (str(label), 0) if isinstance(label, str) else ("", label))
        if distinct == [-1]:
            raise DataError(f"The labels of {where} are hidden (all -1), {HIDDEN}", option="data.test_split")
        names = [str(label) for label in distinct]
        whole = all(isinstance(label, int) for label in distinct)
        if not whole and all(map(NUMBER.fullmatch, names)):
            names.sort(key=lambda name: float(name.replace(",", ".")))
        if not numbers_are_classes:
            _question_numbers(names, where)
        first: dict[str, str] = {}
        pairs = ((first.setdefault(name.casefold(), name), name) for name in names)
        if alike := next((pair for pair in pairs if pair[0] != pair[1]), None):
            both = "' and '".join(alike)
            warnings.warn(f"{where} has the classes '{both}', which differ by case only; they stay two.", stacklevel=2)
        return cls(tuple(names), tuple(map(int, distinct)) if whole else None)

    def encode(self, labels: Sequence[int | str], where: str) -> np.ndarray:
        """Class number of each label of any split, int64, shape (rows,).

        Raises:
            DataError: a label is hidden, or unknown to the train split.
        """
        numbers = self.numbers_by_label(labels)
        unknown = sorted((label for label, number in numbers.items() if number is None), key=str)
        if unknown == [-1]:
            hidden = sum(label == -1 for label in labels)
            message = f"{hidden:,} of {len(labels):,} labels of {where} are hidden (-1), {HIDDEN}"
            raise DataError(message, option="data.test_split")
        if unknown:
            raise DataError(
                f"{where} has the label '{unknown[0]}', but the train split has only {first_few(self.names, 20)}; "
                "correct the labels."
            )
        return np.array([numbers[label] for label in labels], dtype=np.int64)

    def numbers_by_label(self, labels: Sequence[int | str]) -> dict[int | str, int | None]:
        """Class number of each different label; None of one that no class has."""
        by_label = {label: i for i, label in enumerate(self.labels or ())}
        by_name = {SPACE.sub("", name): i for i, name in enumerate(self.names)}
        by_name |= {name: i for i, name in enumerate(self.names)}
        return {
            label: by_label.get(label) if self.labels and isinstance(label, int) else by_name.get(str(label))
            for label in set(labels)
        }

    def written(self, number: int) -> int | str:
        """The label of a class as the data set has it, by `with_class_labels`."""
        return self.names[number] if self.labels is None else self.labels[number]


def labels_of(split: Dataset, column: str) -> list[Any]:
    """Labels of each row: names, where the split itself names its classes, else as they are written."""
    labels = split[column][:]
    names = getattr(split.features[column], "names", None)
    if not names or any(not 0 <= label < len(names) for label in labels):
        return labels
    return [names[label] for label in labels]


def with_other_labels(split: Dataset, column: str, rows: np.ndarray, labels: Sequence[Any]) -> Dataset:
    """The split with other labels for some rows, as it writes them; all else stays."""
    from datasets import Dataset

    given = split[column][:]
    changed = list(given)
    for row, label in zip(rows.tolist(), labels, strict=True):
        changed[row] = label
    # a table of these rows alone: of rows that are selected by their positions, `datasets` would write one to a file
    whole = Dataset(split.with_format("arrow")[:], split.info, fingerprint=uuid4().hex[:16])
    return _replaced(whole, column, given, changed)


def _by_value(given: Sequence[Any], read: Callable[[Any], Any], before: str, after: str) -> list[Any]:
    """Each label as it is read, each different one being read once; one that cannot be stands in the error's middle."""
    known: dict[tuple[type, Any], Any] = {}  # 1, 1.0 and True are equal, so the type belongs to the key
    for label in given:
        try:
            key = type(label), label
            if key not in known:
                known[key] = read(label)
        except (TypeError, ValueError):
            raise DataError(f"{before} {str(label)[:40]!r}, {after}") from None
    return [known[type(label), label] for label in given]


def _replaced(split: Dataset, column: str, given: list[Any], labels: list[Any]) -> Dataset:
    """The split with other labels; itself where they are the same, in their types."""
    if all(type(old) is type(new) and old == new for old, new in zip(given, labels)):
        return split
    other, key = f"{column} as it is compared", uuid4().hex[:16]  # a key that `datasets` makes would take seconds
    feature = split.features[column] if getattr(split.features[column], "names", None) else None
    added = split.add_column(other, labels, new_fingerprint=key, feature=feature)
    return added.remove_columns(column).rename_column(other, column)


def _question_numbers(names: Sequence[str], where: str) -> None:
    """Refuse classes that are decimal numbers, and warn of many that are whole ones: a value may be meant."""
    numbers = [name for name in names if NUMBER.fullmatch(name)]
    decimals = [name for name in numbers if not name.strip("+-").isdigit()]
    how = "set --data.regression true to learn a number, or --data.numbers_are_classes true to have each as a class."
    if decimals and 2 * len(numbers) > len(names):
        raise DataError(f"The labels of {where} are numbers such as {decimals[0]} ({len(names):,} different); {how}")
    if len(numbers) == len(names) > MANY_NUMBERS and list(names) != [str(number) for number in range(len(names))]:
        classes = f"{len(names):,} classes that are numbers, {names[0]} to {names[-1]}"
        warnings.warn(f"{where} has {classes}; {how}", stacklevel=3)
