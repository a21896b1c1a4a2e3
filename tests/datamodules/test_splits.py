"""Splits."""

from __future__ import annotations

import numpy as np
import pytest

from selectune.common.errors import DataError
from selectune.data.splits import name_splits, split_off, stratified_sample


def test_figures_come_from_test_and_dev_is_a_validation_split_left_over() -> None:
    assert name_splits(["train", "test"]) == {"train": "train", "test": "test"}
    assert name_splits(["train", "validation"]) == {"train": "train", "test": "validation"}
    all_three = ["train", "validation", "test"]
    assert name_splits(all_three) == {"train": "train", "dev": "validation", "test": "test"}
    assert name_splits(all_three, test="validation") == {"train": "train", "test": "validation"}
    assert name_splits(["train"]) == {"train": "train"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [({"test": "held_out"}, "no split 'held_out'"), ({"dev": "test", "test": "test"}, "cannot serve twice")],
)
def test_wrong_splits_are_named(arguments: dict[str, str], told: str) -> None:
    with pytest.raises(DataError, match=told):
        name_splits(["train", "test"], **arguments)


def test_a_stratified_sample_has_each_class_at_its_share() -> None:
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    np.random.default_rng(0).shuffle(labels)
    rows = stratified_sample(labels, len(labels), 100, seed=3)
    assert np.bincount(labels[rows]).tolist() == [60, 30, 10]
    assert len(np.unique(rows)) == 100
    np.testing.assert_array_equal(rows, stratified_sample(labels, len(labels), 100, seed=3))
    assert not np.array_equal(rows, stratified_sample(labels, len(labels), 100, seed=4))


def test_what_is_split_off_is_not_in_what_stays() -> None:
    stays, off = split_off(np.arange(50) % 5, np.arange(50), 10, seed=0)
    assert sorted([*stays, *off]) == list(range(50))
    assert len(off) == 10
