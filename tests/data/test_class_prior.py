"""The class prior: shares of the classes where the model will be used."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from selectune.common.errors import DataError
from selectune.data.class_prior import ClassPrior
from selectune.data.labels import Classes
from tests.mistakes import mistake

NAMED, NUMBERED = Classes(("bad", "fair", "good")), Classes(("0", "1", "2"), (0, 1, 2))
LABELS = np.repeat([0, 2], [30, 10])  # no row of class 1


def test_nothing_stated_is_balanced_over_the_classes_that_there_are() -> None:
    assert ClassPrior.of(None, LABELS, NAMED) == ClassPrior.of("balanced", LABELS, NAMED)
    assert ClassPrior.of(None, LABELS, NAMED) == ClassPrior("balanced", (0.5, 0.0, 0.5))
    assert ClassPrior.of("train", LABELS, NAMED).shares == (0.75, 0.0, 0.25)


@pytest.mark.parametrize(
    ("stated", "classes", "shares"),
    [
        ({"good": 0.2, "bad": 0.8}, NAMED, (0.8, 0.0, 0.2)),
        ({"good": 0.333, "bad": 0.333, "fair": 0.333}, NAMED, (1 / 3, 1 / 3, 1 / 3)),
        ({"0": 0.1, "1.0": 0.9}, NUMBERED, (0.1, 0.9, 0.0)),
        ({0: 0.1, 2: 0.9}, NUMBERED, (0.1, 0.0, 0.9)),
    ],
)
def test_shares_are_given_by_class(stated: Any, classes: Classes, shares: tuple[float, ...]) -> None:
    prior = ClassPrior.of(stated, LABELS, classes)
    assert prior.stated == "given"
    assert prior.shares == pytest.approx(shares)
    assert sum(prior.shares) == pytest.approx(1)


@pytest.mark.parametrize(
    ("stated", "named"),
    [
        ({"bad": 0.5, "great": 0.5}, ["great", "bad, fair, good"]),
        ({"bad": 0.5, "good": 0.4}, ["0.9"]),
        ({"bad": 1.5, "good": -0.5}, ["good", -0.5]),
        ({"bad": float("nan")}, ["bad"]),
        ({"bad": 0.5, " bad": 0.5}, ["bad"]),
        ({"": 1.0}, ["bad, fair, good"]),
        ({}, [0, 1]),
    ],
)
def test_shares_that_are_none_are_refused(stated: Any, named: list[object]) -> None:
    with mistake(DataError, "data.prior", *named, option="data.prior"):
        ClassPrior.of(stated, LABELS, NAMED)
