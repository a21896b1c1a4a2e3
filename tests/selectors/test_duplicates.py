"""Laws of MinHash sketches and of deduplication."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selectune.common.errors import BudgetError, DataError, UserError
from selectune.selectors import Budget, Deduplicate, Signals, duplicates
from selectune.selectors.duplicates import bands_for, minhash, near_duplicates
from tests.mistakes import mistake, warned
from tests.selectors import permuted, pool_of

Texts = list[list[int]]
TEXTS = st.lists(st.lists(st.integers(0, 3), max_size=9), max_size=8)


def flat(texts: Texts) -> tuple[np.ndarray, np.ndarray]:
    return np.array([i for text in texts for i in text], dtype=np.int64), np.cumsum([0, *map(len, texts)])


def shingles(text: list[int], size: int) -> set[tuple[int, ...]]:
    return {tuple(text[i : i + size]) for i in range(max(1, len(text) - size + 1))}


def jaccard(one: set[tuple[int, ...]], other: set[tuple[int, ...]]) -> float:
    return len(one & other) / len(one | other)


def edited(text: list[int], changes: int, random: np.random.Generator) -> list[int]:
    changed = list(text)
    for place in random.choice(len(text), changes, replace=False):
        changed[place] = int(random.integers(30_000))
    return changed


@settings(max_examples=60)
@given(TEXTS, st.integers(1, 4))
def test_a_sketch_is_that_of_the_set_of_shingles(texts: Texts, size: int) -> None:
    sketches = minhash(*flat(texts), shingle=size, n_hashes=16)
    assert sketches.shape == (len(texts), 16)
    assert sketches.dtype == np.uint32
    for i, j in itertools.combinations(range(len(texts)), 2):
        same_set = shingles(texts[i], size) == shingles(texts[j], size)
        assert (sketches[i] == sketches[j]).all() == same_set  # 16 entries of few shingles: no chance equality
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "SHINGLES_AT_ONCE", 3)
        np.testing.assert_array_equal(minhash(*flat(texts), shingle=size, n_hashes=16), sketches)


def test_the_least_hash_of_a_union_is_the_lesser_of_both() -> None:
    random = np.random.default_rng(0)
    one, other = random.integers(100, size=40).tolist(), random.integers(100, size=30).tolist()
    first, second, union = minhash(*flat([one, other, one + other]), shingle=1)
    np.testing.assert_array_equal(union, np.minimum(first, second))


def test_equal_entries_estimate_the_jaccard_similarity() -> None:
    random = np.random.default_rng(1)
    texts = [random.integers(30_000, size=120).tolist() for _ in range(60)]
    others = [edited(text, k, random) for k, text in enumerate(texts)]
    true = [jaccard(shingles(a, 5), shingles(b, 5)) for a, b in zip(texts, others, strict=True)]
    agree = (minhash(*flat(texts)) == minhash(*flat(others))).mean(axis=1)
    assert min(true) < 0.05
    assert true[0] == agree[0] == 1.0
    # A share of 128 entries has a standard error of at most 0.044; four of them leave room for 60 pairs.
    np.testing.assert_allclose(agree, true, atol=0.177)
    assert abs(np.mean(agree - true)) < 0.02
    few, many = minhash(*flat(texts), n_hashes=8), minhash(*flat(texts), n_hashes=32)
    np.testing.assert_array_equal(few, many[:, :8])


def test_a_slice_of_the_rows_can_be_read_in_place() -> None:
    ids, offsets = flat([[1, 2], [3, 4, 5], [], [6]])
    np.testing.assert_array_equal(minhash(ids, offsets[1:], 2), minhash(ids, offsets, 2)[1:])
    assert minhash(ids, offsets[:1]).shape == (0, 128)
    for wrong in ([0, 9], [3, 1], [-1, 2]):
        with mistake(ValueError, "offsets"):
            minhash(ids, np.array(wrong))
    with mistake(ValueError, "shingle", "n_hashes", 0):
        minhash(ids, offsets, shingle=0)


@pytest.mark.parametrize("similarity", [0.05, 0.3, 0.5, 0.8, 0.95, 1.0])
def test_the_threshold_of_the_bands_is_the_nearest_there_is(similarity: float) -> None:
    bands, width = bands_for(similarity, 128)
    assert 1 <= bands * width <= 128
    miss = {r: abs((1 / (128 // r)) ** (1 / r) - similarity) for r in range(1, 129)}
    assert abs((1 / bands) ** (1 / width) - similarity) == pytest.approx(min(miss.values()), abs=1e-12)
    assert bands_for(0.8, 128) == (11, 11), "as the docstring says"


def with_duplicates(seed: int = 0) -> tuple[Signals, list[list[int]]]:
    """300 texts of 200 tokens: 40 are near duplicates of earlier ones in chains of a few, 20 have an earlier's text."""
    random = np.random.default_rng(seed)
    texts = [random.integers(30_000, size=200).tolist() for _ in range(240)]
    hashes = random.choice(2**62, 300, replace=False).astype(np.uint64)
    groups = [[i] for i in range(240)]
    for k in range(40):
        texts.append(edited(texts[groups[k % 25][-1]], 1, random))  # of 196 shingles 5 change: similarity 0.95
        groups[k % 25].append(240 + k)
    for k in range(20):
        texts.append(texts[100 + k])
        groups[100 + k].append(280 + k)
        hashes[280 + k] = hashes[100 + k]
    pool = pool_of(300, seed, text_hash=hashes, minhash=minhash(*flat(texts)))
    return pool, groups


