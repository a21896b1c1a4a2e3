"""Importance resampling by hashed n-grams."""

from __future__ import annotations

import numpy as np
import pytest

from selectune.common.errors import DataError
from selectune.selectors import DSIR, Budget, Signals
from selectune.selectors.dsir import NO_NGRAM, SMOOTHING, hashed_ngrams, ngram_shares
from tests.mistakes import mistake

BINS = 10_000


def rows_of(texts: list[list[int]], first: int = 0) -> Signals:
    ids, offsets = np.concatenate([np.array(text) for text in texts]), np.cumsum([0, *map(len, texts)])
    hashes = np.random.default_rng(9).integers(2**63, size=first + len(texts), dtype=np.uint64)[first:]
    grams = hashed_ngrams(ids, offsets, BINS, max(map(len, texts)))
    return Signals({"ngrams": grams, "n_tokens": np.diff(offsets), "text_hash": hashes})


def texts(n: int, words: range, seed: int, length: int = 8) -> list[list[int]]:
    return np.random.default_rng(seed).choice(list(words), (n, length)).tolist()


def test_ngrams_are_those_of_each_row_alone() -> None:
    three = [[5, 6, 7], [6], [7, 5]]
    ids, offsets = np.concatenate(three), np.cumsum([0, 3, 1, 2])
    whole = hashed_ngrams(ids, offsets, BINS, 3)
    assert whole.shape == (3, 6)
    for row, text in enumerate(three):
        alone = hashed_ngrams(np.array(text), np.array([0, len(text)]), BINS, 3)
        np.testing.assert_array_equal(whole[row], alone[0])
        assert np.count_nonzero(whole[row] != NO_NGRAM) == 2 * len(text) - 1
    assert whole[0, 0] == whole[2, 1], "one token has one bin, wherever it stands"
    assert (whole[whole != NO_NGRAM] < BINS).all()
    shifted = hashed_ngrams(np.concatenate([[9, 9], ids]), offsets + 2, BINS, 3)
    np.testing.assert_array_equal(shifted, whole)


def test_pairs_have_an_order() -> None:
    forth, back = rows_of([[3, 4]])["ngrams"], rows_of([[4, 3]])["ngrams"]
    assert set(forth[0, :2]) == set(back[0, :2])
    assert forth[0, 2] != back[0, 2]


def test_weights_are_those_of_a_slow_loop() -> None:
    pool, target = rows_of(texts(30, range(20), 0)), rows_of(texts(10, range(10), 1), first=100)
    picked = DSIR().select(pool, target, Budget(rows=5), 0)

    def shares(signals: Signals) -> dict[int, float]:
        grams = [int(gram) for row in signals["ngrams"] for gram in row if gram != NO_NGRAM]
        return {gram: grams.count(gram) / len(grams) for gram in set(grams)}

    p, q = shares(target), shares(pool)
    for row, score in enumerate(picked.scores):
        grams = [int(gram) for gram in pool["ngrams"][row] if gram != NO_NGRAM]
        slow = sum(np.log(p.get(gram, 0.0) + SMOOTHING) - np.log(q[gram] + SMOOTHING) for gram in grams)
        assert score == pytest.approx(slow)
    assert ngram_shares(pool["ngrams"]).sum() == pytest.approx(1)


def test_rows_like_the_target_are_likelier_but_not_certain() -> None:
    pool = rows_of(texts(200, range(50), 0, 3) + texts(200, range(40, 90), 1, 3))
    target = rows_of(texts(300, range(45, 90), 2, 3), first=1000)
    first = DSIR().select(pool, target, Budget(rows=100), 0)
    assert (first.rows >= 200).mean() > 0.9
    again = DSIR().select(pool, target, Budget(rows=100), 1)
    assert set(first.rows) != set(again.rows), "another seed draws others"
    assert set(DSIR().select(pool, target, Budget(rows=40), 0).rows) < set(first.rows)


def test_equal_rows_and_target_are_drawn_at_random_by_hash() -> None:
    rows = texts(50, range(20), 0)
    pool = rows_of(rows)
    order = np.random.default_rng(2).permutation(50)
    picked = DSIR().select(pool, pool, Budget(rows=10), 4)
    np.testing.assert_allclose(picked.scores, 0, atol=1e-9)
    permuted = Signals({name: values[order] for name, values in pool.items()})
    assert set(order[DSIR().select(permuted, pool, Budget(rows=10), 4).rows]) == set(picked.rows)


def test_a_target_is_needed() -> None:
    with mistake(DataError, "DSIR", option="data.target"):
        DSIR().select(rows_of([[1, 2]]), None, Budget(rows=1), 0)
