"""Checks of arguments where they enter; None stands for a default and passes each of them, NaN passes none."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from selectune.common.errors import DataError, UserError

LAST_SEED = 2**32 - 1  # of numpy


def refuse_unless(holds: bool, name: str, value: object, may_be: str, error: type[UserError] = UserError) -> None:
    """Raise an error with an argument's name, as a config spells it (``data.keep``), its value and what it may be."""
    if not holds:
        raise error(f"{name} is {value}, but must be {may_be}.", option=name)


def at_least(name: str, value: float | None, least: float, error: type[UserError] = UserError) -> None:
    """Refuse a number below a bound."""
    refuse_unless(value is None or value >= least, name, value, f"at least {least}", error)


def limit(name: str, value: float | None) -> None:
    """Refuse a number of epochs or steps that is neither at least 1 nor -1, which stands for no limit."""
    refuse_unless(value is None or value >= 1 or value == -1, name, value, "at least 1, or -1 for no limit")


def positive(name: str, value: float | None) -> None:
    """Refuse a number that is not over 0, or not finite."""
    refuse_unless(value is None or 0 < value < math.inf, name, value, "a finite number over 0")


def not_negative(name: str, value: float | None) -> None:
    """Refuse a number that is below 0, or not finite."""
    refuse_unless(value is None or 0 <= value < math.inf, name, value, "a finite number of at least 0")


def between(name: str, value: float | None, low: float, high: float, error: type[UserError] = UserError) -> None:
    """Refuse a number outside the closed interval from low to high."""
    refuse_unless(value is None or low <= value <= high, name, value, f"at least {low:g} and at most {high:g}", error)


def share(name: str, value: float | None, error: type[UserError] = UserError) -> None:
    """Refuse a number that is not over 0 and at most 1."""
    refuse_unless(value is None or 0 < value <= 1, name, value, "over 0 and at most 1", error)


def seed(name: str, value: int | None) -> None:
    """Refuse a seed that numpy does not take."""
    refuse_unless(value is None or 0 <= value <= LAST_SEED, name, value, f"from 0 to {LAST_SEED}")


def one_of(name: str, value: object, known: Iterable[object]) -> None:
    """Refuse a value that is not among those known."""
    known = list(known)
    refuse_unless(value in known, name, repr(value), "one of " + ", ".join(map(repr, known)))


def distinct_columns(columns: Mapping[str, str | None]) -> None:
    """Refuse two arguments that name the same column of a data set; columns by argument, such as ``text_column``."""
    named: dict[str, str] = {}
    for argument, column in columns.items():
        if column is not None and (other := named.setdefault(column, argument)) != argument:
            raise DataError(
                f"data.{other} and data.{argument} are both '{column}'; name another column in one of them.",
                option=f"data.{argument}",
            )
