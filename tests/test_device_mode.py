"""The pretend accelerator fails where a GPU fails, and only there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from tests.device_mode import accelerated, is_there
from tests.mistakes import names

pytestmark = pytest.mark.pretend


@pytest.fixture
def device() -> Iterator[torch.device]:
    with accelerated() as there:
        yield there


def here_and_there(device: torch.device) -> tuple[Tensor, Tensor]:
    here = torch.arange(12.0).reshape(3, 4) - 5
    return here, here.to(device)


IMPLICIT: dict[str, Callable[[Tensor], Any]] = {
    "numpy": lambda there: there.numpy(),
    "asarray": np.asarray,
    "a numpy function": np.exp,
    "bf16 on the host": lambda there: there.bfloat16().cpu().numpy(),
}


@pytest.mark.parametrize("copy", IMPLICIT.values(), ids=IMPLICIT)
def test_nothing_is_copied_to_the_host_unasked(copy: Callable[[Tensor], Any], device: torch.device) -> None:
    _, there = here_and_there(device)
    with pytest.raises(TypeError):
        copy(there)


MIXED: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "sum": lambda here, there: there + here,
    "sum in place": lambda here, there: here.add_(there),
    "product": lambda here, there: here @ there.T,
    "linear": lambda here, there: nn.functional.linear(there, here),
    "concatenation": lambda here, there: torch.cat([there, here]),
    "stack": lambda here, there: torch.stack([there, here]),
    "choice": lambda here, there: torch.where(here > 0, there, 0.0),
    "mask of the host": lambda here, there: there.masked_fill(here > 0, 0.0),
    "mask of the device": lambda here, there: here.masked_fill(there > 0, 0.0),
    "gathering": lambda here, there: there.gather(1, torch.zeros(3, 1, dtype=torch.long)),
    "index of the device": lambda here, there: here[there[:, 0] > 0],
    "rows of the device": lambda here, there: here[(there[:, 0] > 0).nonzero().flatten()],
    "table": lambda here, there: nn.functional.embedding(torch.tensor([1]), there),
    "rows of a table": lambda here, there: nn.functional.embedding(torch.tensor([1], device=there.device), here),
    "targets": lambda here, there: nn.functional.cross_entropy(there, torch.tensor([0, 1, 2])),
    "weights": lambda here, there: nn.functional.cross_entropy(there, there.argmax(1), torch.ones(4)),
    "number that is written": lambda here, there: here[0, 0].add_(there[0, 0]),
    "sums by index": lambda here, there: there.index_add_(0, torch.tensor([0]), there[:1]),
    "room for the result": lambda here, there: torch.add(there, there, out=here),
    "generator of the host": lambda here, there: torch.rand(2, generator=torch.Generator(), device=there.device),
}


@pytest.mark.parametrize("mixed", MIXED.values(), ids=MIXED)
def test_the_sides_do_not_mix(mixed: Callable[[Tensor, Tensor], Any], device: torch.device) -> None:
    with pytest.raises(RuntimeError):
        mixed(*here_and_there(device))


ALLOWED: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "number": lambda here, there: there * torch.tensor(2.0),
    "number to choose": lambda here, there: torch.where(there > 0, there, torch.tensor(0.0)),
    "number to fill": lambda here, there: there.masked_fill(there > 0, torch.tensor(9.0)),
    "index of the host": lambda here, there: there[torch.tensor([0, 2])],
    "mask of the host": lambda here, there: there[here > 0],
    "copy into": lambda here, there: torch.zeros_like(there).copy_(here),
    "python": lambda here, there: there % 3,
}


@pytest.mark.parametrize("allowed", ALLOWED.values(), ids=ALLOWED)
def test_what_a_gpu_allows_gives_what_the_host_gives(
    allowed: Callable[[Tensor, Tensor], Any], device: torch.device
) -> None:
    here, there = here_and_there(device)
    found = allowed(here, there)
    assert is_there(found)
    assert torch.equal(found.cpu(), allowed(here, here))


def test_what_waits_for_the_device_may_be_read(device: torch.device) -> None:
    here, there = here_and_there(device)
    assert there.tolist() == here.tolist()
    assert float(there.sum()) == there.sum().item() == here.sum().item()
    assert bool(there[0, 0] < 0)
    np.testing.assert_array_equal(there.cpu().numpy(), here.numpy())


def test_a_dispatch_mode_sees_operations_of_the_device(device: torch.device) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    _, there = here_and_there(device)
    with FlopCounterMode(display=False) as counter:
        found = there[[0, 2]] @ there.T
    assert found.shape == (2, 3)
    assert counter.get_total_flops() == 2 * 2 * 3 * 4


def test_views_share_memory_and_moves_do_not(device: torch.device) -> None:
    here, there = here_and_there(device)
    there.T[0].mul_(0)
    there[1:, 2:] = 7.0
    expected = here.clone()
    expected.T[0].mul_(0)
    expected[1:, 2:] = 7.0
    assert torch.equal(there.cpu(), expected)
    there.cpu().zero_()
    assert torch.equal(there.cpu(), expected)


def test_random_numbers_come_from_a_state_of_the_device(device: torch.device) -> None:
    torch.manual_seed(3)
    kept = torch.get_rng_state()
    first = torch.rand(4, device=device)
    assert torch.equal(torch.get_rng_state(), kept)
    state = torch.get_device_module(device).get_rng_state()
    second = torch.rand(4, device=device)
    torch.get_device_module(device).set_rng_state(state)
    assert torch.equal(torch.rand(4, device=device), second)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(4, device=device), first)


def test_gradients_and_steps_are_those_of_the_host(device: torch.device) -> None:
    losses = []
    for where in ("cpu", device):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Embedding(9, 8), nn.LayerNorm(8), nn.Linear(8, 3))
        before = list(network.parameters())
        network.to(where)
        assert all(one is other for one, other in zip(before, network.parameters()))
        optimizer = torch.optim.AdamW(network.parameters(), 0.1, fused=True)
        ids, targets = torch.arange(9, device=where), torch.arange(9, device=where) % 3
        for _ in range(3):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network(ids), targets)
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_a_device_may_have_no_float64() -> None:
    with accelerated(float64=False) as device, pytest.raises(TypeError):
        torch.zeros(2).to(device).double()


# Mistakes of modules, each caught in a Trainer's loop; beside them the module without one.


class Right(pl.LightningModule):
    """Predicts two classes of six numbers, of which some are hidden; a method for each mistake."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 2)
        self.prepare()
        self.seen: list[np.ndarray] = []

    def prepare(self) -> None:
        self.register_buffer("scale", torch.full((6,), 0.5))

    def forward(self, batch: dict[str, Any]) -> Tensor:
        return self.layer(batch["numbers"] * self.scale)

    def hidden(self, logits: Tensor) -> Tensor:
        return torch.zeros_like(logits, dtype=torch.bool)

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, np.ndarray]:
        logits = self(batch)
        logits = logits.detach().masked_fill(self.hidden(logits), -1.0)
        return {"logits": logits.cpu().numpy(), "rows": batch["rows"]}

    def on_predict_batch_end(self, outputs: dict[str, np.ndarray], *args: Any) -> None:
        self.seen.append(np.concatenate([np.asarray(values).ravel() for values in outputs.values()]))


