"""Charge what a Trainer does to the ledger: training, and evaluation apart from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from selectune.costs import Part, Stage
from selectune.distributed import world
from selectune.errors import RunDirectoryError
from selectune.flop_formulas import adamw_flops
from selectune.flops import FlopModel, UnfitFlopsError
from selectune.ledger import Ledger, StageCost


class CostLedger(pl.Callback):
    """Writes a record of ``cost.jsonl`` for each stage that a Trainer runs.

    The FLOPs are those of matrix products, counted once at some lengths and known for every batch, and 14 a weight for
    each step of the optimizer.

    Args:
        run: the folder whose ``cost.jsonl`` is written; None keeps the records in memory, as ``ledger.records``.
        ledger: an open ledger instead.
        stage: what a fit is.
        part: whose data it serves.
        evaluation: what a validation, test or prediction is.
    """

    def __init__(
        self,
        run: str | Path | None = None,
        ledger: Ledger | None = None,
        stage: Stage = "train",
        part: Part = "fit",
        evaluation: Stage = "evaluate",
    ) -> None:
        self.ledger = ledger or Ledger(Path(run) / "cost.jsonl" if run else None)
        self.stage: Stage = stage
        self.part: Part = part
        self.evaluation: Stage = evaluation
        self._own = ledger is None
        self._occupied = self.ledger.path is not None and self.ledger.path.exists()
        self._training: StageCost | None = None
        self._evaluation: StageCost | None = None
        self._flops: dict[bool, FlopModel | str] = {}
        self._step: int | None = 0
        self._steps, self._step_method = 0, ""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Learn which rank this is."""
        self.begin(trainer)

    def begin(self, trainer: pl.Trainer) -> None:
        """Learn which rank this is, before anything is charged.

        Raises:
            RunDirectoryError: the folder holds the ledger of another run.
        """
        if not self._own:
            return
        fitting = trainer.state.fn == "fit" and not trainer.ckpt_path
        if fitting and self._occupied and trainer.global_rank == 0:
            raise RunDirectoryError(
                f"{self.ledger.path.parent} holds the ledger of another run, which this one would be charged with; "  # type: ignore[union-attr]
                "give CostLedger another folder."
            )
        self.ledger.rank, self.ledger.world_size = world()
        self.ledger.device = str(trainer.strategy.root_device)

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Start the clock, and count the FLOPs of a row: counting is work too."""
        self._training = self.ledger.open(self.stage, self.part)
        weights = sum(weight.numel() for weight in pl_module.network.parameters() if weight.requires_grad)
        known = isinstance(trainer.optimizers[0], torch.optim.AdamW)
        self._step = adamw_flops(weights) if known else None  # every rank does the whole step
        self._step_method = "AdamW: 14 a weight and step" if known else "FLOPs of this optimizer are not known"
        self._steps = trainer.global_step
        flops = self._of(pl_module, True)
        if isinstance(flops, FlopModel):
            self._training.add(method=flops.method)  # so a run that was killed at once is known to have done nothing

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Add a batch; a batch cut into micro-batches computes the forward pass of all but the last one twice."""
        assert self._training is not None
        *first, last = batch["micro_batches"]
        for micro in first:
            self._add(self._training, pl_module, micro, (True, False))
        self._add(self._training, pl_module, last, (True,))
        if trainer.global_step > self._steps:
            self._steps = trainer.global_step
            self._training.add(flops=self._step, method=self._step_method)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the record."""
        self._close(True)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the training's clock and start the evaluation's."""
        if self._training:
            self._training.pause()
        self._evaluation = self.ledger.open(self.evaluation, self.part)

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Add a batch."""
        assert self._evaluation is not None
        self._add(self._evaluation, pl_module, batch, (False,))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the evaluation's record, and let the training's clock run on."""
        if self._evaluation:
            self._evaluation.close()
            self._evaluation = None
        if self._training:
            self._training.resume()

    on_test_start = on_predict_start = on_validation_start
    on_test_batch_end = on_predict_batch_end = on_validation_batch_end
    on_test_end = on_predict_end = on_validation_end

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave a record of what was spent until an error."""
        self._close(False)

    def _close(self, finished: bool) -> None:
        for cost in (self._evaluation, self._training):
            if cost:
                cost.close(finished)
        self._evaluation = self._training = None

    def _add(self, cost: StageCost, module: Any, batch: dict[str, Any], passes: tuple[bool, ...]) -> None:
        n_rows, length = batch["input_ids"].shape
        cost.add(examples=len(batch["rows"]), tokens=batch["n_tokens"], padded_tokens=n_rows * length)
        for backward in passes:
            flops = self._of(module, backward)
            if isinstance(flops, FlopModel):
                cost.add(flops=flops.of_batch(n_rows, length), method=flops.method)
            else:
                cost.add(flops=None, method=flops)

    def _of(self, module: Any, backward: bool) -> FlopModel | str:
        if backward not in self._flops:
            both = self._flops.get(True)
            if not backward and isinstance(both, FlopModel) and both.forward is not None:
                self._flops[False] = both.forward
                return both.forward
            try:
                self._flops[backward] = module.head.flops(module.network, backward)
            except UnfitFlopsError as error:
                self._flops[backward] = str(error)
        return self._flops[backward]
