"""The last layer of a classifier is computed where it is read, and the loss and its gradients stay the same."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from selectune import FineTuner
from selectune.costs.flops import made_up_row, model_flops
from selectune.data.sources import ModelSource, find_model
from selectune.lightning_modules.heads import ClassificationHead, Output, RegressionHead, load_network
from selectune.lightning_modules.heads.base import CLASSIFIER, compile_body, recompute_activations
from selectune.lightning_modules.heads.first_position import read_first_position
from selectune.lightning_modules.lora import Adapter, Lora
from tests.conftest import BAD, GOOD, WORDS, Shared
from tests.random_models import ARCHITECTURES, make_model
from tests.trainers import trainer_for

FIRST = ("bert", "roberta", "distilbert", "deberta", "deberta-v2", "electra", "electra-generator")
OTHER = [name for name in ARCHITECTURES if name not in (*FIRST, "t5-encoder")]


def classifier(name: str, shared: Shared) -> Any:
    folder = shared(f"a-{name}", partial(make_model, name=name, words=[*WORDS, *GOOD, *BAD, *"0123456"]))
    return load_network(CLASSIFIER, find_model(str(folder)), num_labels=3)[0].eval()


def gradients(network: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Logits of rows of several lengths, and the gradients of their loss."""
    ids = torch.arange(40).view(4, 10) % network.config.vocab_size
    real = (torch.arange(10) < torch.tensor([[10], [7], [3], [1]])).long()
    network.zero_grad()
    logits = network(input_ids=ids, attention_mask=real).logits
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0])).backward()
    return logits.detach(), {name: weights.grad for name, weights in network.named_parameters()}


@pytest.mark.parametrize("name", FIRST)
def test_logits_and_gradients_stay_and_flops_fall(name: str, shared: Shared) -> None:
    whole = classifier(name, shared)
    first = copy.deepcopy(whole)
    assert read_first_position(first)
    (logits, expected), (found, grads) = gradients(whole), gradients(first)
    torch.testing.assert_close(found, logits, atol=1e-5, rtol=1e-4)
    for weights, gradient in expected.items():
        if gradient is not None:
            torch.testing.assert_close(grads[weights], gradient, atol=1e-5, rtol=1e-3, msg=weights)
    counts = [model_flops(one, partial(made_up_row, one), True).of_batch(1, 30) for one in (whole, first)]
    assert counts[1] < 0.92 * counts[0], "a quarter of a layer of three and its attention remain"


@pytest.mark.parametrize("name", OTHER)
def test_a_network_that_reads_other_positions_stays(name: str, shared: Shared) -> None:
    network = classifier(name, shared)
    hooks = sum(len(module._forward_pre_hooks) for module in network.modules())
    assert not read_first_position(network)
    assert sum(len(module._forward_pre_hooks) for module in network.modules()) == hooks


def test_a_bert_whose_classifier_reads_the_mean_stays(shared: Shared) -> None:
    network = classifier("bert", shared)
    network.bert.pooler.forward = lambda states: states.mean(1)
    assert not read_first_position(network)
    network = classifier("bert", shared)
    torch.nn.init.zeros_(network.classifier.weight)
    assert not read_first_position(network), "logits that depend on nothing say nothing"


def test_a_last_layer_that_mixes_positions_after_its_attention_stays(shared: Shared) -> None:
    network = classifier("bert", shared)
    intermediate = network.bert.encoder.layer[-1].intermediate
    dense = intermediate.dense.forward
    intermediate.dense.forward = lambda states: dense(states + states.mean(1, keepdim=True))
    assert not read_first_position(network)
    intermediate.dense.forward = lambda states: dense(states[:, [0, 1, 2, 3, 4, 5]])
    assert not read_first_position(network), "and one that cannot do without them"


def test_a_network_that_cannot_be_tried_stays(shared: Shared) -> None:
    network = classifier("bert", shared)
    network.config.chunk_size_feed_forward = 4  # six positions cannot be cut into chunks of four
    for layer in network.bert.encoder.layer:
        layer.chunk_size_feed_forward = 4
    assert not read_first_position(network)
    assert network.training is False
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in network.modules())


@pytest.mark.parametrize("way", ["recomputed", "compiled", "adapted"])
def test_it_goes_with_what_else_changes_a_network(way: str, shared: Shared, tmp_path: Path) -> None:
    whole = classifier("bert", shared)
    source = find_model(str(shared("a-bert", lambda _: None)))
    for module in whole.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    first = copy.deepcopy(whole)
    assert read_first_position(first)
    for network in (whole, first):
        network.train()  # activations are computed again there alone
        if way == "recomputed":
            recompute_activations(network, source)
        elif way == "compiled":
            compile_body(network, "aot_eager")
        else:
            torch.manual_seed(0)  # of the adapters' matrices
            Adapter(network, Lora(r=2), CLASSIFIER, [], "tiny", source)
    (logits, expected), (found, grads) = gradients(whole), gradients(first)
    torch.testing.assert_close(found, logits, atol=1e-5, rtol=1e-4)
    assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in expected.values())
    for name, gradient in expected.items():
        if gradient is not None:
            torch.testing.assert_close(grads[name], gradient, atol=1e-5, rtol=1e-3, msg=name)
    if way != "adapted":
        first.save_pretrained(tmp_path)
        network, missing = load_network(CLASSIFIER, find_model(str(tmp_path)))
        assert not missing
        states = network(torch.ones(1, 7, dtype=torch.long), output_hidden_states=True).hidden_states
        assert states[-1].shape[1] == 7, "what is saved is a network like any"


class OwnForward(ClassificationHead):
    """A head that reads more than logits."""

    def forward(self, network: Any, batch: dict[str, Any]) -> Output:
        return super().forward(network, batch)


class OwnBuild(ClassificationHead):
    """A head whose network may read other positions."""

    def build(self, source: ModelSource, trained: bool = False) -> Any:
        return super().build(source, trained)


class OwnPredict(RegressionHead):
    """A head whose predictions may be of other states."""

    def predict(self, network: Any, batch: dict[str, Any]) -> dict[str, Any]:
        return super().predict(network, batch)


@pytest.mark.parametrize(
    ("head", "length"),
    [
        (ClassificationHead(["a", "b"]), 1), (RegressionHead(), 1), (OwnForward(["a", "b"]), 7),
        (OwnBuild(["a", "b"]), 7), (OwnPredict(), 7),
    ],
    ids=lambda one: type(one).__name__,
)  # fmt: skip
def test_heads_that_build_or_call_the_network_by_themselves_get_it_whole(
    head: Any, length: int, shared: Shared
) -> None:
    classifier("bert", shared)
    module = FineTuner(str(shared("a-bert", lambda _: None)), head=head, seed=0)
    module.trainer = trainer_for()
    module.configure_model()
    states = module.network(torch.ones(1, 7, dtype=torch.long), output_hidden_states=True).hidden_states
    assert states[-1].shape[1] == length
