"""Dropout on a CPU has the distribution of PyTorch's."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from selectune import FineTuner, TextClassification
from selectune.data.sources import find_model
from selectune.lightning_modules import fine_tuner
from selectune.lightning_modules.cpu_dropout import CpuDropout, has_dropout
from selectune.lightning_modules.heads import load_network
from selectune.lightning_modules.heads.base import CLASSIFIER, recompute_activations
from tests.trainers import trainer_for


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_values_are_kept_as_often_as_asked_and_their_mean_stays(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    ones = torch.ones(1001, 999, dtype=dtype)  # four numbers of 16 bits make one draw, so the last draw is cut
    with CpuDropout():
        dropped = F.dropout(ones, p)
    assert dropped.dtype == dtype
    assert len(dropped.unique()) == 2
    kept = (dropped != 0).double()
    spread = (p * (1 - p) / ones.numel()) ** 0.5
    assert kept.mean().item() == pytest.approx(1 - p, abs=4 * spread + 2**-17)
    assert dropped.max().item() == pytest.approx(1 / (1 - p), rel=2**-8 if dtype == torch.bfloat16 else 2**-12)
    flat = kept.flatten() - kept.mean()
    for lag in (1, 2, 3, 4, 5, 999):
        correlation = (flat[lag:] * flat[:-lag]).mean() / (p * (1 - p))
        assert abs(correlation.item()) < 4 / ones.numel() ** 0.5, f"values {lag} apart are drawn together"


def test_the_mean_is_the_value_to_the_last_bit() -> None:
    """0.9 is no 65536th, so what is kept is scaled by the inverse of what is really kept."""
    with CpuDropout():
        scale = F.dropout(torch.ones(1000, dtype=torch.float64), 0.1).max().item()
    assert scale * 58982 / 65536 == 1.0


def test_the_seed_decides_and_gradients_are_of_the_values_that_are_kept() -> None:
    values = torch.randn(7, 5, requires_grad=True)
    drawn: list[Tensor] = []
    for _ in range(2):
        torch.manual_seed(3)
        with CpuDropout():
            drawn += [F.dropout(values, 0.4), F.dropout(values, 0.4)]
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1]), "the generator goes on"
    drawn[0].sum().backward()
    torch.testing.assert_close(values.grad, drawn[0].detach() / values.detach())


def left(**options: Any) -> Any:
    return pytest.param(options, id=next(iter(options)))


@pytest.mark.parametrize("how", [left(training=False), left(p=0.0), left(p=1.0), left(p=1e-7), left(inplace=True)])
def test_other_dropout_is_left_to_pytorch(how: dict[str, Any]) -> None:
    drawn = []
    for mode in (CpuDropout, torch.no_grad):
        torch.manual_seed(0)
        with mode():
            drawn.append(F.dropout(torch.arange(100.0), **{"p": 0.3, **how}))
    assert torch.equal(*drawn)


def test_another_device_is_left_to_pytorch() -> None:
    query = torch.empty(2, 3, 4, 8, device="meta")
    with CpuDropout():
        assert F.dropout(query, 0.3).device.type == "meta"
        assert F.scaled_dot_product_attention(query, query, query, dropout_p=0.3).device.type == "meta"


MASK = torch.ones(2, 1, 5, 5, dtype=torch.bool)
MASK[1, :, :, 3:] = False
ATTENTION: dict[str, dict[str, Any]] = {
    "plain": {}, "scaled": {"scale": 0.1}, "causal": {"is_causal": True}, "masked": {"attn_mask": MASK},
    "added": {"attn_mask": torch.zeros(5, 5).masked_fill(~MASK[1, 0], -torch.inf)}, "grouped": {"enable_gqa": True},
}  # fmt: skip


def attended(options: dict[str, Any], p: float) -> Tensor:
    torch.manual_seed(1)
    heads = 2 if "enable_gqa" in options else 4
    query, key, value = (torch.randn(2, n, 5, 8) for n in (4, heads, heads))
    return F.scaled_dot_product_attention(query, key, value, dropout_p=p, **options)


@pytest.mark.parametrize("kind", ATTENTION)
def test_attention_without_its_dropout_is_pytorchs(kind: str) -> None:
    expected = attended(ATTENTION[kind], 0.0)
    with CpuDropout():
        torch.testing.assert_close(attended(ATTENTION[kind], 1e-9), expected)  # so little that nothing is dropped


@pytest.mark.parametrize("kind", ["plain", "masked", "causal"])
def test_the_mean_of_attention_is_that_without_dropout(kind: str) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 4, 5, 8).repeat(4000, 1, 1, 1) for _ in range(3))
    options = {name: one.repeat(4000, 1, 1, 1) if name == "attn_mask" else one for name, one in ATTENTION[kind].items()}
    with CpuDropout():
        drawn = F.scaled_dot_product_attention(query, key, value, dropout_p=0.2, **options)
    few = {name: one[:2] if name == "attn_mask" else one for name, one in options.items()}
    expected = F.scaled_dot_product_attention(query[:2], key[:2], value[:2], **few)
    drawn = drawn.unflatten(0, (4000, 2))
    error = (drawn.mean(0) - expected).abs() / (drawn.std(0) / 4000**0.5 + 1e-6)
    assert error.max() < 5, "of 320 means, in standard errors"


def test_a_row_that_attends_to_nothing_is_zero_as_pytorchs() -> None:
    mask = torch.ones(5, 5, dtype=torch.bool)
    mask[2] = False
    expected = attended({"attn_mask": mask}, 0.0)
    with CpuDropout():
        found = attended({"attn_mask": mask}, 2e-5)  # so little that hardly a weight is dropped
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert (found[:, :, 2] == 0).all()


@pytest.mark.parametrize("how", ["half", "autocast"])
def test_attention_in_half_precision_is_computed_in_float32(how: str) -> None:
    torch.manual_seed(0)
    dtype = torch.bfloat16 if how == "half" else torch.float32
    query, key, value = (3 * torch.randn(4, 4, 64, 32, dtype=dtype) for _ in range(3))
    exact = F.scaled_dot_product_attention(query.float(), key.float(), value.float())
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        theirs = F.scaled_dot_product_attention(query, key, value, dropout_p=1e-9)
        with CpuDropout():
            ours = F.scaled_dot_product_attention(query, key, value, dropout_p=2e-5)
    assert ours.dtype == theirs.dtype == torch.bfloat16
    assert (ours - exact).abs().mean() < 1.2 * (theirs - exact).abs().mean()


def test_layers_that_are_computed_again_draw_what_they_drew_wherever_they_are_called(model_folder: Path) -> None:
    """As where a step is someone's own, outside of any context."""
    source, found = find_model(str(model_folder)), []
    for again in (False, True):
        torch.manual_seed(1)  # of its new head
        network = load_network(CLASSIFIER, source, num_labels=2)[0].train()
        network.dropout.p = network.base_model.embeddings.dropout.p = 0.0  # which are outside of the layers
        torch.nn.init.ones_(network.classifier.weight)
        if again:
            recompute_activations(network, source, CpuDropout)
        torch.manual_seed(0)
        with nullcontext() if again else CpuDropout():
            network(input_ids=torch.arange(5, 25).view(2, 10)).logits.sum().backward()
        found.append(network.base_model.encoder.layer[0].output.dense.weight.grad)
    assert found[0].abs().max() > 0
    torch.testing.assert_close(*found)


