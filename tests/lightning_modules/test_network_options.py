"""Gradient checkpointing and compiling change memory and speed, and nothing else that a training computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from selectune import CostLedger, FineTuner, LanguageModeling, TextClassification
from selectune.common.errors import UserError
from selectune.costs.record import CostRecord
from tests.mistakes import mistake
from tests.trainers import NoDropout, trainer_for

CALLS: list[int] = []  # operations of each graph that was compiled


@pytest.fixture(scope="module")
def counting() -> str:
    """A backend of torch.compile that compiles nothing, but notes what it was given."""
    from torch._dynamo import list_backends, register_backend

    def backend(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        CALLS.append(len(graph.graph.nodes))
        return graph.forward

    if "counting" not in list_backends():
        register_backend(backend, "counting")
    return "counting"


def fitted(
    data: Any, model: Path, steps: int = 4, dropout: bool = True, **options: Any
) -> tuple[dict[str, torch.Tensor], CostRecord]:
    """Weights after some steps, and their cost."""
    torch._dynamo.reset()
    costs, module = CostLedger(), FineTuner(str(model), learning_rate=1e-2, seed=3, **options)
    callbacks = [costs] if dropout else [costs, NoDropout()]
    trainer_for(max_steps=steps, num_sanity_val_steps=0, callbacks=callbacks).fit(module, data)
    return module.state_dict(), next(record for record in costs.ledger.records if record.stage == "train")


def classes(folder: Path, **options: Any) -> TextClassification:
    return TextClassification(str(folder), max_length=32, seed=3, **options)


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], atol: float) -> None:
    for name, weights in one.items():
        torch.testing.assert_close(other[name], weights, atol=atol, rtol=0)


def test_gradient_checkpointing_gives_the_same_weights_for_one_more_pass_of_the_layers(
    data_folder: Path, model_folder: Path
) -> None:
    plain, cost = fitted(classes(data_folder), model_folder)
    again, more = fitted(classes(data_folder), model_folder, gradient_checkpointing=True)
    assert_same(plain, again, atol=1e-6)  # dropout is drawn again as it was
    assert cost.flops is not None
    assert more.flops is not None
    assert cost.flops < more.flops < 4 / 3 * cost.flops, "a backward pass is two forward passes"


def test_the_passes_of_recomputed_layers_are_counted_as_a_step_does_them(data_folder: Path, model_folder: Path) -> None:
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    module = FineTuner(str(model_folder), gradient_checkpointing=True)
    trainer_for(max_steps=1, num_sanity_val_steps=0).fit(module, classes(data_folder))
    counted = module.head.flops(module.network, backward=True).of_batch(2, 24)
    ids = torch.ones(2, 24, dtype=torch.long)
    module.network.train()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module.network(input_ids=ids).logits.sum().backward()
    assert counted == pytest.approx(counter.get_total_flops(), rel=1e-6)


def test_a_network_that_cannot_compute_again_is_told(
    data_folder: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import BertPreTrainedModel

    monkeypatch.setattr(BertPreTrainedModel, "supports_gradient_checkpointing", False)
    with mistake(UserError, "model.gradient_checkpointing", "BertForSequenceClassification"):
        fitted(classes(data_folder), model_folder, gradient_checkpointing=True)


@pytest.mark.parametrize("kind", ["classes", "masked, in micro-batches"])
def test_a_compiled_network_learns_the_same_for_the_same_cost(
    kind: str, data_folder: Path, model_folder: Path, counting: str
) -> None:
    def data() -> Any:
        if kind == "classes":
            return classes(data_folder)
        return LanguageModeling(str(data_folder), max_length=16, max_batch_tokens=128, seed=3)

    plain, cost = fitted(data(), model_folder, dropout=False)  # which a compiled network draws in its own way
    CALLS.clear()
    compiled, same = fitted(data(), model_folder, dropout=False, compile=counting)
    assert max(CALLS) > 20, "the layers are compiled"
    assert_same(plain, compiled, atol=1e-5)
    assert (same.flops, same.flops_method) == (cost.flops, cost.flops_method)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", True])
def test_compiling_goes_with_an_adapter_and_with_computing_again(
    backend: bool | str, data_folder: Path, model_folder: Path
) -> None:
    from selectune.lightning_modules.lora import Lora

    # backends draw dropout in ways of their own
    both: dict[str, Any] = {"lora": Lora(r=4), "gradient_checkpointing": True, "dropout": False}
    plain, cost = fitted(classes(data_folder), model_folder, 2, **both)
    compiled, same = fitted(classes(data_folder), model_folder, 2, **both, compile=backend)
    assert_same(plain, compiled, atol=1e-4)
    assert same.flops == cost.flops


def test_an_unknown_backend_is_told(data_folder: Path, model_folder: Path) -> None:
    with mistake(UserError, "model.compile", "inductr", "inductor"):
        fitted(classes(data_folder), model_folder, compile="inductr")


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_a_fused_optimizer_is_clipped_in_bfloat16(algorithm: str, data_folder: Path, model_folder: Path) -> None:
    """Lightning refuses it for float16, whose gradients the optimizer unscales by itself; bfloat16 scales none."""
    largest: list[float] = []

    class Clipped(pl.Callback):
        def on_before_zero_grad(self, trainer: pl.Trainer, module: pl.LightningModule, _: Any) -> None:
            gradients = [weights.grad for weights in module.parameters() if weights.grad is not None]
            if gradients:  # those of the step before
                assert trainer.optimizers[0].defaults["fused"]
                whole = torch.cat([one.flatten() for one in gradients])
                largest.append(float(whole.norm() if algorithm == "norm" else whole.abs().max()))

    clipping = {"gradient_clip_val": 1e-3, "gradient_clip_algorithm": algorithm, "precision": "bf16-mixed"}
    module = FineTuner(str(model_folder), learning_rate=1e-3, seed=3)
    trainer_for(max_steps=3, num_sanity_val_steps=0, callbacks=[Clipped()], **clipping).fit(
        module, classes(data_folder)
    )
    assert largest
    assert largest == pytest.approx([1e-3] * len(largest), rel=1e-2)
