"""A language model that texts are scored and continued by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from selectune.common.errors import CheckpointError
from selectune.data.sources import find_model
from selectune.data.tokens import load_tokenizer
from selectune.evaluations import language_model, masked_model
from selectune.evaluations.language_model import CausalModel, Spent
from selectune.evaluations.masked_model import MaskedModel
from selectune.lightning_modules.heads.base import load_network
from tests.conftest import sentences
from tests.mistakes import mistake

TEXTS, _ = sentences(40, seed=21)


@pytest.fixture
def model(causal_folder: Path) -> CausalModel:
    return opened(causal_folder)


def opened(folder: Path) -> CausalModel:
    source = find_model(str(folder))
    network, _ = load_network("AutoModelForCausalLM", source)
    return CausalModel(network.eval(), load_tokenizer(folder), source.described)


def harness(model: CausalModel, context: str, continuation: str) -> float:
    """The log probability of a continuation by lm-evaluation-harness' formula, in a plain loop."""
    while context.endswith(" "):
        context, continuation = context[:-1], " " + continuation
    encode = lambda text: model.tokenizer(text, add_special_tokens=False)["input_ids"]  # noqa: E731
    before = encode(context) if context else [model.stop]
    whole = encode(context + continuation) if context else before + encode(continuation)
    total, after = 0.0, whole[len(before) :]
    for place in range(len(before), len(whole)):
        with torch.no_grad():
            logits = model.network(input_ids=torch.tensor([whole[:place]])).logits[0, -1]
        total += float(logits.double().log_softmax(-1)[whole[place]])
    assert len(after) == len(whole) - len(before)
    return total


def test_scores_are_those_of_the_harness(model: CausalModel) -> None:
    contexts = [*TEXTS[:12], "", f"{TEXTS[3]}  "]
    following = [f" {text.split()[0]} {text.split()[-1]}" for text in TEXTS[12:26]]
    scored = model.score(contexts, following)
    expected = [harness(model, *pair) for pair in zip(contexts, following)]
    np.testing.assert_allclose(scored.log_probability, expected, atol=1e-4)
    assert (scored.tokens == 2).all()


def test_a_long_text_is_cut_at_its_beginning(model: CausalModel) -> None:
    long = " ".join(TEXTS * 30)
    assert len(model.tokens_of(long)) > model.room
    short = model.tokenizer.decode(model.tokens_of(long)[-model.room :])
    pairs = model.score([long, short], [" good", " good"])
    assert pairs.log_probability[0] == pytest.approx(pairs.log_probability[1], abs=1e-3)


def test_of_a_continuation_that_is_too_long_the_last_tokens_are_predicted(model: CausalModel) -> None:
    long = f" {' '.join(TEXTS * 30)}"
    ids = model.tokens_of(f"{TEXTS[0]}{long}")
    assert len(model.tokens_of(long)) > model.room
    scored = model.score([TEXTS[0], TEXTS[1]], [long, " good"])
    with torch.no_grad():
        logits = model.network(input_ids=torch.tensor([ids[:-1][-model.room :]])).logits[0].double().log_softmax(-1)
    expected = logits.gather(1, torch.tensor(ids[-model.room :])[:, None]).sum()
    assert scored.log_probability[0] == pytest.approx(float(expected), abs=1e-3)
    assert scored.log_probability[1] == pytest.approx(harness(model, TEXTS[1], " good"), abs=1e-4)
    assert scored.tokens.tolist() == [model.room, 1]


