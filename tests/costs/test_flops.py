"""FLOPs are those of a count by hand, attention included, and counting them disturbs nothing."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel

from selectune.callbacks import CostLedger
from selectune.common.flop_formulas import adamw_flops, entropy_flops, logsumexp_flops, softmax_flops
from selectune.costs.flops import FlopModel, UnfitFlopsError, count_flops, made_up_row, measure_flops, model_flops
from selectune.lightning_modules.heads import ClassificationHead
from tests.mistakes import mistake, warned

VOCABULARY = 300


def bert(kind: type, width: int = 128, layers: int = 2, **more: Any) -> nn.Module:
    heads = width // 64
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        **more,
    )
    network: nn.Module = kind(config)
    return network


def gpt2() -> nn.Module:
    size = {"n_embd": 128, "n_layer": 2, "n_head": 2, "vocab_size": VOCABULARY}
    return GPT2LMHeadModel(GPT2Config(**size, bos_token_id=0, eos_token_id=0, loss_type="ForCausalLMLoss"))


def tokens(length: int, labels: bool = True) -> dict[str, torch.Tensor]:
    ids = torch.randint(0, VOCABULARY, (1, length))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return inputs | ({"labels": ids} if labels else {})


def text_and_class(length: int) -> dict[str, torch.Tensor]:
    return tokens(length, labels=False) | {"labels": torch.tensor([1])}


def layers_by_hand(length: int, width: int, layers: int) -> int:
    """Forward: four projections, two attention products, two feed-forward layers of four times the width."""
    inner = 4 * width
    return layers * (8 * length * width**2 + 4 * length**2 * width + 4 * length * width * inner)


def classifier_by_hand(length: int, width: int, layers: int) -> int:
    """With the pooler and two classes."""
    return layers_by_hand(length, width, layers) + 2 * width**2 + 2 * width * 2


def language_model_by_hand(length: int, width: int, layers: int, transform: bool) -> int:
    """With a vocabulary head, which in BERT transforms the states first."""
    head = 2 * length * width * VOCABULARY + transform * 2 * length * width**2
    return layers_by_hand(length, width, layers) + head


HEADS: dict[str, tuple[Callable[[], nn.Module], Any, Callable[[int], int]]] = {
    "classifier": (
        partial(bert, BertForSequenceClassification),
        text_and_class,
        partial(classifier_by_hand, width=128, layers=2),
    ),
    "masked": (
        partial(bert, BertForMaskedLM),
        tokens,
        partial(language_model_by_hand, width=128, layers=2, transform=True),
    ),
    "causal": (gpt2, tokens, partial(language_model_by_hand, width=128, layers=2, transform=False)),
}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("length", [7, 128, 512])
def test_flops_are_those_of_a_count_by_hand(head: str, length: int):
    make, inputs, by_hand = HEADS[head]
    network = make()
    forward = model_flops(network, inputs, backward=False)
    training = model_flops(network, inputs, backward=True)
    assert forward.of_batch(3, length) == pytest.approx(3 * by_hand(length), rel=0.02)
    assert training.of_batch(3, length) == pytest.approx(3 * 3 * by_hand(length), rel=0.02)
    assert forward.method == "products counted at L=13, checked at 32 (0.0 %)"


def test_flops_of_a_base_model():
    """As wide as BERT-base, with 2 of its 12 layers."""
    network = bert(BertForSequenceClassification, width=768, layers=2)
    training = model_flops(network, text_and_class, backward=True)
    for length in (128, 512):
        assert training.of_batch(1, length) == pytest.approx(3 * classifier_by_hand(length, 768, 2), rel=0.02)


def bert_base_step_by_hand(n_rows: int, length: int) -> int:
    """One training step of BERT-base (12 layers of 768 wide, 12 heads, 3,072 inside) on a batch, two classes.

    A product of (a, b) with (b, c) takes 2 a b c. Every product's inputs need a gradient, down to the embeddings, so
    each has two more of its size in the backward pass. AdamW takes 14 a weight; looking up an embedding takes nothing.
    """
    d, inside, layers, classes = 768, 3072, 12, 2
    projections = 4 * (2 * length * d * d)  # query, key, value and output
    scores_and_values = 2 * (2 * length * length * d)  # Q K^T and A V, over all heads
    feed_forward = 2 * (2 * length * d * inside)
    pooler, classifier = 2 * d * d, 2 * d * classes  # of the first position alone
    forward = layers * (projections + scores_and_values + feed_forward) + pooler + classifier
    embeddings = (30522 + 512 + 2) * d + 2 * d
    layer = 4 * (d * d + d) + (d * inside + inside) + (inside * d + d) + 2 * (2 * d)
    weights = embeddings + layers * layer + (d * d + d) + (classes * d + classes)
    return n_rows * 3 * forward + 14 * weights


@pytest.fixture(scope="module")
def bert_base() -> nn.Module:
    return BertForSequenceClassification(BertConfig())


@pytest.mark.parametrize("length", [128, 512])
def test_a_training_step_of_bert_base_is_the_count_by_hand(bert_base: nn.Module, length: int):
    """As the ledger charges it, on CPU with the default attention; tokens are charged apart from their padding."""
    costs, real = CostLedger(), 3 * length + 5
    trainer: Any = SimpleNamespace(optimizers=[torch.optim.AdamW(bert_base.parameters())], global_step=0)
    module: Any = SimpleNamespace(network=bert_base, head=ClassificationHead(["bad", "good"]))
    costs.on_train_start(trainer, module)
    trainer.global_step = 1
    batch = {"input_ids": torch.ones(4, length), "rows": np.arange(4), "n_tokens": real}
    costs.on_train_batch_end(trainer, module, None, {"micro_batches": [batch], "recomputed": 0}, 0)
    costs.on_train_end(trainer, module)
    (spent,) = costs.ledger.records
    assert spent.flops == pytest.approx(bert_base_step_by_hand(4, length), rel=0.02)
    assert (spent.examples, spent.tokens, spent.padded_tokens) == (4, real, 4 * length)
    assert bert_base.config._attn_implementation == "sdpa"  # type: ignore[union-attr]
    # 6 N D leaves attention out, which is L / 6 d of it.
    encoder = 12 * (4 * 768**2 + 2 * 768 * 3072)
    estimate = 6 * encoder * 4 * length
    assert (spent.flops - 14 * 109_483_778) / estimate == pytest.approx(1 + length / (6 * 768), rel=0.01)


def test_attention_counts_alike_spelled_out_or_fused():
    fused = bert(BertForSequenceClassification)
    spelled = bert(BertForSequenceClassification, attn_implementation="eager")
    flops = [model_flops(network, text_and_class, backward=True).quadratic for network in (fused, spelled)]
    assert flops[0] == flops[1] == 3 * 2 * 4 * 128


def test_a_frozen_body_costs_no_backward_pass():
    network = bert(BertForSequenceClassification)
    network.bert.requires_grad_(False)  # type: ignore[union-attr]
    training = model_flops(network, text_and_class, backward=True).of_batch(1, 64)
    assert training == pytest.approx(classifier_by_hand(64, 128, 2), rel=0.02)


def test_counting_disturbs_nothing():
    network = bert(BertForSequenceClassification)
    network.bert.eval()  # type: ignore[union-attr]
    network(**text_and_class(5)).loss.backward()
    gradients = {name: each.grad.clone() for name, each in network.named_parameters() if each.grad is not None}
    weights = {name: each.clone() for name, each in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    threads = torch.get_num_threads()
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    expected = torch.rand(1), np.random.rand(), random.random()
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    with torch.no_grad():
        model_flops(network, text_and_class, backward=True)
        assert not torch.is_grad_enabled()
    assert (torch.rand(1), np.random.rand(), random.random()) == expected
    assert [module.training for module in network.modules()] == modes
    assert torch.get_num_threads() == threads
    assert all(torch.equal(each, weights[name]) for name, each in network.state_dict().items())
    now = {name: each.grad for name, each in network.named_parameters() if each.grad is not None}
    assert now.keys() == gradients.keys()
    assert all(torch.equal(each, gradients[name]) for name, each in now.items())


class Devices(TorchDispatchMode):
    """Remembers where the products of weights were done."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default):
            self.seen |= {one.device.type for one in args if isinstance(one, torch.Tensor)}
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("recomputed", [False, True])
def test_no_device_computes_what_is_counted(recomputed: bool) -> None:
    network = bert(BertForSequenceClassification)
    if recomputed:
        network.gradient_checkpointing_enable()  # type: ignore[operator]
    with Devices() as devices:
        model_flops(network, partial(made_up_row, network), backward=True)
    assert devices.seen == {"meta"}
    assert {parameter.device.type for parameter in network.parameters()} == {"cpu"}


