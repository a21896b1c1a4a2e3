"""Signals of a language model's predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from selectune.common.errors import CheckpointError
from selectune.data.batches import plan_batches
from selectune.data.sources import ModelSource
from selectune.data.tokens import TokenizedRows, load_tokenizer, tokenize
from selectune.lightning_modules.scorers.language import LanguageScorer, load_language_model
from tests.conftest import sentences
from tests.mistakes import mistake

LANGUAGE = ["generative_entropy", "loss"]
NAMES = [*LANGUAGE, "embedding"]
MASK = 4


@pytest.fixture(scope="module")
def tokens(model_folder: Path) -> TokenizedRows:
    texts = [(text,) for text in sentences(40, seed=5, length=(1, 25))[0]]
    return tokenize(lambda rows: texts[rows], len(texts), load_tokenizer(model_folder), 32)


def masked(folder: Path, **arguments: Any) -> LanguageScorer:
    network = load_language_model(ModelSource(folder, "local:tiny"), "masked")
    names = LANGUAGE if arguments.get("estimator") == "masked_pseudo" else NAMES
    return LanguageScorer(network, names, mask_id=MASK, **arguments)


@pytest.fixture(scope="module")
def scorer(model_folder: Path) -> LanguageScorer:
    return masked(model_folder)


@pytest.fixture(scope="module")
def causal() -> LanguageScorer:
    """A random GPT-2 with a final norm, over the tiny tokenizer's vocabulary."""
    from transformers import GPT2Config, GPT2LMHeadModel

    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = GPT2Config(vocab_size=64, n_positions=64, n_embd=32, n_layer=2, n_head=2, initializer_range=0.5)
        return LanguageScorer(GPT2LMHeadModel(config), NAMES, "causal")


def score(scorer: LanguageScorer, tokens: TokenizedRows, max_tokens: int) -> dict[str, np.ndarray]:
    names = [name for name in NAMES if name in scorer.wanted]
    found: dict[str, list] = {name: [None] * len(tokens) for name in names}
    for rows in plan_batches(tokens.lengths, max_tokens):
        with torch.no_grad():
            signals = scorer(tokens.padded(rows, 0))
        for name in names:
            for row, value in zip(rows, signals[name].numpy()):
                found[name][row] = value
    return {name: np.stack(values) for name, values in found.items()}


def row_of(tokens: TokenizedRows, row: int) -> tuple[Tensor, np.ndarray]:
    at = slice(tokens.offsets[row], tokens.offsets[row + 1])
    return torch.tensor(tokens.ids[at], dtype=torch.long)[None], ~np.asarray(tokens.special[at])


def of_logits(logits: Tensor, targets: Tensor) -> tuple[float, float]:
    """Mean entropy and mean -ln p, from whole logits in float64."""
    logs = logits.double().log_softmax(-1)
    entropies = -(logs.exp() * logs).sum(-1)
    return float(entropies.mean()), float(-logs.gather(-1, targets[:, None]).mean())


@pytest.mark.parametrize("kind", ["masked", "masked_pseudo", "causal"])
def test_signals_do_not_depend_on_batching(
    kind: str, model_folder: Path, causal: LanguageScorer, tokens: TokenizedRows
) -> None:
    made = causal if kind == "causal" else masked(model_folder, estimator=kind, k=3)
    one_by_one, all_at_once = score(made, tokens, 1), score(made, tokens, 100_000)
    for name in made.wanted:
        np.testing.assert_allclose(one_by_one[name], all_at_once[name], atol=1e-5, rtol=0)


def test_masked_signals_equal_a_slow_loop(scorer: LanguageScorer, tokens: TokenizedRows, model_folder: Path) -> None:
    from transformers import AutoModelForMaskedLM

    network = AutoModelForMaskedLM.from_pretrained(model_folder).eval()
    fast = score(scorer, tokens, 256)
    for row in range(len(tokens)):
        ids, content = row_of(tokens, row)
        with torch.no_grad():
            output = network(input_ids=ids, output_hidden_states=True)
        entropy, loss = of_logits(output.logits[0][content], ids[0][content])
        assert fast["generative_entropy"][row] == pytest.approx(entropy, abs=1e-5)
        assert fast["loss"][row] == pytest.approx(loss, abs=1e-5)
        np.testing.assert_allclose(fast["embedding"][row], output.hidden_states[-1][0].mean(0), atol=1e-5)