@pytest.mark.parametrize("seed", [0, 1])
def test_one_row_of_each_group_is_kept_the_one_of_the_smallest_key(seed: int) -> None:
    pool, groups = with_duplicates(seed)
    keys = pool.tie_keys(seed)
    picked = Deduplicate().select(pool, None, Budget(), seed)
    assert picked.rows.tolist() == sorted(min(group, key=lambda i: (int(keys[i]), i)) for group in groups)
    assert picked.rows.dtype == np.int64
    sizes = {row: len(group) for group in groups for row in group}
    assert picked.scores.tolist() == [sizes[row] for row in range(300)]
    assert picked.diagnostics == {"exact_duplicates": 20, "near_duplicates": 40, "largest_group": 3}


def test_without_near_ones_only_equal_texts_are_duplicates() -> None:
    pool, _ = with_duplicates()
    picked = Deduplicate(near=False).select(pool, None, Budget(), 0)
    assert len(picked.rows) == 280
    assert len(np.unique(pool["text_hash"][picked.rows])) == 280
    assert Deduplicate(near=False).requires == frozenset()
    assert Deduplicate().requires == {"minhash"}


@pytest.mark.parametrize("near", [True, False])
def test_groups_that_mix_labels_are_told(near: bool) -> None:
    texts = np.repeat(np.arange(10, dtype=np.uint64) * 7919, 3)
    sketches = np.random.default_rng(0).integers(0, 2**32, (10, 128), dtype=np.uint64).astype(np.uint32).repeat(3, 0)
    labels = np.repeat(np.arange(10), 3)
    alike = pool_of(30, text_hash=texts, minhash=sketches, label=labels.copy())
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        made = Deduplicate(near).select(alike, None, Budget(), 0).diagnostics
    assert made["groups_of_mixed_labels"] == {"groups": 0, "row_ids": []}
    labels[[4, 20]] += 1
    mixed = pool_of(30, text_hash=texts, minhash=sketches, label=labels).take(np.arange(3, 30))
    with warned(UserWarning, "Deduplicate", 2, "3, 4, 5"):
        made = Deduplicate(near).select(mixed, None, Budget(), 0).diagnostics
    assert made["groups_of_mixed_labels"] == {"groups": 2, "row_ids": [[3, 4, 5], [18, 19, 20]]}
    unlabelled = pool_of(30, text_hash=texts, minhash=sketches)
    assert "groups_of_mixed_labels" not in Deduplicate(near).select(unlabelled, None, Budget(), 0).diagnostics


@pytest.mark.parametrize("near", [True, False])
def test_permuting_the_pool_permutes_what_is_kept(near: bool) -> None:
    pool, _ = with_duplicates()
    order = np.random.default_rng(5).permutation(300)
    kept = Deduplicate(near).select(pool, None, Budget(), 0)
    again = Deduplicate(near).select(permuted(pool, order), None, Budget(), 0)
    texts = [
        np.sort(found["text_hash"][rows]) for found, rows in [(pool, kept.rows), (permuted(pool, order), again.rows)]
    ]
    np.testing.assert_array_equal(texts[0], texts[1])  # of one text any row, as they are equal
    np.testing.assert_array_equal(again.scores, kept.scores[order])


@settings(max_examples=40)
@given(st.lists(st.lists(st.integers(0, 2), min_size=12, max_size=12), min_size=1, max_size=25))
def test_groups_are_the_components_of_the_pairs_that_meet_and_agree(rows: list[list[int]]) -> None:
    sketches, n = np.array(rows, dtype=np.uint32), len(rows)
    bands, width = bands_for(0.5, 12)
    expected = list(range(n))
    for i, j in itertools.combinations(range(n), 2):
        equal = sketches[i] == sketches[j]
        meet = any(equal[band * width : (band + 1) * width].all() for band in range(bands))
        if meet and equal.mean() >= 0.5:
            expected = [expected[i] if group == expected[j] else group for group in expected]
    found = near_duplicates(sketches, np.arange(n), 0.5)
    assert [[a == b for b in found] for a in found] == [[a == b for b in expected] for a in expected]


def test_many_copies_and_large_buckets_are_joined_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    sketches = np.repeat(random.integers(2**32, size=(1, 128), dtype=np.uint32), 4000, axis=0)
    sketches[2000:, 127] = np.arange(2000)  # all alike, no two equal
    compared: list[int] = []
    agree = duplicates._agree
    monkeypatch.setattr(duplicates, "_agree", lambda s, one, *rest: compared.append(len(one)) or agree(s, one, *rest))
    assert near_duplicates(sketches, np.arange(4000), 0.8).max() == 0
    assert sum(compared) < 4000


def test_what_makes_no_sense_is_refused() -> None:
    pool, _ = with_duplicates()
    with mistake(BudgetError, "Deduplicate", option="data.keep"):
        Deduplicate().select(pool, None, Budget(rows=3), 0)
    for similarity in (0.0, 1.1, float("nan")):
        with mistake(UserError, similarity, option="Deduplicate's similarity"):
            Deduplicate(similarity=similarity)
    with mistake(DataError, "(20, 4)", "float64"):
        Deduplicate().select(pool_of(20, minhash=np.ones((20, 4))), None, Budget(), 0)
    assert Deduplicate().sets_own_size
