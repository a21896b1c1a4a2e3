"""Rows that are no text: nothing in them, cut off, or no language; and the damaged rows that they are told by."""

from __future__ import annotations

import numpy as np
import pytest

from selectune.diagnose.corruption import KINDS, damaged
from selectune.diagnose.texts import empty, folds_of, not_language, truncated


def test_empty_rows_have_no_letter_and_no_digit() -> None:
    found = empty(["a", "...", "7", " \n", "-- é", "?!", "猫"])
    assert found.rows.tolist() == [1, 3, 5]
    assert found.share == pytest.approx(3 / 7)


def test_truncated_rows_are_those_that_lose_tokens() -> None:
    found = truncated(np.array([10, 32, 32, 32]), np.array([10, 32, 33, 64]))
    assert found.rows.tolist() == [2, 3]
    assert found.scores.tolist() == pytest.approx([0, 0, 1 / 33, 0.5])
    assert found.details["tokens_lost"] == 33


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["the big cat runs over the small dog", "word", "", "?"])
def test_damaged_rows_are_never_the_row_itself_where_it_has_words(kind: str, text: str) -> None:
    damage, _ = KINDS[kind]
    made = damage(text, np.random.default_rng(0))
    assert made == damage(text, np.random.default_rng(0))
    if len(text.split()) > 1:
        assert made != text
        if kind == "shuffled":
            assert sorted(made.split()) == sorted(text.split())
        elif kind == "repeated":
            assert len(set(made.split())) <= 3
            assert set(made.split()) <= set(text.split())
        else:
            assert len(made.split()) == len(text.split())
            assert not set(made.split()) & set(text.split())
            assert made.isascii() == (kind == "random_letters")


def test_damaged_rows_follow_the_order_of_the_pool_and_not_its_rows_places() -> None:
    texts = [f"row number {i} of the pool" for i in range(300)]
    order = np.random.default_rng(0).permutation(300)
    plain = damaged(texts, order, seed=1)
    assert [one.kind for one in plain] == list(KINDS)
    assert [len(one.rows) for one in plain] == [50, 15, 15, 15]
    moved = np.random.default_rng(3).permutation(300)  # row i of the new pool is row moved[i] of the old one
    again = damaged([texts[row] for row in moved], np.argsort(moved)[order], seed=1)
    for one, two in zip(plain, again):
        assert one.texts == two.texts
        assert moved[two.rows].tolist() == one.rows.tolist()


def states(share: float, n: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray, dict]:
    """Made-up states of a pool of which a share is damaged in one of two ways, and examples of both."""
    random = np.random.default_rng(seed)
    shifts = {"shuffled": np.eye(12)[0] * 5, "random_letters": np.eye(12)[1] * 8}
    bad = random.random(n) < share
    features = random.normal(size=(n, 12)) + bad[:, None] * shifts["shuffled"]
    examples = {}
    for kind, shift in shifts.items():
        rows = random.choice(np.flatnonzero(~bad), size=60, replace=False)
        examples[kind] = features[rows] + shift, rows
    return features, bad, examples


def test_not_language_names_rows_that_are_like_damaged_ones() -> None:
    features, bad, examples = states(0.2)
    folds = folds_of(np.random.default_rng(0).integers(2**60, size=600).astype(np.uint64))
    found, flops = not_language(features, folds, examples)
    assert bad[found.rows].mean() > 0.85
    assert bad[found.rows].sum() > 0.7 * bad.sum()
    assert found.low <= bad.mean() <= found.high
    assert found.details["kinds"]["shuffled"]["share"] == pytest.approx(bad.mean(), abs=0.07)
    assert found.details["kinds"]["random_letters"]["share"] < 0.05
    assert flops > 0
    assert ((found.scores >= 0) & (found.scores <= 1)).all()


def test_not_language_names_nothing_in_a_clean_pool() -> None:
    features, _, examples = states(0.0)
    folds = folds_of(np.arange(600, dtype=np.uint64))
    found, _ = not_language(features, folds, examples)
    assert len(found.rows) == 0
    assert found.share < 0.02


def test_rows_of_one_text_share_a_fold() -> None:
    keys = np.array([3, 8, 3, 13], dtype=np.uint64)
    assert folds_of(keys).tolist() == [3, 3, 3, 3]
