"""A few real batches of training on throw-away weights, and of evaluation, timed."""

from __future__ import annotations

import time
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

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


class Sample(NamedTuple):
    """Batches that were timed, as `scaled_seconds` takes them."""

    seconds: float
    flops: float | None  # None when unknown
    tokens: int  # padded


@dataclass
class Trained:
    """Costs of training and evaluating with one head, as measured."""

    forward: FlopModel | None  # of a row; None when unknown, as are the following two
    both: FlopModel | None  # with the backward pass
    a_step: float | None  # FLOPs of a step of the optimizer
    method: str  # how the FLOPs were counted, or why not
    steps: Sample
    evaluations: Sample
    save_s: float  # seconds that writing a whole checkpoint takes
    parameters: int  # of the network
    memory: Memory


@dataclass
class _Timer(pl.Callback):
    """Times batches from the end of one to the end of the next, so that everything between them is in it."""

    seconds: float = 0.0
    batches: int = 0
    shapes: list[tuple[int, int, bool]] = field(default_factory=list)  # rows, length, whether they are recomputed
    steps: int = 0  # of the optimizer, which takes one for several batches where gradients accumulate
    _skipped: int = 0
    _since: float | None = None

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._lap()
        if self.batches > SKIPPED:
            *first, last = (tuple(micro["input_ids"].shape) for micro in batch["micro_batches"])
            self.shapes += [(*shape, True) for shape in first] + [(*last, False)]
            self.steps = trainer.global_step - self._skipped
        else:
            self._skipped = trainer.global_step
        if self.batches >= SKIPPED + STEPS or (self.seconds > SECONDS and self.batches > SKIPPED + 2):
            trainer.should_stop = True

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *more: Any) -> None:
        self._lap()
        self.shapes.append((*batch["input_ids"].shape, False))

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._since = time.perf_counter()
        self.batches = SKIPPED

    def _lap(self) -> None:
        finish_kernels()
        now = time.perf_counter()
        if self.batches >= SKIPPED and self._since is not None:
            self.seconds += now - self._since
        self.batches += 1
        self._since = now

    def sample(self, forward: FlopModel | None, once: FlopModel | None, a_step: float | None = 0.0) -> Sample:
        """The batches with their FLOPs: each of a pass, of `forward` besides where it is recomputed, and of steps."""
        total: float | None = 0.0
        for n_rows, length, again in self.shapes:
            if total is None or once is None or (again and forward is None):
                total = None
                break
            total += once.of_batch(n_rows, length) + (forward.of_batch(n_rows, length) if again and forward else 0.0)
        flops = None if total is None or a_step is None else total + a_step * self.steps
        return Sample(self.seconds, flops, sum(n_rows * length for n_rows, length, _ in self.shapes))


def time_training(module: FineTuner, data: SelectionDataModule, trainer_for: TrainerFor, folder: Path) -> Trained:
    """Train some steps, whose weights are thrown away, and evaluate some batches of ``dev``.

    Args:
        module: fresh.
        data: that it trains on, see `SelectionDataModule.trained_on`.
        trainer_for: see `TrainerFor`.
        folder: where the model is left as ``export``, in Hugging Face format, for what comes after.
    """
    from selectune.callbacks.export import export

    steps, evaluations = _Timer(), _Timer()
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    with Memory() as memory:
        ends = {"max_epochs": 1000, "max_steps": SKIPPED + STEPS}
        trainer = trainer_for(callbacks=[steps], limit_val_batches=0, **ends, **quiet)
        trainer.fit(module, data, weights_only=True)
    folder.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    trainer.save_checkpoint(folder / "timed.ckpt")
    save_s = time.perf_counter() - began
    (folder / "timed.ckpt").unlink()
    export(module, data, folder / "export")
    assert module.head is not None
    weights = list(module.network.parameters())
    forward = both = None
    try:
        forward, both = module.head.flops(module.network, False), module.head.flops(module.network, True)
        method = both.method
    except UnfitFlopsError as error:
        method = str(error)
    a_step = None
    if isinstance(trainer.optimizers[0], torch.optim.AdamW):
        a_step = float(adamw_flops(sum(weight.numel() for weight in weights if weight.requires_grad)))
    else:
        method = "FLOPs of this optimizer are not known"

    small = copy(data)
    if torch.device(trainer.strategy.root_device).type == "cpu":
        small.max_batch_tokens = min(CPU_TOKENS, data.max_batch_tokens)
    evaluator = trainer_for(callbacks=[evaluations], max_epochs=1, limit_val_batches=4, **quiet)
    evaluator.validate(module, small, verbose=False, weights_only=True)
    return Trained(
        forward, both, a_step, method, steps.sample(forward, both, a_step), evaluations.sample(None, forward),
        save_s, sum(weight.numel() for weight in weights), memory,
    )  # fmt: skip