def test_a_step_draws_like_this_and_an_evaluation_draws_nothing(
    data_folder: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside: list[str] = []

    class Noted(CpuDropout):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func in (F.dropout, F.scaled_dot_product_attention):
                inside.append(func.__name__)
            return super().__torch_function__(func, types, args, kwargs)

    monkeypatch.setattr(fine_tuner, "CpuDropout", Noted)
    module, data = FineTuner(str(model_folder), seed=3), TextClassification(str(data_folder), max_length=32, seed=3)
    trainer = trainer_for(max_steps=1, limit_val_batches=0)
    trainer.fit(module, data)
    assert set(inside) == {"dropout", "scaled_dot_product_attention"}
    inside.clear()
    trainer.test(module, data, verbose=False)
    assert not inside


def test_a_network_that_drops_nothing_is_known(model_folder: Path) -> None:
    """By its layers and by its config, of which functions read theirs; elsewhere a context would take time alone."""
    network = load_network(CLASSIFIER, find_model(str(model_folder)), num_labels=2)[0]
    assert has_dropout(network)
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    assert has_dropout(network)
    network.config.update({name: 0.0 for name in network.config.to_dict() if "drop" in name})
    assert not has_dropout(network)
    network.dropout.p = 0.1
    assert has_dropout(network)
    assert not has_dropout(load_network(CLASSIFIER, find_model("docstrings-bert"))[0])


def test_micro_batches_that_are_computed_again_draw_what_they_drew(data_folder: Path, model_folder: Path) -> None:
    module, data = FineTuner(str(model_folder), seed=3), TextClassification(str(data_folder), max_length=32, seed=3)
    trainer = trainer_for(max_steps=1, limit_val_batches=0)
    trainer.fit(module, data)
    batch = next(iter(data.train_dataloader()))
    module.log = lambda *_, **__: None  # type: ignore[method-assign, assignment]
    gradients = []
    for n in (0, len(batch["micro_batches"])):
        torch.manual_seed(0)
        module.zero_grad()
        module.training_step({**batch, "recomputed": n}, 0).backward()
        gradients.append(torch.cat([one.grad.flatten() for one in module.parameters() if one.grad is not None]))
    torch.testing.assert_close(*gradients)