def test_a_network_that_looks_at_values_is_counted_with_its_own() -> None:
    class Looking(BertForSequenceClassification):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            assert self.classifier.weight.sum().isfinite().item()
            return super().forward(*args, **kwargs)

    looking, other = bert(Looking), bert(BertForSequenceClassification)
    with Devices() as devices:
        counted = model_flops(looking, partial(made_up_row, looking), backward=True)
    assert devices.seen == {"cpu"}
    assert counted == model_flops(other, partial(made_up_row, other), backward=True)


def test_what_a_pass_keeps_in_the_network_is_not_left_behind() -> None:
    class Keeping(BertForSequenceClassification):
        def forward(self, input_ids: torch.Tensor, **kwargs: Any) -> Any:
            length = input_ids.shape[1]
            self.places = torch.arange(length, device=input_ids.device)
            self.shapes = {**getattr(self, "shapes", {}), length: self.places}
            self.register_buffer("ones", torch.ones(1, device=input_ids.device), persistent=False)
            return super().forward(input_ids, position_ids=self.places[None], **kwargs)

    network = bert(Keeping).eval()
    before = set(vars(network)), dict(network.named_buffers())
    with Devices() as devices:
        model_flops(network, partial(made_up_row, network), backward=True)
    assert devices.seen == {"meta"}
    assert (set(vars(network)), dict(network.named_buffers())) == before
    assert network(torch.ones(1, 5, dtype=torch.long)).logits.device.type == "cpu"