def test_as_many_passes_as_tokens_mask_each_by_itself(model_folder: Path, tokens: TokenizedRows) -> None:
    from transformers import AutoModelForMaskedLM

    network = AutoModelForMaskedLM.from_pretrained(model_folder).eval()
    fast = score(masked(model_folder, estimator="masked_pseudo", k=int(tokens.n_tokens().max())), tokens, 256)
    for row in range(0, len(tokens), 5):
        ids, content = row_of(tokens, row)
        found = []
        for place in np.flatnonzero(content):
            hidden = ids.clone()
            hidden[0, place] = MASK
            with torch.no_grad():
                logits = network(input_ids=hidden).logits[0, [place]]
            found.append(of_logits(logits, ids[0, [place]]))
        entropy, loss = np.mean(found, axis=0)
        assert fast["generative_entropy"][row] == pytest.approx(entropy, abs=1e-5)
        assert fast["loss"][row] == pytest.approx(loss, abs=1e-5)


def test_one_pass_in_turns_masks_every_token_at_once(model_folder: Path, tokens: TokenizedRows) -> None:
    """With k = 1 nothing of the text is seen, so rows of one length have one entropy."""
    found = score(masked(model_folder, estimator="masked_pseudo", k=1), tokens, 256)["generative_entropy"]
    for length in np.unique(tokens.n_tokens()):
        assert np.ptp(found[tokens.n_tokens() == length]) < 1e-5


def test_causal_signals_equal_a_slow_loop(causal: LanguageScorer, tokens: TokenizedRows) -> None:
    fast = score(causal, tokens, 256)
    for row in range(len(tokens)):
        ids, content = row_of(tokens, row)
        found = []
        for place in np.flatnonzero(content):  # the tokenizer puts a token before the text, so all have one before
            with torch.no_grad():
                logits = causal.network(input_ids=ids[:, :place]).logits[0, -1:]
            found.append(of_logits(logits, ids[0, [place]]))
        entropy, loss = np.mean(found, axis=0)
        assert fast["generative_entropy"][row] == pytest.approx(entropy, abs=1e-5)
        assert fast["loss"][row] == pytest.approx(loss, abs=1e-5)
        with torch.no_grad():
            last = causal.network.transformer(ids).last_hidden_state[0].mean(0)
        np.testing.assert_allclose(fast["embedding"][row], last, atol=1e-5)


def test_a_causal_entropy_is_the_cross_entropy_of_the_model_with_itself(
    causal: LanguageScorer, tokens: TokenizedRows
) -> None:
    """Expected over the model's own next token, -ln p is the entropy: the mean over all tokens, weighed by p."""
    ids, _ = row_of(tokens, 3)
    with torch.no_grad():
        logs = causal.network(input_ids=ids).logits[0].double().log_softmax(-1)
    own = torch.nn.functional.cross_entropy(logs, logs.exp(), reduction="none")[:-2]  # what predicts special tokens
    assert score(causal, tokens, 1)["generative_entropy"][3] == pytest.approx(float(own.mean()), abs=1e-5)


def test_a_text_without_anything_before_its_first_token_leaves_that_out(causal: LanguageScorer) -> None:
    ids = torch.tensor([[7, 8, 9]])
    nothing = torch.zeros_like(ids)
    batch = {"input_ids": ids, "attention_mask": nothing + 1, "token_type_ids": nothing, "special": nothing.bool()}
    with torch.no_grad():
        found = causal(batch)
        logits = causal.network(input_ids=ids).logits[0, :2]
    entropy, loss = of_logits(logits, ids[0, 1:])
    assert float(found["generative_entropy"][0]) == pytest.approx(entropy, abs=1e-5)
    assert float(found["loss"][0]) == pytest.approx(loss, abs=1e-5)


