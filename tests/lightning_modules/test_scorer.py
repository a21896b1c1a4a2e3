"""Signals of the forward pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from selectune.batching import plan_batches
from selectune.errors import CheckpointError
from selectune.lightning_modules.scorer import Scorer
from selectune.sources import ModelSource
from selectune.tokenization import TokenizedRows, load_tokenizer, tokenize
from tests.conftest import sentences

NAMES = ["generative_entropy", "embedding"]


@pytest.fixture(scope="module")
def tokens(model_folder: Path) -> TokenizedRows:
    texts = [(text,) for text in sentences(40, seed=5, length=(1, 25))[0]]
    return tokenize(lambda rows: texts[rows], len(texts), load_tokenizer(model_folder), 32)


@pytest.fixture(scope="module")
def scorer(model_folder: Path) -> Scorer:
    return Scorer(ModelSource(model_folder, "local:tiny"), NAMES)


def score(scorer: Scorer, tokens: TokenizedRows, max_tokens: int) -> dict[str, np.ndarray]:
    found = {name: [None] * len(tokens) for name in NAMES}
    for rows in plan_batches(tokens.lengths, max_tokens):
        with torch.no_grad():
            signals = scorer(tokens.padded(rows, 0))
        for name in NAMES:
            for row, value in zip(rows, signals[name].numpy()):
                found[name][row] = value
    return {name: np.stack(values) for name, values in found.items()}


def test_signals_do_not_depend_on_batching(scorer: Scorer, tokens: TokenizedRows) -> None:
    one_by_one, all_at_once = score(scorer, tokens, 1), score(scorer, tokens, 100_000)
    for name in NAMES:
        np.testing.assert_allclose(one_by_one[name], all_at_once[name], atol=1e-5, rtol=0)


def test_signals_equal_a_slow_loop_over_whole_logits(model_folder: Path, scorer: Scorer, tokens: TokenizedRows) -> None:
    from transformers import AutoModelForMaskedLM

    network = AutoModelForMaskedLM.from_pretrained(model_folder).eval()
    fast = score(scorer, tokens, 256)
    for row in range(len(tokens)):
        ids = torch.tensor(tokens.ids[tokens.offsets[row] : tokens.offsets[row + 1]], dtype=torch.long)[None]
        with torch.no_grad():
            output = network(input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True)
        chances = output.logits[0].double().softmax(-1)
        entropies = -(chances * chances.log()).sum(-1)
        content = ~torch.from_numpy(tokens.special[tokens.offsets[row] : tokens.offsets[row + 1]])
        assert fast["generative_entropy"][row] == pytest.approx(float(entropies[content].mean()), abs=1e-5)
        np.testing.assert_allclose(fast["embedding"][row], output.hidden_states[-1][0].mean(0), atol=1e-5)


def test_an_entropy_lies_in_its_bounds(scorer: Scorer, tokens: TokenizedRows) -> None:
    entropy = score(scorer, tokens, 512)["generative_entropy"]
    assert (entropy >= 0).all()
    assert (entropy <= np.log(scorer.network.config.vocab_size) + 1e-6).all()


def test_embeddings_alone_need_no_language_model_head(
    model_folder: Path, tmp_path: Path, tokens: TokenizedRows
) -> None:
    from transformers import AutoModel

    AutoModel.from_pretrained(model_folder).save_pretrained(tmp_path)
    source = ModelSource(tmp_path, "local:bare")
    bare = Scorer(source, ["embedding"])
    with torch.no_grad():
        assert bare(tokens.padded(np.arange(3), 0))["embedding"].shape == (3, 32)
    with pytest.raises(CheckpointError, match="no trained masked-LM head"):
        Scorer(source, NAMES)
