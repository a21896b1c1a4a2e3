"""Where a test runs: the pretend accelerator of `tests.device_mode`, and with `pytest -m gpu` a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from tests.device_mode import accelerated


@dataclass(frozen=True)
class Place:
    """Where something runs: the accelerator of its Trainers, and the device that this is."""

    accelerator: str
    device: torch.device

    def trainer(self, **options: Any) -> pl.Trainer:
        quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        quiet |= {"enable_model_summary": False, "num_sanity_val_steps": 0, "accelerator": self.accelerator}
        return pl.Trainer(devices=1, **quiet | options)


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


@pytest.fixture(scope="session")
def causal_folder(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random GPT-2 with the tiny model's tokenizer."""
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("models") / "gpt"
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    tokenizer.save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = GPT2Config(
            vocab_size=len(tokenizer),
            n_positions=64,
            n_embd=32,
            n_layer=2,
            n_head=2,
            initializer_range=0.2,
            eos_token_id=3,
        )
        GPT2LMHeadModel(config).save_pretrained(folder)
    return folder
