"""Passes of real networks, in which the host waits for no device."""

from __future__ import annotations

import copy
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_map

from selectune import FineTuner
from selectune.data.sources import find_model
from selectune.lightning_modules.heads import (
    CausalLMHead,
    ClassificationHead,
    Head,
    MaskedLMHead,
    load_network,
    network_inputs,
)
from selectune.lightning_modules.heads.base import CLASSIFIER
from selectune.lightning_modules.scorers.language import HEADS, Estimator, LanguageScorer
from tests.conftest import BAD, GOOD, WORDS, Shared
from tests.on_a_device.conftest import Place
from tests.random_models import make_model
from tests.trainers import Crossings

LENGTHS = {"padded": [10, 7, 3, 1], "full": [10, 10, 10, 10]}


def network_of(name: str, shared: Shared, auto_class: str = CLASSIFIER) -> Any:
    folder = shared(f"a-{name}", partial(make_model, name=name, words=[*WORDS, *GOOD, *BAD, *"0123456"]))
    labels = {"num_labels": 3} if auto_class == CLASSIFIER else {}
    return load_network(auto_class, find_model(str(folder)), **labels)[0].eval()


def batch_of(network: Any, lengths: list[int]) -> dict[str, Any]:
    ids = 1 + torch.arange(40).view(4, 10) % (network.config.vocab_size - 1)
    real = (torch.arange(10) < torch.tensor(lengths)[:, None]).long()
    special = (real == 0) | (torch.arange(10) == 0)
    batch = {"input_ids": ids, "attention_mask": real, "token_type_ids": torch.zeros_like(ids), "special": special}
    return batch | {"labels": torch.tensor([0, 1, 2, 0]), "rows": [0, 1, 2, 3], "n_tokens": sum(lengths)}


def moved(batch: dict[str, Any], device: torch.device) -> Any:
    return tree_map(lambda one: one.to(device) if isinstance(one, torch.Tensor) else one, batch)


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "albert", "electra-generator"])
def test_a_step_of_an_encoder_learns_as_on_a_cpu_and_waits_for_nothing(
    name: str, lengths: list[int], there: Place, shared: Shared
) -> None:
    network = network_of(name, shared)
    _learns_as_on_a_cpu(network, ClassificationHead(list("abc")), batch_of(network, lengths), there)


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("task", ["causal", "classes"])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_step_of_a_decoder_waits_for_one_answer_where_all_is_text(
    name: str, task: str, lengths: list[int], there: Place, shared: Shared
) -> None:
    head = CausalLMHead(7) if task == "causal" else ClassificationHead(list("abc"))
    network = network_of(name, shared, head.auto_class)
    network.config.pad_token_id = 0
    batch = batch_of(network, lengths)
    # a classifier finds the end of a text by its padding
    batch["input_ids"] = batch["input_ids"] * batch["attention_mask"]
    full = min(lengths) == max(lengths)
    _learns_as_on_a_cpu(network, head, batch | CausalLMHead.known_on_host(batch), there, waits=full)


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "albert", "electra-generator"])
def test_a_step_of_a_masked_model_has_the_masks_of_a_cpu_and_waits_for_nothing(
    name: str, lengths: list[int], there: Place, shared: Shared
) -> None:
    head = MaskedLMHead(4, 12, probability=0.5)
    network = network_of(name, shared, head.auto_class)
    batch = batch_of(network, lengths)
    _learns_as_on_a_cpu(network, head, batch | head.known_on_host(batch), there)


def _learns_as_on_a_cpu(network: Any, head: Head, batch: dict[str, Any], there: Place, waits: bool = False) -> None:
    there_too = copy.deepcopy(network).to(there.device)
    steps = {}
    for device, one in ((torch.device("cpu"), network), (there.device, there_too)):
        module = FineTuner("none", head=head)
        module.network, module._trainer = one, SimpleNamespace(world_size=1)  # type: ignore[assignment]
        module.log = lambda *_, **more: None  # type: ignore[method-assign]
        step = {"micro_batches": [moved(batch, device)], "recomputed": 0, "n_rows": 4}
        with Crossings(there.device) as crossings:
            loss = module.training_step(step, 0)
            loss.backward()
        steps[device.type] = loss.item(), {key: weights.grad for key, weights in one.named_parameters()}
    assert crossings.seen == ["aten._local_scalar_dense.default"] * waits
    (loss, expected), (same, found) = steps.values()
    assert same == pytest.approx(loss, rel=1e-5)
    for key, gradient in expected.items():
        if gradient is not None:
            torch.testing.assert_close(found[key].cpu(), gradient, atol=1e-5, rtol=1e-3, msg=key)


@pytest.mark.parametrize(
    ("name", "lengths", "config"),
    [
        ("modernbert", [10, 7, 3, 1], {}),
        ("deberta", [10, 7, 3, 1], {}),
        ("llama", [10, 7, 3, 1], {"is_causal": False}),
        ("llama", [10, 10, 10, 10], {}),  # for which transformers takes a kernel that needs no mask
    ],
)
def test_what_may_read_a_mask_in_another_way_gets_it_as_it_is(
    name: str, lengths: list[int], config: dict[str, Any], shared: Shared
) -> None:
    network = network_of(name, shared)
    network.config.update(config)
    batch = moved(batch_of(network, lengths), torch.device("meta"))
    assert network_inputs(network, batch)["attention_mask"] is batch["attention_mask"]


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("wanted", [["generative_entropy", "loss", "embedding"], ["embedding"]], ids=["exact", "alone"])
@pytest.mark.parametrize(
    ("name", "estimator"), [("bert", "masked"), ("bert", "masked_pseudo"), ("gpt2", "causal"), ("llama", "causal")]
)
def test_a_pass_of_a_scorer_waits_for_no_more(
    name: str, estimator: Estimator, wanted: list[str], lengths: list[int], there: Place, shared: Shared
) -> None:
    if estimator == "masked_pseudo":
        wanted = [signal for signal in wanted if signal != "embedding"] or ["loss"]
    network = network_of(name, shared, HEADS[estimator][0])
    made = partial(LanguageScorer, wanted=wanted, estimator=estimator, k=3, mask_id=4)
    batch = batch_of(network, lengths) | {"index": 0}
    expected = made(copy.deepcopy(network)).predict_step(batch, 0)
    scorer = made(network).to(there.device)
    known = moved(batch | scorer.places(batch), there.device)
    with torch.no_grad(), Crossings() as crossings:
        found = scorer.predict_step(known, 0)
    asked = estimator == "causal" and min(lengths) == max(lengths)
    assert crossings.seen == ["aten._local_scalar_dense.default"] * asked
    for name in wanted:
        torch.testing.assert_close(found[name].cpu(), expected[name], atol=1e-5, rtol=1e-4)