def test_a_network_that_writes_a_value_is_counted_as_it_is() -> None:
    class Writing(BertForSequenceClassification):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            out = super().forward(*args, **kwargs)
            self.seen = f"{out.logits.sum():.3f}"  # a TypeError where there is no data
            return out

    network, other = bert(Writing), bert(BertForSequenceClassification)
    counted = model_flops(network, partial(made_up_row, network), backward=True)
    assert counted == model_flops(other, partial(made_up_row, other), backward=True)


def test_a_model_of_few_positions_is_counted_at_shorter_lengths():
    network = bert(BertForSequenceClassification, max_position_embeddings=16)
    flops = model_flops(network, text_and_class, backward=False)
    assert flops.method == "products counted at L=11, checked at 12 (0.0 %)"
    assert flops.of_batch(1, 16) == pytest.approx(classifier_by_hand(16, 128, 2))


def test_it_works_inside_inference_mode():
    network = bert(BertForSequenceClassification)
    with torch.inference_mode():
        assert model_flops(network, text_and_class, backward=True).linear > 0


def test_flops_that_are_not_quadratic_are_refused():
    def cubic(length: int) -> None:
        torch.ones(length, length) @ torch.ones(length, length)

    with mistake(UnfitFlopsError, "L=8,16,24", 32):
        measure_flops(cubic)


def test_attention_that_was_not_counted_is_said():
    class Deaf(nn.Module):
        """Has heads, by its config, but no attention that is counted."""

        def __init__(self) -> None:
            super().__init__()
            self.config = BertConfig()
            self.layer = nn.Linear(4, 4)

        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            return self.layer(input_ids[..., None].expand(-1, -1, 4).float())

    with warned(UserWarning, "Deaf"):
        model_flops(Deaf(), lambda length: {"input_ids": torch.ones(1, length)}, backward=False)


def test_the_fit_is_the_quadratic_through_its_counts():
    flops = FlopModel.fit({1: 6.0, 2: 17.0, 3: 34.0, 4: 57.0}, check=4)
    assert (flops.constant, flops.linear, flops.quadratic) == (1, 2, 3)


def test_a_count_is_one_of_products_alone():
    left, right = torch.ones(3, 5), torch.ones(5, 7)
    assert count_flops(lambda: (left @ right).softmax(-1)) == 2 * 3 * 5 * 7


def test_analytic_terms():
    assert adamw_flops(1000) == 14_000
    assert softmax_flops(2, 10) == 2 * (10 + 10 + 9 + 10)
    assert logsumexp_flops(2, 10) == 2 * (10 + 10 + 9 + 1 + 1)
    assert entropy_flops(2, 10) == 2 * (10 + 10 + 9 + 1 + 1 + 10 + 9 + 1 + 1)  # and p z for each, divided, subtracted
