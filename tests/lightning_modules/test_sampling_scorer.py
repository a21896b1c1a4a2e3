"""Semantic entropy by sampling."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from selectune.lightning_modules import sampling
from selectune.lightning_modules.sampling import draw_continuations, left_padded
from selectune.lightning_modules.scorers.sampling import SamplingScorer
from selectune.selectors.base import uniforms

ROWS = [[5, 6, 7, 8, 9], [10, 11], [12, 13, 14]]


def made(
    temperature: float = 1.0, similarity: float = 0.9, samples: int = 6, stop_id: int | None = 0
) -> SamplingScorer:
    from transformers import GPT2Config, GPT2LMHeadModel

    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = GPT2Config(vocab_size=40, n_positions=32, n_embd=16, n_layer=2, n_head=2, initializer_range=0.5)
        network = GPT2LMHeadModel(config)
    network.transformer.ln_f.weight.data.mul_(1 / temperature)  # the logits are linear in it
    return SamplingScorer(network, ["semantic_entropy"], 0, samples, 5, similarity, stop_id)


def batch_of(rows: list[int]) -> dict:
    longest = max(len(ROWS[row]) for row in rows)
    ids = torch.tensor([ROWS[row] + [0] * (longest - len(ROWS[row])) for row in rows])
    real = torch.tensor([[i < len(ROWS[row]) for i in range(longest)] for row in rows])
    return {
        "input_ids": ids, "attention_mask": real.long(), "token_type_ids": torch.zeros_like(ids), "special": ~real,
        "text_hash": np.array(rows, dtype=np.uint64) + 77,
    }  # fmt: skip


def entropies(scorer: SamplingScorer, rows: list[int]) -> np.ndarray:
    with torch.no_grad():
        return scorer(batch_of(rows))["semantic_entropy"].numpy()


def test_draws_depend_neither_on_the_batch_nor_on_its_padding() -> None:
    scorer = made()
    all_at_once = entropies(scorer, [0, 1, 2])
    np.testing.assert_allclose([entropies(scorer, [row])[0] for row in range(3)], all_at_once, atol=1e-5)
    np.testing.assert_allclose(entropies(scorer, [2, 0]), all_at_once[[2, 0]], atol=1e-5)


def test_entropies_lie_between_none_and_that_of_as_many_meanings_as_samples() -> None:
    found = entropies(made(), [0, 1, 2])
    assert (found >= 0).all()
    assert (found <= np.log(6) + 1e-6).all()
    assert found.max() > 0


def test_one_meaning_has_no_entropy() -> None:
    np.testing.assert_allclose(entropies(made(similarity=-1.0), [0, 1, 2]), 0, atol=1e-7)
    np.testing.assert_allclose(entropies(made(samples=1), [0, 1, 2]), 0, atol=1e-7)
    cold = entropies(made(temperature=1e-4), [0, 1, 2])
    np.testing.assert_allclose(cold, 0, atol=1e-7, err_msg="a cold model always says the same")


def test_draws_follow_the_models_own_chances() -> None:
    """Over many texts of the same tokens, the first drawn token is as frequent as the model says."""
    scorer = made(samples=4000)
    ids, real = scorer._prompts(batch_of([1]))
    with torch.no_grad():
        hashes = np.array([5], dtype=np.uint64)
        drawn, logs = draw_continuations(scorer.network, ids, real, hashes, 0, scorer.samples, scorer.max_new_tokens)
        chances = scorer.network(input_ids=torch.tensor([ROWS[1]])).logits[0, -1].softmax(-1)
    frequency = torch.bincount(drawn[:, 0], minlength=40) / 4000
    assert float((frequency - chances).abs().max()) < 0.03
    np.testing.assert_allclose(logs[:, 0].exp(), chances[drawn[:, 0]], atol=1e-5)


def test_nucleus_draws_are_of_the_likeliest_tokens_as_often_as_they_are_likely_among_these() -> None:
    scorer = made(samples=4000)
    ids, real = scorer._prompts(batch_of([1]))
    with torch.no_grad():
        drawn, _ = draw_continuations(scorer.network, ids, real, np.array([5], np.uint64), 0, 4000, 1, top_p=0.6)
        chances = scorer.network(input_ids=torch.tensor([ROWS[1]])).logits[0, -1].double().softmax(-1)
    falling, tokens = chances.sort(descending=True)
    inside = tokens[: int((falling.cumsum(0) < 0.6).sum()) + 1]  # the fewest that have 0.6 together
    assert set(drawn[:, 0].tolist()) <= set(inside.tolist())
    among = torch.zeros(40, dtype=torch.float64)
    among[inside] = chances[inside] / chances[inside].sum()
    assert float((torch.bincount(drawn[:, 0], minlength=40) / 4000 - among).abs().max()) < 0.03
    tiny = draw_continuations(scorer.network, ids, real, np.array([5], np.uint64), 0, 1, 3, top_p=1e-9)[0]
    greedy = scorer.network.generate(torch.tensor([ROWS[1]]), max_new_tokens=3, do_sample=False, pad_token_id=0)
    assert tiny[0].tolist() == greedy[0, 2:].tolist(), "a nucleus of one token is the likeliest"


def test_a_nucleus_is_the_same_whether_it_is_looked_for_among_the_likeliest_or_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randint(0, 12, (50, 200), generator=generator).double()  # many ties
    logits[25:] *= torch.linspace(0, 1, 25)[:, None]  # the last ones are nearly even, so their nucleus is wide
    chances, draw = logits.softmax(-1), torch.rand(50, generator=generator, dtype=torch.float64)
    for top_p in (1e-9, 0.3, 0.9, 0.9999):
        monkeypatch.setattr(sampling, "LIKELIEST", 200)
        whole = sampling._nucleus(chances, draw, top_p)
        for likeliest in (1, 40, 199):
            monkeypatch.setattr(sampling, "LIKELIEST", likeliest)
            assert torch.equal(sampling._nucleus(chances, draw, top_p), whole), (top_p, likeliest)
            for row in range(50):
                assert torch.equal(sampling._nucleus(chances[row : row + 1], draw[row], top_p), whole[row : row + 1])


def hybrid() -> torch.nn.Module:
    """A model whose layers remember a convolution's states, or attention's."""
    from transformers import Lfm2Config, Lfm2ForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = ["conv", "full_attention"]
        return Lfm2ForCausalLM(
            Lfm2Config(
                vocab_size=40,
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=1,
                layer_types=layers,
                initializer_range=0.5,
                block_auto_adjust_ff_dim=False,
            )
        ).eval()


@pytest.mark.parametrize("kind", ["attention", "hybrid"])
def test_texts_that_are_read_once_are_continued_as_if_each_were_read_for_itself(kind: str) -> None:
    network = made().network if kind == "attention" else hybrid()
    rows = [0, 1, 2] if kind == "attention" else [0]  # left padding reaches a convolution
    ids, real = made()._prompts(batch_of(rows))
    hashes = batch_of(rows)["text_hash"]
    with torch.no_grad():
        drawn, logs = draw_continuations(network, ids, real, hashes, 0, 3, 5)
        for place, row in enumerate(drawn):
            text = ROWS[rows[place // 3]] + row.tolist()
            chances = network(input_ids=torch.tensor([text])).logits[0].log_softmax(-1)
            alone = [float(chances[at - 1, text[at]]) for at in range(len(text) - 5, len(text))]
            np.testing.assert_allclose(logs[place], alone, atol=1e-5)
    assert len({tuple(row) for row in drawn[:3].tolist()}) > 1, "each sample is its own draw"


def test_left_padding_keeps_the_end_of_a_row() -> None:
    ids, real = left_padded(torch.tensor([[1, 2, 3, 0], [4, 5, 6, 7]]), torch.tensor([3, 4]), room=3)
    assert (ids.tolist(), real.tolist()) == ([[1, 2, 3], [5, 6, 7]], [[1, 1, 1], [1, 1, 1]])
    ids, real = left_padded(torch.tensor([[1, 2, 0], [4, 5, 6]]), torch.tensor([2, 3]))
    assert real.tolist() == [[0, 1, 1], [1, 1, 1]]
    assert ids[0, 1:].tolist() == [1, 2]


def test_what_follows_the_end_of_a_text_does_not_count() -> None:
    """A model that always ends at once says one thing only."""
    scorer = made(stop_id=0)
    scorer.network.lm_head.weight.data[0] = 0
    scorer.network.transformer.ln_f.bias.data.fill_(1.0)
    scorer.network.lm_head.weight = torch.nn.Parameter(scorer.network.lm_head.weight.clone())  # untied from the input
    scorer.network.lm_head.weight.data[0] = 1000.0
    scorer.network.transformer.ln_f.weight.data.fill_(1e-3)
    np.testing.assert_allclose(entropies(scorer, [0, 1]), 0, atol=1e-6)


def test_uniform_draws_are_uniform() -> None:
    draws = uniforms(3, np.arange(500, dtype=np.uint64), 20, 2)
    assert draws.shape == (10_000,)
    assert (draws >= 0).all()
    assert (draws < 1).all()
    assert np.abs(np.histogram(draws, bins=10, range=(0, 1))[0] - 1000).max() < 150
    assert len(np.unique(draws)) == 10_000
    assert not np.intersect1d(draws, uniforms(3, np.arange(500, dtype=np.uint64), 20, 3)).size
    np.testing.assert_array_equal(uniforms(3, np.array([9], dtype=np.uint64), 4, 1), uniforms(3, np.array([9]), 4, 1))