def test_entropies_lie_in_their_bounds(
    model_folder: Path, scorer: LanguageScorer, causal: LanguageScorer, tokens: TokenizedRows
) -> None:
    for made in (scorer, causal, masked(model_folder, estimator="masked_pseudo", k=4)):
        found = score(made, tokens, 512)
        assert (found["generative_entropy"] >= 0).all()
        assert (found["generative_entropy"] <= np.log(made.network.config.vocab_size) + 1e-5).all()
        assert (found["loss"] >= 0).all()


def test_early_layers_stop_the_encoder_at_the_highest(model_folder: Path, tokens: TokenizedRows) -> None:
    from selectune.lightning_modules.scorers.probe import EntropyProbe

    whole = load_language_model(ModelSource(model_folder, "local:tiny"), "masked")
    probe = EntropyProbe(32, 3.0)
    early = LanguageScorer(
        load_language_model(ModelSource(model_folder, "local:tiny"), "masked"),
        ["generative_entropy", "embedding"], probe=probe, probe_layers=[1], embedding_layer=1,
    )  # fmt: skip
    assert len(early.network.bert.encoder.layer) == 1
    batch = tokens.padded(np.arange(6), 0)
    with torch.no_grad():
        found = early(batch)
        states = whole(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], output_hidden_states=True
        ).hidden_states[1]
        for row in range(6):
            real, content = batch["attention_mask"][row].bool(), ~batch["special"][row]
            np.testing.assert_allclose(found["embedding"][row], states[row][real].mean(0), atol=1e-5)
            predicted = probe(states[row][content]).mean()
            assert float(found["generative_entropy"][row]) == pytest.approx(float(predicted), abs=1e-5)


@pytest.mark.parametrize("estimator", ["masked", "masked_pseudo"])
def test_the_flops_charged_are_those_that_are_done(estimator: str, model_folder: Path, tokens: TokenizedRows) -> None:
    from selectune.costs.flops import count_flops

    made = masked(model_folder, estimator=estimator, k=3)
    batch = tokens.padded(np.array([0, 1, 2, 3]), 0)
    flops, product = made.flops()
    entropies = made.own_flops()[2]  # V entries: subtract the highest, exponentiate, add, multiply, add, ...
    vocabulary, width = made.network.get_output_embeddings().weight.shape
    assert entropies == (3 * vocabulary + 1) + (2 * vocabulary + 1) + (2 * width + 1)
    assert "analytic" in flops.method
    product -= entropies  # which no count of products sees
    charged = flops.of_batch(*batch["input_ids"].shape) * made.passes_of(int((~batch["special"]).sum(1).max()))
    charged += int((~batch["special"]).sum()) * product
    with torch.no_grad():
        done = count_flops(lambda: made(batch))
    assert charged == pytest.approx(done, rel=0.02)  # the pass for embeddings alone does without the head's transform


def test_the_flops_of_a_decoder_hold_for_long_rows_though_it_predicts_one_token_less() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    from selectune.costs.flops import count_flops

    config = LlamaConfig(hidden_size=64, num_hidden_layers=12, vocab_size=300, num_attention_heads=2)
    made = LanguageScorer(LlamaForCausalLM(config), NAMES, "causal")
    flops, product = made.flops()
    charged = flops.of_batch(1, 128) + 128 * (product - made.own_flops()[2])
    with torch.no_grad():
        done = count_flops(lambda: made(made.made_up(1, 128)))
    assert charged == pytest.approx(done, rel=1e-6)


def test_a_checkpoint_without_the_head_is_refused(model_folder: Path, tmp_path: Path) -> None:
    from transformers import AutoModel

    AutoModel.from_pretrained(model_folder).save_pretrained(tmp_path)
    with mistake(CheckpointError, "local:bare", "masked-LM"):
        load_language_model(ModelSource(tmp_path, "local:bare"), "masked")
    with mistake(CheckpointError, "masked_pseudo"):
        LanguageScorer(
            load_language_model(ModelSource(model_folder, "local:tiny"), "masked"), NAMES, "masked_pseudo", k=2
        )
