"""Signals of training dynamics are what their papers define, of logits that are given."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from selectune.signals import dynamics
from selectune.signals.dynamics import TRAINED, TRAINED_FOR, dynamics_signal

random = np.random.default_rng(0)
N, EPOCHS, CLASSES = 50, 4, 3
LABELS = random.integers(0, CLASSES, N)
LOGITS = {name: random.normal(scale=2.0, size=(N, EPOCHS, CLASSES)).astype(np.float32) for name in TRAINED}
OF_LABEL = softmax(LOGITS["pool_logits"].astype(np.float64), axis=-1)[np.arange(N), :, LABELS]


def signal(name: str) -> np.ndarray:
    return dynamics_signal(name, LOGITS, LABELS)[0]


def test_the_moments_of_cartography_are_those_of_numpy() -> None:
    np.testing.assert_allclose(signal("confidence"), np.mean(OF_LABEL, axis=1), rtol=1e-12)
    np.testing.assert_allclose(signal("variability"), np.std(OF_LABEL, axis=1), rtol=1e-9)
    likeliest = LOGITS["pool_logits"].argmax(-1) == LABELS[:, None]
    np.testing.assert_array_equal(signal("correctness"), np.mean(likeliest, axis=1))


def test_the_error_is_that_of_the_first_epoch_and_bounded() -> None:
    first = softmax(LOGITS["pool_logits"][:, 0].astype(np.float64), axis=-1)
    for row, error in enumerate(signal("el2n")):
        assert error == pytest.approx(np.linalg.norm(first[row] - np.eye(CLASSES)[LABELS[row]]), rel=1e-12)
    sure = np.array([[[0.0, 1000.0]], [[0.0, 1000.0]], [[7.0, 7.0]]])
    np.testing.assert_allclose(dynamics.el2n(sure, np.array([1, 0, 0])), [0.0, 2**0.5, 0.5**0.5])


def test_the_reducible_loss_is_the_last_loss_less_that_of_the_held_out_model() -> None:
    held_out = softmax(LOGITS["held_out_logits"].astype(np.float64), axis=-1)[np.arange(N), -1, LABELS]
    np.testing.assert_allclose(signal("rho_loss"), np.log(held_out) - np.log(OF_LABEL[:, -1]), atol=1e-12)
    sure = np.array([[[0.0, 1000.0]]])
    assert dynamics.rho_loss(sure, np.array([0]), sure) == 0.0, "a probability of 0 has a finite loss"


@pytest.mark.parametrize(
    ("course", "count"),
    [
        ("right right right right right", 0),
        ("wrong right right right right", 0),  # learnt, and never forgotten
        ("right wrong right wrong right", 2),
        ("wrong right wrong wrong right", 1),
        ("right right right right wrong", 1),
        ("wrong wrong wrong wrong wrong", 5),  # never learnt: more than any other row can have
    ],
)
def test_a_row_is_forgotten_each_time_that_it_was_right_and_is_wrong(course: str, count: int) -> None:
    logits = np.array([[[0.0, 1.0] if word == "right" else [1.0, 0.0] for word in course.split()]])
    assert dynamics.forgetting(logits, np.array([1])).tolist() == [count]


def test_a_large_pool_is_computed_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = {name: signal(name) for name in TRAINED_FOR}
    monkeypatch.setattr(dynamics, "BLOCK_ROWS", 7)
    for name, values in whole.items():
        np.testing.assert_array_equal(signal(name), values)
