"""The places where a test runs: the pretend accelerator of `tests.device_mode`, and with `pytest -m gpu` a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from tests.device_mode import accelerated
from tests.trainers import trainer_for


@dataclass(frozen=True)
class Place:
    """The accelerator of Trainers, and the device that this is."""

    accelerator: str
    device: torch.device

    def trainer(self, **options: Any) -> pl.Trainer:
        return trainer_for(**{"num_sanity_val_steps": 0, "accelerator": self.accelerator, **options})


CPU = Place("cpu", torch.device("cpu"))
Enter = Callable[..., AbstractContextManager[Place]]
GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")]


@pytest.fixture(params=[pytest.param("pretend", marks=pytest.mark.pretend), pytest.param("cuda", marks=GPU)])
def elsewhere(request: pytest.FixtureRequest) -> Enter:
    """A block whose Trainers work on the accelerator."""

    @contextmanager
    def enter(float64: bool = True) -> Iterator[Place]:
        if request.param == "cuda":
            yield Place("gpu", torch.device("cuda", 0))
        else:
            with accelerated(float64) as device:
                yield Place("cpu", device)

    return enter


@pytest.fixture
def there(elsewhere: Enter) -> Iterator[Place]:
    with elsewhere() as place:
        yield place
