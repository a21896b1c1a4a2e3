"""Splits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selectune.common.errors import DataError
from selectune.data.splits import name_splits, other_rows, stratified_sample
from tests.mistakes import mistake


def test_metrics_come_from_test_and_dev_is_a_validation_split_left_over() -> None:
    assert name_splits(["train", "test"]) == {"train": "train", "test": "test"}
    assert name_splits(["train", "validation"]) == {"train": "train", "test": "validation"}
    all_three = ["train", "validation", "test"]
    assert name_splits(all_three) == {"train": "train", "dev": "validation", "test": "test"}
    assert name_splits(all_three, test="validation") == {"train": "train", "test": "validation"}
    assert name_splits(["train"]) == {"train": "train"}


@pytest.mark.parametrize(
    ("arguments", "option", "named"),
    [
        ({"test": "held_out"}, "data.test_split", ["'held_out'", "train, test"]),
        ({"dev": "test", "test": "test"}, None, ["train, test, test"]),
    ],
)
def test_wrong_splits_are_named(arguments: dict[str, str], option: str | None, named: list[str]) -> None:
    with mistake(DataError, *named, option=option):
        name_splits(["train", "test"], **arguments)


def test_a_stratified_sample_has_each_class_at_its_share() -> None:
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    np.random.default_rng(0).shuffle(labels)
    all_rows = np.arange(len(labels))
    rows = stratified_sample(labels, all_rows, 100, seed=3)
    assert np.bincount(labels[rows]).tolist() == [60, 30, 10]
    assert len(np.unique(rows)) == 100
    np.testing.assert_array_equal(rows, stratified_sample(labels, all_rows, 100, seed=3))
    assert not np.array_equal(rows, stratified_sample(labels, all_rows, 100, seed=4))


@pytest.mark.parametrize("labels", [None, np.arange(50) % 5])
def test_a_sample_is_of_the_rows_given(labels: np.ndarray | None) -> None:
    rows = np.arange(0, 50, 2)
    sample = stratified_sample(labels, rows, 10, seed=0)
    assert len(sample) == 10
    assert set(sample.tolist()) < set(rows.tolist())
    assert (np.diff(sample) > 0).all()


@given(st.integers(0, 30), st.lists(st.lists(st.integers(0, 29), max_size=8), max_size=3))
def test_the_other_rows_are_those_that_are_in_none(n_rows: int, taken: list[list[int]]) -> None:
    taken = [[row for row in rows if row < n_rows] for rows in taken]
    left = [row for row in range(n_rows) if not any(row in rows for rows in taken)]
    assert other_rows(n_rows, *taken).tolist() == left
