"""Logits of validated rows, of all ranks, are put in the order of the rows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from selectune.callbacks import epoch_logits
from selectune.callbacks.epoch_logits import EpochLogits

LOGITS = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)  # of two validations
NOTHING: Any = SimpleNamespace()


def validated(callback: EpochLogits, validation: int, batches: list[list[int]]) -> None:
    for rows in batches:
        outputs = {"predictions": torch.from_numpy(LOGITS[validation, rows])}
        callback.on_validation_batch_end(NOTHING, NOTHING, outputs, {"rows": np.array(rows)}, 0)


def test_rows_of_two_ranks_are_put_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    mine, other = EpochLogits(), EpochLogits()
    monkeypatch.setattr(epoch_logits, "gather", lambda batches: [batches, other._batches])
    for validation in (0, 1):
        validated(mine, validation, [[4, 1]])
        other._batches = []
        validated(other, validation, [[0], [3, 2]])
        mine.on_validation_end(NOTHING, NOTHING)
    np.testing.assert_array_equal(mine.logits(), LOGITS.transpose(1, 0, 2))


@pytest.mark.parametrize("batches", [[[0, 1], [1, 2]], [[0], [2]]], ids=["twice", "not at all"])
def test_a_row_that_is_not_validated_once_is_an_error(batches: list[list[int]]) -> None:
    callback = EpochLogits()
    validated(callback, 0, batches)
    with pytest.raises(RuntimeError, match="permutation"):
        callback.on_validation_end(NOTHING, NOTHING)
