"""Checks of values where they enter: one sentence that names the argument, its value and what it may be.

``None`` stands for a default and passes every check. NaN passes none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from selectune.common.errors import DataError, UserError

LAST_SEED = 2**32 - 1  # of numpy


def refuse_unless(holds: bool, name: str, value: object, may_be: str, error: type[UserError] = UserError) -> None:
    """Raise the sentence.

    Args:
        holds: whether the value is in range.
        name: of the argument, as a config says it: ``data.batch_size``.
        value: that was given.
        may_be: what it must be, after "must be".
        error: the class to raise.
    """
    if not holds:
        raise error(f"{name} is {value}, but must be {may_be}.")


def at_least(name: str, value: float | None, least: float, error: type[UserError] = UserError) -> None:
    """Refuse a number below a bound."""
    if value is not None:
        refuse_unless(value >= least, name, value, f"at least {least}", error)


def limit(name: str, value: float | None) -> None:
    """Refuse a number of epochs or steps that is neither at least 1 nor -1, which stands for no limit."""
    if value is not None:
        refuse_unless(value >= 1 or value == -1, name, value, "at least 1, or -1 for no limit")


def positive(name: str, value: float | None, error: type[UserError] = UserError) -> None:
    """Refuse a number that is not over 0, or not finite."""
    if value is not None:
        refuse_unless(0 < value < math.inf, name, value, "a finite number over 0", error)


def not_negative(name: str, value: float | None, error: type[UserError] = UserError) -> None:
    """Refuse a number that is below 0, or not finite."""
    if value is not None:
        refuse_unless(0 <= value < math.inf, name, value, "a finite number of at least 0", error)


def between(name: str, value: float | None, low: float, high: float, error: type[UserError] = UserError) -> None:
    """Refuse a number outside the closed interval from low to high."""
    if value is not None:
        refuse_unless(low <= value <= high, name, value, f"at least {low:g} and at most {high:g}", error)


def share(name: str, value: float | None, error: type[UserError] = UserError) -> None:
    """Refuse a number that is not over 0 and at most 1."""
    if value is not None:
        refuse_unless(0 < value <= 1, name, value, "over 0 and at most 1", error)


def seed(name: str, value: int | None) -> None:
    """Refuse a seed that numpy does not take."""
    if value is not None:
        refuse_unless(0 <= value <= LAST_SEED, name, value, f"from 0 to {LAST_SEED}")


def one_of(name: str, value: object, known: Iterable[object]) -> None:
    """Refuse a value that is not among those known."""
    known = list(known)
    refuse_unless(value in known, name, repr(value), "one of " + ", ".join(map(repr, known)))


def distinct_columns(columns: Mapping[str, str | None]) -> None:
    """Refuse two arguments that name the same column of a data set.

    Args:
        columns: by the argument's name, such as ``text_column``.

    Raises:
        DataError: two do.
    """
    named: dict[str, str] = {}
    for argument, column in columns.items():
        if column is not None and (other := named.setdefault(column, argument)) != argument:
            raise DataError(
                f"data.{other} and data.{argument} are both '{column}'; name another column in one of them."
            )
