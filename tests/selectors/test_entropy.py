"""Laws of the entropies: bounds, equality with slow loops, and what they must not depend on."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from selectune.errors import DataError
from selectune.selectors import entropy
from selectune.selectors.entropy import (
    entropy_from_head,
    entropy_from_hidden,
    miller_madow,
    plugin_entropy,
    prototype_entropy,
)

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


# Semantic entropy.


def embeddings(n_rows: int = 90, width: int = 5, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(size=(8, width))[random.integers(8, size=n_rows)] + 0.3 * random.normal(size=(n_rows, width))


def keys_of(n_rows: int) -> np.ndarray:
    return np.random.default_rng(9).permutation(n_rows).astype(np.uint64)


def slow_prototype_entropy(rows: np.ndarray, seed: int, keys: np.ndarray, iterations: int) -> list[float]:
    """The definition, one distance at a time."""
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    ordered = rows[sorted(range(len(rows)), key=lambda i: (keys[i], i))]
    random = np.random.default_rng(seed)
    centres = [ordered[int(random.random() * len(rows))]]
    while len(centres) < min(256, round(math.sqrt(len(rows)))):
        mass = np.cumsum([min(np.sum((x - c) ** 2) for c in centres) for x in ordered])
        draw = random.random() * mass[-1]
        centres.append(ordered[next(i for i, m in enumerate(mass) if m > draw)])
    for _ in range(iterations):
        members: list[list[np.ndarray]] = [[] for _ in centres]
        for x in ordered:
            members[int(np.argmin([np.sum((x - c) ** 2) for c in centres]))].append(x)
        centres = [np.mean(m, axis=0) if m else c for m, c in zip(members, centres, strict=True)]
    distances = [[float(np.sum((x - c) ** 2)) for c in centres] for x in rows]
    tau = np.median([min(d) for d in distances])
    entropies = []
    for d in distances:
        p = np.exp(-np.array(d) / tau)
        p = p / p.sum()
        entropies.append(float(-np.sum(p * np.log(p))))
    return entropies


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_prototype_equals_a_slow_loop(seed: int) -> None:
    rows, keys = embeddings(seed=seed), keys_of(90)
    found = prototype_entropy(rows, seed, keys, iterations=6)
    assert (found.k, found.iterations) == (9, 6)
    np.testing.assert_allclose(found.entropies, slow_prototype_entropy(rows, seed, keys, 6), atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 4), st.integers(0, 2**32), st.sampled_from([0.0, 0.01, 3.0]))
def test_prototype_lies_between_0_and_the_log_of_the_prototypes(n: int, width: int, seed: int, noise: float) -> None:
    random = np.random.default_rng(seed)
    rows = np.ones((n, width)) * random.choice([-1.0, 1.0, 2.0], size=(n, 1)) + noise * random.normal(size=(n, width))
    found = prototype_entropy(rows, seed, iterations=3)
    assert found.k <= round(math.sqrt(n))
    assert (found.entropies >= 0).all()
    assert (found.entropies <= math.log(found.k)).all()


def test_permuting_the_pool_permutes_the_entropies() -> None:
    rows, keys = embeddings(), keys_of(90)
    order = np.random.default_rng(3).permutation(90)
    one, other = prototype_entropy(rows, 5, keys), prototype_entropy(rows[order], 5, keys[order])
    np.testing.assert_allclose(other.entropies, one.entropies[order], atol=1e-9, rtol=0)
    assert other.tau == pytest.approx(one.tau, abs=1e-12)


def test_prototype_does_not_depend_on_length_blocks_or_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = embeddings().astype(np.float16)
    expected = prototype_entropy(rows, 0).entropies
    np.testing.assert_array_equal(prototype_entropy(rows, 0).entropies, expected)
    np.testing.assert_allclose(prototype_entropy(rows.astype(np.float64) * 8, 0).entropies, expected, atol=1e-9)
    np.save(tmp_path / "rows.npy", rows)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    np.testing.assert_array_equal(prototype_entropy(mapped, 0).entropies, expected)
    monkeypatch.setattr(entropy, "ROWS_AT_ONCE", 7)
    np.testing.assert_allclose(prototype_entropy(mapped, 0).entropies, expected, atol=1e-9)


def test_prototypes_of_a_large_pool_are_fitted_on_the_first_rows_by_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entropy, "FIT_ROWS", 40)
    monkeypatch.setattr(entropy, "SEEDING_ROWS", 20)
    rows, keys = embeddings(), keys_of(90)
    found = prototype_entropy(rows, 0, keys)
    # Rows beyond the first 40 cannot move a prototype: their values say nothing about the other rows' distances.
    late = np.flatnonzero(keys >= 40)
    moved = rows.copy()
    moved[late] = -rows[late]
    monkeypatch.setattr(entropy, "_assignment_entropy", lambda d2, tau: d2[:, 0])
    distances = [prototype_entropy(embedded, 0, keys).entropies for embedded in (rows, moved)]
    np.testing.assert_array_equal(distances[0][keys < 40], distances[1][keys < 40])
    assert (distances[0][late] != distances[1][late]).all()
    assert found.k == 9
    assert found.flops == 2 * 5 * 9 * (20 + 20 * 40 + 2 * 90) + 5 * 20 * 40 + 5 * 9 * 90


def test_where_rows_coincide_the_assignment_is_hard() -> None:
    copies = np.repeat(np.random.default_rng(0).normal(size=(3, 7)), 30, axis=0)
    found = prototype_entropy(copies, 0)
    assert (found.k, found.tau) == (3, 0.0)
    np.testing.assert_array_equal(found.entropies, 0.0)
    same = prototype_entropy(np.full((50, 4), 0.1, dtype=np.float32), 0)
    assert (same.k, same.tau, same.entropies.max()) == (1, 0.0, 0.0)
    tied = entropy._assignment_entropy(np.array([[0.5, 0.5, 0.7], [0.0, 1e-3, 2.0]]), tau=0.0)
    np.testing.assert_allclose(tied, [math.log(2), 0.0])
    np.testing.assert_allclose(tied, entropy._assignment_entropy(np.array([[0.5, 0.5, 0.7], [0.0, 1e-3, 2.0]]), 1e-9))


def test_a_cluster_without_rows_keeps_its_centre() -> None:
    centres = np.array([[1.0, 0.0], [-1.0, 0.0]])
    np.testing.assert_allclose(entropy._lloyd(np.array([[2.0, 0.0], [0.0, 3.0]]), centres), [[0.5, 0.5], [-1.0, 0.0]])


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_embeddings_without_a_direction_are_refused_by_row(bad: float) -> None:
    rows = embeddings()
    rows[[4, 70]] = bad
    with pytest.raises(DataError, match=r"2 of 90 .*\(rows 4, 70\)"):
        prototype_entropy(rows, 0)
    with pytest.raises(DataError, match="no rows"):
        prototype_entropy(rows[:0], 0)


# Vocabulary entropy.


def head(n: int = 23, width: int = 6, vocabulary: int = 50) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    return tuple(torch.randn(*s, generator=random) * 1.5 for s in ((n, width), (vocabulary, width), (vocabulary,)))  # type: ignore[return-value]


def slow_entropy(logits: torch.Tensor) -> list[float]:
    entropies = []
    for row in logits.double().tolist():
        weights = [math.exp(z - max(row)) for z in row]
        shares = [w / sum(weights) for w in weights]
        entropies.append(-sum(p * math.log(p) for p in shares if p > 0))
    return entropies


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize(("block", "vocab_block"), [(1024, 1024), (5, 7), (1, 50), (23, 1)])
def test_entropy_from_hidden_equals_a_slow_loop(with_bias: bool, block: int, vocab_block: int) -> None:
    hidden, weight, bias = head()
    offset = bias if with_bias else None
    expected = slow_entropy(F.linear(hidden, weight, offset))
    found = entropy_from_hidden(hidden, weight, offset, block, vocab_block)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, expected, atol=2e-6)
    by_head = entropy_from_head(hidden, lambda h: F.linear(h, weight, offset), block, vocab_block)
    np.testing.assert_allclose(by_head, expected, atol=2e-6)


def test_entropy_lies_between_0_and_the_log_of_the_vocabulary() -> None:
    logits = torch.randn(200, 40, generator=torch.Generator().manual_seed(1)) * torch.logspace(-3, 4, 200)[:, None]
    logits[0], logits[1], logits[1, 3] = 7.0, 0.0, 1e4
    found = entropy_from_head(logits, lambda z: z, vocab_block=16)
    assert found[0].item() == pytest.approx(math.log(40), abs=1e-6)
    assert found[1].item() == 0.0
    assert (found >= 0).all()
    assert (found <= math.log(40) + 1e-6).all()
    np.testing.assert_allclose(found, slow_entropy(logits), atol=2e-6)


def test_entropy_does_not_depend_on_the_other_positions() -> None:
    hidden, weight, bias = head()
    together = entropy_from_hidden(hidden, weight, bias)
    alone = torch.cat([entropy_from_hidden(h, weight, bias) for h in hidden.split(1)])
    np.testing.assert_allclose(alone, together, atol=1e-5)
    assert entropy_from_hidden(hidden[:0], weight, bias).shape == (0,)


@pytest.mark.parametrize("forbidden", [slice(0, 10), slice(13, 14), slice(40, 50), slice(1, 50)])
def test_tokens_of_probability_0_contribute_nothing(forbidden: slice) -> None:
    hidden, weight, bias = head()
    keep = torch.ones(50, dtype=torch.bool)
    keep[forbidden] = False
    expected = entropy_from_hidden(hidden, weight[keep], bias[keep])
    bias[forbidden] = -math.inf
    np.testing.assert_allclose(entropy_from_hidden(hidden, weight, bias, vocab_block=10), expected, atol=2e-6)


def test_what_is_not_a_distribution_is_nan() -> None:
    logits = torch.zeros(4, 6)
    logits[0], logits[1, 2], logits[2, 2] = -math.inf, math.nan, math.inf
    assert entropy_from_head(logits, lambda z: z, vocab_block=4).isnan().tolist() == [True, True, True, False]


def test_half_precision_is_summed_in_float32_and_logits_are_left_alone() -> None:
    hidden, weight, bias = head()
    found = entropy_from_hidden(hidden.bfloat16(), weight.bfloat16(), bias.bfloat16())
    logits = F.linear(hidden.bfloat16(), weight.bfloat16(), bias.bfloat16())
    np.testing.assert_allclose(found, slow_entropy(logits), atol=2e-6)
    logits = F.linear(hidden, weight, bias).requires_grad_()
    before = logits.detach().clone()
    assert not entropy_from_head(logits, lambda z: z).requires_grad
    assert torch.equal(logits, before)
