"""Laws of the vocabulary's entropy and loss: bounds, equality with a slow loop, and what they must not depend on."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from selectune.lightning_modules.scorers.vocabulary import vocabulary_entropy


def head(n: int = 23, width: int = 6, vocabulary: int = 50) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    return tuple(torch.randn(*s, generator=random) * 1.5 for s in ((n, width), (vocabulary, width), (vocabulary,)))  # type: ignore[return-value]


def slow(logits: torch.Tensor, targets: list[int]) -> tuple[list[float], list[float]]:
    entropies, losses = [], []
    for row, target in zip(logits.double().tolist(), targets, strict=True):
        weights = [math.exp(z - max(row)) for z in row]
        shares = [w / sum(weights) for w in weights]
        entropies.append(-sum(p * math.log(p) for p in shares if p > 0))
        losses.append(math.log(sum(weights)) + max(row) - row[target])
    return entropies, losses


def of_logits(logits: torch.Tensor, entries: int) -> torch.Tensor:
    """The entropy of given logits: those of an identity head, which is exact."""
    return vocabulary_entropy(logits, torch.eye(logits.shape[1]), blocks=(1024, entries))[0]


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("blocks", [None, (5, 7), (1, 50), (23, 1)])
def test_entropy_and_loss_equal_a_slow_loop(with_bias: bool, blocks: tuple[int, int] | None) -> None:
    hidden, weight, bias = head()
    offset = bias if with_bias else None
    targets = torch.arange(23) * 2
    entropies, losses = slow(F.linear(hidden, weight, offset), targets.tolist())
    found = vocabulary_entropy(hidden, weight, offset, targets, blocks)
    assert found[0].dtype == found[1].dtype == torch.float32
    np.testing.assert_allclose(found[0], entropies, atol=2e-6)
    np.testing.assert_allclose(found[1], losses, atol=5e-6)
    alone = vocabulary_entropy(hidden, weight, offset, blocks=blocks)
    assert torch.equal(alone[0], found[0])
    assert alone[1].shape == (0,)


def test_entropy_lies_between_0_and_the_log_of_the_vocabulary() -> None:
    logits = torch.randn(200, 40, generator=torch.Generator().manual_seed(1)) * torch.logspace(-3, 4, 200)[:, None]
    logits[0], logits[1], logits[1, 3] = 7.0, 0.0, 1e4
    found = of_logits(logits, 16)
    assert found[0].item() == pytest.approx(math.log(40), abs=1e-6)
    assert found[1].item() == 0.0
    assert (found >= 0).all()
    assert (found <= math.log(40) + 1e-6).all()
    np.testing.assert_allclose(found, slow(logits, [0] * 200)[0], atol=2e-6)


def test_a_position_does_not_depend_on_the_others() -> None:
    hidden, weight, bias = head()
    together = vocabulary_entropy(hidden, weight, bias)[0]
    alone = torch.cat([vocabulary_entropy(h, weight, bias)[0] for h in hidden.split(1)])
    np.testing.assert_allclose(alone, together, atol=1e-5)
    assert vocabulary_entropy(hidden[:0], weight, bias)[0].shape == (0,)


@pytest.mark.parametrize("forbidden", [slice(0, 10), slice(13, 14), slice(40, 50), slice(1, 50)])
def test_tokens_of_probability_0_contribute_nothing(forbidden: slice) -> None:
    hidden, weight, bias = head()
    keep = torch.ones(50, dtype=torch.bool)
    keep[forbidden] = False
    expected = vocabulary_entropy(hidden, weight[keep], bias[keep])[0]
    bias[forbidden] = -math.inf
    np.testing.assert_allclose(vocabulary_entropy(hidden, weight, bias, blocks=(9, 10))[0], expected, atol=2e-6)


def test_what_is_not_a_distribution_is_nan() -> None:
    hidden = torch.ones(4, 6)
    hidden[1], hidden[2] = math.nan, math.inf
    found = vocabulary_entropy(hidden, torch.ones(9, 6), blocks=(1024, 4))[0]
    assert found.isnan().tolist() == [False, True, True, False]
    assert vocabulary_entropy(hidden[:1], torch.ones(9, 6), torch.full((9,), -math.inf))[0].isnan().all()


def test_half_precision_is_summed_in_float32_and_nothing_is_differentiated() -> None:
    hidden, weight, bias = (part.bfloat16().requires_grad_() for part in head())
    before = hidden.detach().clone()
    found = vocabulary_entropy(hidden, weight, bias)[0]
    np.testing.assert_allclose(found, slow(F.linear(hidden, weight, bias), [0] * 23)[0], atol=2e-6)
    assert not found.requires_grad
    assert torch.equal(hidden, before)
