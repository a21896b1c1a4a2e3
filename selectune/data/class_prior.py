"""Class prior: how frequent each class will be where the model is used, whatever the shares of the rows to train on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from selectune.common.errors import DataError, first_few
from selectune.data.labels import Classes, class_label

OPTION = "data.prior"
SLACK = 1e-3  # of the sum of given shares, which are written with a few digits
Stated = dict[str, float] | str  # "balanced" or "train"; in this order, as a parser tries the first one first


@dataclass(frozen=True)
class ClassPrior:
    """Shares of the classes, and where they are from.

    Args:
        stated: ``balanced``, ``train`` or ``given``.
        shares: of each class by its number, sum 1.
    """

    stated: Literal["balanced", "train", "given"]
    shares: tuple[float, ...]

    @classmethod
    def of(cls, stated: Stated | None, labels: np.ndarray, classes: Classes) -> ClassPrior:
        """The prior that an option states.

        Args:
            stated: ``balanced``, as many rows of each class that there is, also where nothing is stated; ``train``, the
                shares of the labels; or shares by class, where classes that are left out have none.
            labels: class numbers of the train split, shape (n_rows,).
            classes: whose names and labels shares may be given by.

        Raises:
            DataError: shares of unknown classes, below 0, or that do not sum to 1.
        """
        if isinstance(stated, Mapping):
            return cls("given", _given(stated, classes))
        counts = np.bincount(labels, minlength=len(classes.names)).astype(np.float64)
        shares = counts if stated == "train" else (counts > 0).astype(np.float64)
        return cls("train" if stated == "train" else "balanced", tuple((shares / shares.sum()).tolist()))

    @property
    def described(self) -> dict[str, Any]:
        """The prior as a manifest holds it."""
        return {"stated": self.stated, "shares": list(self.shares)}


def check_stated(stated: Stated | None) -> None:
    """Refuse a word that states no prior; shares are checked once the classes are known.

    Raises:
        DataError: it is another than ``balanced`` and ``train``.
    """
    if isinstance(stated, str) and stated not in ("balanced", "train"):
        raise DataError(
            f"{OPTION} is '{stated}', but must be balanced, train, or the share of each class; correct it.",
            option=OPTION,
        )


def by_class(given: Mapping[Any, float], classes: Classes, option: str, what: str) -> dict[int, float]:
    """Values that an option gives to some classes, by the number of the class.

    Args:
        given: by the name of a class, or by its label.
        classes: of the train split.
        option: that gives them.
        what: each of them is, such as a share.

    Raises:
        DataError: a class is unknown, or named twice.
    """
    keys = {key: class_label(key) for key in given}
    numbers = classes.numbers_by_label([label for label in keys.values() if label is not None])
    values: dict[int, float] = {}
    for key, value in given.items():
        label = keys[key]
        number = None if label is None else numbers[label]
        if number is None:
            known = first_few(classes.names, 20)
            raise DataError(
                f"{option} has a {what} of '{key}', but the classes are {known}; correct it.", option=option
            )
        if number in values:
            message = f"{option} gives the {what} of class '{classes.names[number]}' twice; leave one out."
            raise DataError(message, option=option)
        values[number] = float(value)
    return values


def _given(stated: Mapping[Any, float], classes: Classes) -> tuple[float, ...]:
    shares = by_class(stated, classes, OPTION, "share")
    for number, share in shares.items():
        if not 0 <= share < math.inf:
            name = classes.names[number]
            raise DataError(f"{OPTION} gives '{name}' the share {share:g}, but it must be 0 to 1.", option=OPTION)
    total = sum(shares.values())
    if round(abs(total - 1), 9) > SLACK:
        raise DataError(f"The shares in {OPTION} sum to {total:.4g}, but must sum to 1; correct them.", option=OPTION)
    return tuple(shares.get(number, 0.0) / total for number in range(len(classes.names)))