class OutputsStay(Right):
    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> Any:
        return {"logits": self(batch).detach(), "rows": batch["rows"]}


class HostMask(Right):
    def hidden(self, logits: Tensor) -> Tensor:
        return torch.zeros(logits.shape, dtype=torch.bool)


class HostParameter(Right):
    def forward(self, batch: dict[str, Any]) -> Tensor:
        if not hasattr(self, "shift"):
            self.shift = nn.Parameter(torch.ones(2))
        return super().forward(batch) + self.shift


class UnregisteredBuffer(Right):
    def prepare(self) -> None:
        self.scale = torch.full((6,), 0.5)


class MetricOfTheHost(Right):
    def prepare(self) -> None:
        from torchmetrics.classification import MulticlassConfusionMatrix

        super().prepare()
        self.metrics = [MulticlassConfusionMatrix(2)]  # in a list, and so not moved with the module

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, np.ndarray]:
        self.metrics[0].update(self(batch).argmax(1), batch["labels"])
        return super().predict_step(batch, batch_idx)


class MetricFedFromTheHost(Right):
    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, np.ndarray]:
        from torchmetrics.classification import MulticlassConfusionMatrix

        metric = MulticlassConfusionMatrix(2).to(self.device)
        metric.update(self(batch).argmax(1), batch["labels"].cpu())
        return super().predict_step(batch, batch_idx)


def predicted(module: Right, convert: bool = False) -> Right:
    numbers = torch.arange(24.0).reshape(4, 6) / 24
    batch = {"numbers": numbers, "labels": torch.tensor([0, 1, 0, 1]), "rows": np.arange(4)}
    loader = DataLoader([batch], batch_size=None, **({} if convert else {"collate_fn": lambda one: one}))
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(accelerator="cpu", enable_model_summary=False, inference_mode=False, **quiet)
    trainer.predict(module, loader, return_predictions=False)
    return module


def test_the_module_without_a_mistake_gives_what_it_gives_on_the_cpu() -> None:
    torch.manual_seed(0)
    (expected,) = predicted(Right()).seen
    torch.manual_seed(0)
    with accelerated():
        np.testing.assert_allclose(predicted(Right()).seen[0], expected, atol=1e-6)


NO_COPY, BOTH = (TypeError, "to numpy"), (RuntimeError, "same device")
MISTAKES: dict[type[Right], tuple[type[Exception], str]] = {
    OutputsStay: NO_COPY, HostMask: BOTH, HostParameter: BOTH, UnregisteredBuffer: BOTH, MetricOfTheHost: BOTH,
    MetricFedFromTheHost: BOTH,
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_is_caught_that_passes_unseen_on_the_cpu(mistake: type[Right]) -> None:
    assert predicted(mistake()).seen
    error, named = MISTAKES[mistake]
    with accelerated(), pytest.raises(error) as caught:
        predicted(mistake())
    assert names(str(caught.value), named)


def test_arrays_that_a_loader_made_tensors_of_are_caught() -> None:
    """By themselves loaders turn arrays, such as row ids, into tensors, which move with the batch."""
    assert predicted(Right(), convert=True).seen
    error, named = NO_COPY
    with accelerated(), pytest.raises(error) as caught:
        predicted(Right(), convert=True)
    assert names(str(caught.value), named)
