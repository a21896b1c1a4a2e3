"""Laws of the entropies: bounds, equality with slow loops, and what they must not depend on."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy as scipy_entropy

from selectune.common.errors import BadRowsError, DataError
from selectune.selectors import entropy
from selectune.selectors.entropy import (
    group_by_meaning,
    meaning_entropy,
    miller_madow,
    plugin_entropy,
)
from tests.mistakes import mistake

Texts = list[list[int]]
TEXTS = st.lists(st.lists(st.one_of(st.integers(0, 4), st.integers(0, 2**31 - 1)), max_size=12), max_size=12)


def flat(texts: Texts) -> tuple[np.ndarray, np.ndarray]:
    return np.array([i for text in texts for i in text], dtype=np.int64), np.cumsum([0, *map(len, texts)])


def slow_plugin(text: list[int]) -> float:
    return -sum(c / len(text) * math.log(c / len(text)) for c in Counter(text).values())


# Information entropy.


@given(TEXTS)
def test_plugin_and_miller_madow_equal_a_slow_loop(texts: Texts) -> None:
    np.testing.assert_allclose(plugin_entropy(*flat(texts)), [slow_plugin(t) for t in texts], atol=1e-12)
    corrected = [slow_plugin(t) + (len(set(t)) - 1) / (2 * len(t)) if t else 0.0 for t in texts]
    np.testing.assert_allclose(miller_madow(*flat(texts)), corrected, atol=1e-12)


@given(TEXTS)
def test_plugin_lies_between_0_and_the_log_of_the_distinct_tokens(texts: Texts) -> None:
    found = plugin_entropy(*flat(texts))
    assert (found >= 0).all()
    assert (found <= np.log([max(len(set(t)), 1) for t in texts])).all()
    shares = plugin_entropy(*flat(texts), normalize="length")
    assert ((shares >= 0) & (shares <= 1)).all()


@pytest.mark.parametrize("estimate", [plugin_entropy, miller_madow])
def test_normalising_divides_by_the_log_of_the_length(estimate: object) -> None:
    texts = [[], [5], [5, 5], [1, 2], [1, 2, 1, 3]]
    raw, share = estimate(*flat(texts)), estimate(*flat(texts), normalize="length")  # type: ignore[operator]
    np.testing.assert_array_equal(share[:2], 0)
    np.testing.assert_allclose(share[2:], raw[2:] / np.log([2, 2, 4]))


def test_rows_of_one_token_and_of_none_have_entropy_exactly_0() -> None:
    texts = [[7] * n for n in range(12)]
    for estimate in (plugin_entropy, miller_madow):
        np.testing.assert_array_equal(estimate(*flat(texts)), 0.0)


@given(TEXTS, st.randoms())
def test_token_order_and_chunks_do_not_matter(texts: Texts, random: object) -> None:
    expected = plugin_entropy(*flat(texts))
    shuffled = [sorted(t, key=lambda _: random.random()) for t in texts]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(plugin_entropy(*flat(shuffled)), expected)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entropy, "TOKENS_AT_ONCE", 3)
        np.testing.assert_array_equal(plugin_entropy(*flat(texts)), expected)


def test_a_slice_of_the_rows_can_be_read_in_place() -> None:
    ids, offsets = flat([[1, 1], [2, 3], [4, 4, 5]])
    np.testing.assert_array_equal(plugin_entropy(ids, offsets[1:]), plugin_entropy(ids, offsets)[1:])
    assert plugin_entropy(ids, offsets[:1]).shape == (0,)


@pytest.mark.parametrize(
    ("ids", "offsets", "normalize"),
    [
        ([1, -100], [0, 2], "none"),
        ([1, 2**31], [0, 2], "none"),
        ([1, 2], [0, 3], "none"),
        ([1, 2], [2, 0], "none"),
        ([1, 2], [-1, 2], "none"),
        ([1, 2], [0, 2], "lenght"),
    ],
)
def test_tokens_and_offsets_that_make_no_sense_are_refused(ids: list, offsets: list, normalize: str) -> None:
    with pytest.raises(ValueError):
        plugin_entropy(np.array(ids), np.array(offsets), normalize=normalize)  # type: ignore[arg-type]


# Meanings of continuations.


@given(st.lists(st.tuples(st.floats(-50, 0), st.integers(-2, 3)), min_size=1, max_size=9), st.floats(-900, 900))
def test_the_entropy_of_meanings_equals_a_slow_sum_over_groups(drawn: list[tuple[float, int]], shift: float) -> None:
    log_probs, groups = np.array([p for p, _ in drawn]), np.array([g for _, g in drawn])
    mass = [sum(math.exp(p) for p, g in drawn if g == group) for group in sorted(set(groups.tolist()))]
    found = meaning_entropy(log_probs, groups)
    assert found == pytest.approx(float(scipy_entropy(mass)), abs=1e-9)
    assert 0 <= found <= math.log(len(mass))
    assert meaning_entropy(log_probs + shift, groups) == pytest.approx(found, abs=1e-9)


def test_equal_groups_have_the_most_entropy_and_one_has_none() -> None:
    assert meaning_entropy(np.full(6, -3.0), np.array([5, 5, 1, 1, 9, 9])) == pytest.approx(math.log(3))
    assert meaning_entropy(np.array([-1.0, -2.0, -7.0]), np.array([4, 4, 4])) == 0.0
    assert meaning_entropy(np.array([-1.0, -np.inf]), np.array([0, 1])) == 0.0


@pytest.mark.parametrize("log_probs", [[], [-np.inf, -np.inf], [np.nan, -1.0], [np.inf, -1.0]])
def test_continuations_without_a_distribution_are_refused(log_probs: list[float]) -> None:
    with mistake(DataError, len(log_probs)):
        meaning_entropy(np.array(log_probs), np.arange(len(log_probs)))


def on_a_circle(degrees: list[float]) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.linspace(0.2, 5, len(degrees))[:, None]


def test_what_means_the_same_is_connected() -> None:
    rows = on_a_circle([0, 90, 20, 40, 100, 200])
    assert group_by_meaning(rows, math.cos(math.radians(21))).tolist() == [0, 1, 0, 0, 1, 2]
    assert group_by_meaning(rows, math.cos(math.radians(20))).tolist() == [0, 1, 0, 0, 1, 2], "the threshold is inside"
    assert group_by_meaning(rows, math.cos(math.radians(19))).tolist() == [0, 1, 2, 3, 1, 4]
    assert group_by_meaning(np.full((3, 7), 0.1, dtype=np.float32), 1.0).tolist() == [0, 0, 0]


@given(st.lists(st.integers(0, 35), min_size=1, max_size=12), st.randoms())
def test_groups_of_meaning_do_not_depend_on_the_order(tens: list[int], random: object) -> None:
    order = list(range(len(tens)))
    random.shuffle(order)  # type: ignore[attr-defined]
    rows = on_a_circle([10.0 * t for t in tens])
    one, other = group_by_meaning(rows, 0.98), group_by_meaning(rows[order], 0.98)  # 10 degrees apart are joined
    assert {frozenset(np.flatnonzero(one == g)) for g in one} == {frozenset(np.array(order)[other == g]) for g in other}
    with mistake(BadRowsError, rows=[len(rows)]):
        group_by_meaning(np.vstack([rows, np.zeros((1, 2))]), 0.98)
