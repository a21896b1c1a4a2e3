"""A few real batches of training on throw-away weights, and of evaluation, timed."""

from __future__ import annotations

import time
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch

from selectune.common.flop_formulas import adamw_flops
from selectune.costs.flops import FlopModel, UnfitFlopsError
from selectune.costs.meters import finish_kernels
from selectune.forecast.measure import CPU_TOKENS, SECONDS, Memory

if TYPE_CHECKING:
    from selectune.datamodules.base import SelectionDataModule
    from selectune.lightning_modules import FineTuner
    from selectune.signals.forward import TrainerFor

STEPS = 64
SKIPPED = 2  # first batches, which are slow


@dataclass
class Trained:
    """What was measured of training and evaluating with one head.

    Args:
        forward: FLOPs of a row's forward pass, None when unknown.
        both: with the backward pass.
        a_step: FLOPs of a step of the optimizer, None when unknown.
        method: how they were counted, or why not.
        step_s: seconds of the steps that were timed.
        step_flops: of these, None when unknown.
        step_tokens: padded, of these.
        eval_s: seconds of the evaluation batches that were timed.
        eval_flops: of these.
        eval_tokens: padded, of these.
        save_s: seconds that writing a whole checkpoint takes.
        parameters: weights of the network.
        memory: that it took.
    """

    forward: FlopModel | None
    both: FlopModel | None
    a_step: float | None
    method: str
    step_s: float
    step_flops: float | None
    step_tokens: int
    eval_s: float
    eval_flops: float | None
    eval_tokens: int
    save_s: float
    parameters: int
    memory: Memory


@dataclass
class _Timer(pl.Callback):
    """Times batches from the end of one to the end of the next, so that everything between them is in it."""

    seconds: float = 0.0
    batches: int = 0
    shapes: list[tuple[int, int, bool]] = field(default_factory=list)
    steps: int = 0  # of the optimizer, which takes one for several batches where gradients accumulate
    _skipped: int = 0
    _since: float | None = None

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        now = self._lap()
        if self.batches > SKIPPED:
            *first, last = (tuple(micro["input_ids"].shape) for micro in batch["micro_batches"])
            self.shapes += [(*shape, True) for shape in first] + [(*last, False)]
            self.steps = trainer.global_step - self._skipped
        else:
            self._skipped = trainer.global_step
        if self.batches >= SKIPPED + STEPS or (self.seconds > SECONDS and self.batches > SKIPPED + 2):
            trainer.should_stop = True
        self._since = now

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *more: Any) -> None:
        self._since = self._lap()
        self.shapes.append((*batch["input_ids"].shape, False))

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._since = time.perf_counter()
        self.batches = SKIPPED

    def _lap(self) -> float:
        finish_kernels()
        now = time.perf_counter()
        if self.batches >= SKIPPED and self._since is not None:
            self.seconds += now - self._since
        self.batches += 1
        return now


def time_training(module: FineTuner, data: SelectionDataModule, trainer_for: TrainerFor, folder: Path) -> Trained:
    """Train some steps, whose weights are thrown away, and evaluate some batches of ``dev``.

    Args:
        module: fresh.
        data: what it trains on, see `SelectionDataModule.trained_on`.
        trainer_for: see `TrainerFor`.
        folder: where the model is left as ``export``, in Hugging Face format, for what comes after.
    """
    from selectune.callbacks.export import export

    steps, evals = _Timer(), _Timer()
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    with Memory() as memory:
        trainer = trainer_for(
            callbacks=[steps], max_epochs=1000, max_steps=SKIPPED + STEPS, limit_val_batches=0, **quiet
        )
        trainer.fit(module, data, weights_only=True)
    folder.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    trainer.save_checkpoint(folder / "timed.ckpt")
    save_s = time.perf_counter() - began
    (folder / "timed.ckpt").unlink()
    export(module, data, folder / "export")
    assert module.head is not None
    network = module.network
    weights = sum(weight.numel() for weight in network.parameters())
    trainable = sum(weight.numel() for weight in network.parameters() if weight.requires_grad)
    a_step = float(adamw_flops(trainable)) if isinstance(trainer.optimizers[0], torch.optim.AdamW) else None
    method = ""
    forward = both = None
    try:
        forward, both = module.head.flops(network, False), module.head.flops(network, True)
        method = both.method
    except UnfitFlopsError as error:
        method = str(error)

    small = copy(data)
    if torch.device(trainer.strategy.root_device).type == "cpu":
        small.max_batch_tokens = min(CPU_TOKENS, data.max_batch_tokens)
    evaluator = trainer_for(callbacks=[evals], max_epochs=1, limit_val_batches=4, **quiet)
    evaluator.validate(module, small, verbose=False, weights_only=True)
    step_flops = _flops_of(steps.shapes, forward, both)
    if step_flops is not None:
        step_flops = None if a_step is None else step_flops + a_step * steps.steps
    return Trained(
        forward, both, a_step, method if a_step is not None else "FLOPs of this optimizer are not known",
        steps.seconds, step_flops, sum(n * length for n, length, _ in steps.shapes),
        evals.seconds, _flops_of(evals.shapes, None, forward), sum(n * length for n, length, _ in evals.shapes),
        save_s, weights, memory,
    )  # fmt: skip


def _flops_of(shapes: list[tuple[int, int, bool]], forward: FlopModel | None, both: FlopModel | None) -> float | None:
    """FLOPs of batches; those that are recomputed take the forward pass once more."""
    total = 0.0
    for n_rows, length, again in shapes:
        if both is None or (again and forward is None):
            return None
        total += both.of_batch(n_rows, length) + (forward.of_batch(n_rows, length) if again and forward else 0.0)
    return total
