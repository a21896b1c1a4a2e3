"""A few real batches, timed: of scoring, of training on throw-away weights, and of evaluation."""

from __future__ import annotations

import time
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import numpy as np
import psutil
import torch

from selectune.batching import plan_batches
from selectune.flops import FlopModel, UnfitFlopsError, adamw_flops
from selectune.meters import finish_kernels, peak_cuda, peak_rss
from selectune.scoring.definitions import Rows, ScoringModel

if TYPE_CHECKING:
    from selectune.datamodules.base import SelectionDataModule
    from selectune.lightning_modules import FineTuner
    from selectune.lightning_modules.scorer import Scorer
    from selectune.scoring.forward import TrainerFor

SECONDS = 15.0  # for each network and each training
ROWS = 1024  # that are scored, at most
CPU_TOKENS = 2048  # of a batch that is timed on a CPU, where larger ones are no faster
STEPS = 64
SKIPPED = 2  # first batches, which are slow


@dataclass
class Memory:
    """Peak memory of what is done inside, as if its batches were so many times larger.

    Args:
        scale: batches that will come over those that are timed.
    """

    scale: float = 1.0
    peak_rss: int = 0
    peak_cuda: int | None = None

    def __enter__(self) -> Memory:
        self._before, self._highest = psutil.Process().memory_info().rss, peak_rss()
        return self

    def __exit__(self, *error: object) -> None:
        highest = peak_rss()
        now = psutil.Process().memory_info().rss
        # a peak of before, as of loading a model, is none of the batches
        grown = max(0, (highest if highest > self._highest else now) - self._before)
        self.peak_rss = max(highest, int(self._before + grown * self.scale))
        self.peak_cuda = peak_cuda()


@dataclass
class Scored:
    """What was measured of scoring.

    Args:
        rows: row ids that were scored, ascending.
        values: their signals by name.
        seconds: of the batches that were timed.
        flops: of these; None when unknown.
        tokens: padded, of these.
        model: FLOPs of a padded row, None when unknown.
        product: FLOPs at each token of a text.
        method: how they were counted, or why not.
        start_s: seconds until the first batch.
        memory: that it took.
    """

    rows: np.ndarray
    values: dict[str, np.ndarray]
    seconds: float
    flops: float | None
    tokens: int
    model: FlopModel | None
    product: float
    method: str
    start_s: float
    memory: Memory


def time_scoring(scorer: Scorer, start_s: float, rows: Rows, scoring: ScoringModel, device: torch.device) -> Scored:
    """Score rows of all lengths, until there are enough of them or the time is up.

    Args:
        scorer: of one network.
        start_s: seconds that it took to make it.
        rows: the whole pool.
        scoring: precision and token budget.
        device: to score on.
    """
    began = time.perf_counter()
    scorer = scorer.to(device)
    model, product, method = None, 0.0, ""
    try:
        model, product = scorer.flops()
        method = model.method
    except UnfitFlopsError as error:
        method = str(error)
    start_s += time.perf_counter() - began

    lengths = rows.tokens.lengths
    sample = np.argsort(-lengths, kind="stable")[np.linspace(0, len(lengths) - 1, min(ROWS, len(lengths))).astype(int)]
    most = scoring.max_batch_tokens if device.type == "cuda" else min(CPU_TOKENS, scoring.max_batch_tokens)
    batches = [sample[part] for part in plan_batches(lengths[sample], most)]
    order = np.random.default_rng(0).permutation(len(batches))  # so that those that are timed have all lengths
    parts: list[tuple[np.ndarray, dict[str, np.ndarray]]] = []
    seconds, flops, tokens = 0.0, 0.0, 0
    half = torch.bfloat16 if scoring.precision == "bf16" else None
    with Memory(scoring.max_batch_tokens / most) as memory:
        for i in [order[0], *order]:  # the first one is slow, and done twice
            batch = _scoring_batch(rows, batches[i], scoring, device)
            finish_kernels()
            began = time.perf_counter()
            with torch.inference_mode(), torch.autocast(device.type, half, enabled=half is not None):
                found = scorer.predict_step(batch, 0)
            finish_kernels()
            if not parts:
                parts.append((batches[i], found))
                continue
            seconds += time.perf_counter() - began
            n_rows, length = batch["input_ids"].shape
            tokens += n_rows * length
            if model is not None:
                flops += model.of_batch(n_rows, length) * scorer.passes(batch)
                flops += int((~batch["special"]).sum()) * product
            if len(parts) > 1 or i != order[0]:
                parts.append((batches[i], found))
            if seconds > SECONDS and len(parts) >= min(3, len(batches)):
                break
    ids = np.concatenate([part for part, _ in parts])
    by_row = np.argsort(ids)
    values = {name: np.concatenate([found[name] for _, found in parts])[by_row] for name in scorer.wanted}
    known = flops if model is not None else None
    return Scored(ids[by_row], values, seconds, known, tokens, model, product, method, start_s, memory)


def _scoring_batch(rows: Rows, ids: np.ndarray, scoring: ScoringModel, device: torch.device) -> dict[str, Any]:
    batch: dict[str, Any] = dict(rows.tokens.padded(ids, int(scoring.tokenizer.pad_token_id or 0)))
    if rows.labels is not None:
        batch["labels"] = torch.from_numpy(rows.labels[ids])
    batch = {name: values.to(device) for name, values in batch.items()}
    return batch | {"rows": ids, "index": 0, "text_hash": rows.pool.text_hash[ids]}


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