def test_a_context_without_tokens_is_an_empty_one(model: CausalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    empty, tokens_of = model.score([""], [" good"]), model.tokens_of
    monkeypatch.setattr(model, "tokens_of", lambda text: tokens_of(text.removeprefix("\u200b")))
    assert model.score(["\u200b"], [" good"]).log_probability == pytest.approx(empty.log_probability)


def test_losses_are_of_every_token_but_the_first(model: CausalModel) -> None:
    scored = model.losses([TEXTS[0], TEXTS[1].split()[0], TEXTS[2]], max_length=6)
    assert scored.tokens[1] == 0
    assert scored.log_probability[1] == 0
    ids = model.tokens_of(TEXTS[2])[:6]
    with torch.no_grad():
        logits = model.network(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)
    assert scored.log_probability[2] == pytest.approx(sum(float(logits[i, ids[i + 1]]) for i in range(5)), abs=1e-4)
    assert scored.tokens[2] == 5


def test_continuations_are_the_same_in_any_company(model: CausalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = np.arange(9, dtype=np.uint64) + 5
    settings: dict[str, Any] = {"seed": 3, "samples": 4, "max_new_tokens": 6, "top_p": 0.9}
    together = model.continued(TEXTS[:9], hashes, **settings)
    assert [len(of_prompt) for of_prompt in together] == [4] * 9
    assert len({text for of_prompt in together for text in of_prompt}) > 10
    for row in (0, 4, 8):
        assert model.continued([TEXTS[row]], hashes[[row]], **settings) == [together[row]]
    monkeypatch.setattr(language_model, "BATCH_TOKENS", 64)
    assert model.continued(TEXTS[:9], hashes, **settings) == together
    assert model.continued(TEXTS[:9], hashes, **settings | {"seed": 4}) != together


def test_work_is_counted(model: CausalModel) -> None:
    model.score(TEXTS[:3], [" good"] * 3)
    scored = model.spent.flops
    assert scored
    assert model.spent.examples == 3
    assert model.spent.tokens <= model.spent.padded_tokens
    model.continued(TEXTS[:2], np.zeros(2, np.uint64), 0, 2, 3, 0.9)
    assert (model.spent.flops or 0) > scored
    assert model.spent.examples == 3 + 4


def test_the_flops_of_continuations_are_those_that_are_spent(model: CausalModel) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    prompts = [TEXTS[0], TEXTS[1]]
    assert model.flops is not None, "which is measured, and counted apart"
    model.spent = Spent()
    with FlopCounterMode(display=False) as counter:
        model.continued(prompts, np.array([5, 6], np.uint64), 0, samples=4, max_new_tokens=6, top_p=0.9)
    products = counter.get_total_flops()  # the softmax, which it leaves out, is 7 % of so narrow a model
    assert products < model.spent.flops < 1.1 * products
    longest = max(len(model.tokens_of(prompt)) for prompt in prompts)
    assert (model.spent.examples, model.spent.padded_tokens) == (8, 2 * longest + 8 * 5)
    real = sum(len(model.tokens_of(prompt)) for prompt in prompts)
    assert real < model.spent.tokens <= real + 8 * 5, "the last token that is drawn is not read"


def test_labels_of_one_token_are_scored_by_one_pass_whose_product_is_made_at_one_place(model: CausalModel) -> None:
    words = TEXTS[1].split()
    labels = [f" {words[0]}", f" {words[1]}", f" {words[0]} {words[1]}"]
    assert [len(model.tokens_of(label)) for label in labels] == [1, 1, 2]
    single = [float(model.score([TEXTS[0]], [label]).log_probability[0]) for label in labels]
    model.spent = both = Spent()
    model.score([TEXTS[0]] * 3, labels)
    assert both.examples == 2, "the first two labels are read as one row"
    flops = both.flops
    np.testing.assert_allclose(model.score([TEXTS[0]] * 3, labels).log_probability, single, atol=1e-5)
    length = len(model.tokens_of(TEXTS[0]))
    product = 2 * model.network.get_output_embeddings().weight.numel()
    whole = model.flops_of(2, length + 1)
    assert whole is not None
    assert flops == pytest.approx(whole - product * (2 * (length + 1) - 3)), "one place and two are predicted"


def test_a_masked_model_is_refused(model_folder: Path) -> None:
    network, _ = load_network("AutoModelForMaskedLM", find_model(str(model_folder)))
    with mistake(CheckpointError, "tiny", "data.objective"):
        CausalModel(network, load_tokenizer(model_folder), "local:tiny")


@pytest.fixture
def masked(model_folder: Path) -> MaskedModel:
    source = find_model(str(model_folder))
    network, _ = load_network("AutoModelForMaskedLM", source)
    return MaskedModel(network.eval(), load_tokenizer(model_folder), source.described)


def test_a_masked_model_predicts_every_token_once_from_the_others(masked: MaskedModel) -> None:
    scored = masked.losses([*TEXTS[:4], ""], max_length=12)
    assert scored.tokens.tolist() == [*(min(len(masked.tokens_of(text)), 10) for text in TEXTS[:4]), 0]
    assert scored.log_probability[4] == 0
    seen, total = [], 0.0
    ids = masked.tokenizer(TEXTS[0], truncation=True, max_length=12)["input_ids"]
    for inputs in inputs_of(masked, TEXTS[0], 12):
        where = [i for i, (token, own) in enumerate(zip(inputs, ids)) if token != own]
        assert {inputs[i] for i in where} == {masked.tokenizer.mask_token_id}
        with torch.no_grad():
            logits = masked.network(input_ids=torch.tensor([inputs])).logits[0].double().log_softmax(-1)
        total += sum(float(logits[i, ids[i]]) for i in where)
        seen += where
    assert sorted(seen) == list(range(1, len(ids) - 1)), "all but the two special tokens, each once"
    assert scored.log_probability[0] == pytest.approx(total, abs=1e-4)


def inputs_of(model: MaskedModel, text: str, max_length: int) -> list[list[int]]:
    """The rows that the network was given to score a text."""
    given: list[list[int]] = []

    def note(module: Any, args: Any, kwargs: Any) -> None:
        given.extend(kwargs["input_ids"].tolist())

    hook = model.network.register_forward_pre_hook(note, with_kwargs=True)
    try:
        model.losses([text], max_length)
    finally:
        hook.remove()
    return given


def test_masks_do_not_depend_on_company(masked: MaskedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    together = masked.losses(TEXTS[:9], 16)
    monkeypatch.setattr(masked_model, "BATCH_TOKENS", 16)
    np.testing.assert_allclose(masked.losses(TEXTS[:9], 16).log_probability, together.log_probability, atol=1e-5)
    np.testing.assert_allclose(masked.losses(TEXTS[3:4], 16).log_probability, together.log_probability[3:4], atol=1e-5)
    assert masked.spent.flops


def test_a_causal_model_is_no_masked_one(causal_folder: Path) -> None:
    network, _ = load_network("AutoModelForCausalLM", find_model(str(causal_folder)))
    tokenizer = load_tokenizer(causal_folder)
    tokenizer.mask_token = None
    with mistake(CheckpointError, "gpt2", "data.objective"):
        MaskedModel(network, tokenizer, "local:gpt2")
