"""Copies: exact ones, near ones, and those of held-out rows."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy.sparse import csr_array

from selectune.diagnose.copies import bag_of_tokens, exact_copies, jaccard, leakage, near_copies
from selectune.selectors.copies import near_neighbours

WIDTH, VOCABULARY = 16, 1000


def bags_of(rows: list[list[int]]) -> csr_array:
    offsets = np.cumsum([0, *map(len, rows)])
    return bag_of_tokens(np.array([token for row in rows for token in row], dtype=np.int64), offsets, VOCABULARY)


def pool(n: int = 60, seed: int = 0) -> tuple[list[list[int]], np.ndarray]:
    """Rows of ten tokens each and their embeddings, which have nothing in common."""
    random = np.random.default_rng(seed)
    tokens = [random.choice(VOCABULARY, size=10, replace=False).tolist() for _ in range(n)]
    return tokens, random.normal(size=(n, WIDTH)).astype(np.float32)


def test_exact_copies_are_texts_that_differ_in_case_and_spaces_alone() -> None:
    texts = ["A red  cat", "a red cat ", "a red cat.", "A blue dog", "a\tred cat", "birds"]
    found = exact_copies(texts, np.array([0, 1, 0, 0, 1, 1]))
    assert found.rows.tolist() == [0, 1, 4]
    assert found.scores.tolist() == [1, 1, 0, 0, 1, 0]
    assert found.share == pytest.approx(0.5)
    assert found.low < 0.5 < found.high
    said = found.details
    assert (said["groups"], said["surplus"], said["largest_group"], said["mixed_labels"]) == (1, 2, 3, 1)
    assert exact_copies(["a", "b"], None).rows.tolist() == []


def test_one_long_text_takes_no_memory_for_the_others() -> None:
    texts = [f"row {number}" for number in range(2000)] + ["a " * 50_000]
    tracemalloc.start()
    found = exact_copies(texts, None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.rows) == 0
    assert peak < 10 * sum(map(len, texts))


def test_jaccard_is_that_of_sets() -> None:
    random = np.random.default_rng(0)
    one, two = ([random.integers(12, size=random.integers(9)).tolist() for _ in range(50)] for _ in range(2))
    by_hand = [len({*a} & {*b}) / len({*a} | {*b}) if {*a} | {*b} else 1.0 for a, b in zip(one, two)]
    np.testing.assert_allclose(jaccard(bags_of(one), bags_of(two)), by_hand, atol=1e-6)


def test_near_copies_share_four_fifths_of_their_tokens_or_a_direction() -> None:
    tokens, embeddings = pool()
    tokens[10] = [*tokens[3][:9], 998]  # Jaccard 9 / 11, and embeddings that are alike
    embeddings[10] = embeddings[3] + 0.3 * embeddings[10]
    tokens[20] = [*tokens[4][:8], 997, 996]  # 8 / 12, with nearly the same embedding
    embeddings[20] = embeddings[4] + 0.01 * embeddings[20]
    tokens[40] = tokens[6]  # alike in nothing but the tokens
    embeddings[40] = embeddings[6] + 1.5 * embeddings[40]
    embeddings[30] = embeddings[5]  # alike in nothing but the embedding
    found = near_copies(*near_neighbours(embeddings, 0), bags_of(tokens), np.zeros(60, dtype=np.int64))
    assert found.rows.tolist() == [3, 4, 6, 10, 20, 40]
    assert (found.scores[found.rows] >= 0.5 - 1e-6).all()
    assert (np.delete(found.scores, found.rows) < 0.5).all()
    assert (found.details["groups"], found.details["surplus"], found.details["mixed_labels"]) == (3, 3, 0)
    assert found.scores[30] > found.scores[31]  # it is nearer to one than others are


def test_near_copies_include_exact_ones_and_permute_with_the_pool() -> None:
    tokens, embeddings = pool()
    for row in (7, 8, 9):
        tokens[row], embeddings[row] = tokens[0], embeddings[0]
    keys = np.arange(60, dtype=np.uint64)
    plain = near_copies(*near_neighbours(embeddings, 0, 20, keys), bags_of(tokens), None)
    assert plain.rows.tolist() == [0, 7, 8, 9]
    order = np.random.default_rng(2).permutation(60)
    moved = bags_of([tokens[row] for row in order])
    again = near_copies(*near_neighbours(embeddings[order], 0, 20, keys[order]), moved, None)
    np.testing.assert_allclose(again.scores, plain.scores[order])
    assert sorted(order[again.rows].tolist()) == plain.rows.tolist()


def test_leakage_names_rows_that_are_held_out_too() -> None:
    tokens, _ = pool()
    theirs, _ = pool(20, seed=9)
    theirs[0], theirs[1] = tokens[2], [*tokens[5][:9], 999]  # exact, and near
    theirs[2], theirs[3] = tokens[2], tokens[8][::-1]  # the same words in another order are no exact copy
    texts, their_texts = ([f"row {row}" for row in rows] for rows in (tokens, theirs))
    found = leakage(texts, bags_of(tokens), [text.upper() for text in their_texts], bags_of(theirs), "test")
    assert found.rows.tolist() == [2, 5, 8]
    assert found.scores[2] == 1.0
    assert 0.8 <= found.scores[5] < found.scores[8] < 1.0
    assert (found.details["exact"], found.details["held_out_exact"], found.details["split"]) == (1, 2, "test")
    clean, _ = pool(20, seed=8)
    assert len(leakage(texts, bags_of(tokens), [f"row {row}" for row in clean], bags_of(clean), "test").rows) == 0
