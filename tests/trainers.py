"""A quiet Trainer on one CPU, and callbacks of trainings that are compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def trainer_for(**settings: Any) -> pl.Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    return pl.Trainer(**{"accelerator": "cpu", "devices": 1, "enable_progress_bar": False, **quiet, **settings})


class NoDropout(pl.Callback):
    """Dropout draws differently on each device and with each cut of a batch."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for module in pl_module.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0


class Crossings(TorchDispatchMode):
    """Notes operations for which the host waits: numbers that it reads, what it copies at once, and what has as
    many numbers as the device finds."""

    def __init__(self, device: torch.device | None = None) -> None:
        super().__init__()
        self.device = device  # others' tensors alone do not count; None: all do
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        tensors = [one.device for one in tree_leaves((args, out)) if isinstance(one, torch.Tensor)]
        if self.device is not None and self.device not in tensors:
            return out
        copied = func.overloadpacket in (torch.ops.aten._to_copy, torch.ops.aten.copy_) and len(set(tensors)) > 1
        if copied and (kwargs or {}).get("non_blocking"):
            # a GPU reads memory of the host by itself where it is pinned
            copied = any(device.type == "cuda" for device in tensors) and not args[0].is_pinned()
        indexed = func.overloadpacket in (torch.ops.aten.index, torch.ops.aten.index_put, torch.ops.aten.index_put_)
        by_mask = indexed and any(one is not None and one.dtype is torch.bool for one in args[1])
        found = func.overloadpacket in (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero)
        if copied or by_mask or found:
            self.seen.append(str(func))
        return out


class SaveAt(pl.Callback):
    """Saves a checkpoint after a step."""

    def __init__(self, file: Path, step: int) -> None:
        self.file, self.step = file, step

    def on_train_batch_end(self, trainer: pl.Trainer, *args: object) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.file)
