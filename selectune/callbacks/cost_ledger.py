"""Charge the work of a Trainer to the ledger: training, and evaluation apart from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from selectune.callbacks.batch_costs import BatchCosts
from selectune.common.errors import RunDirectoryError
from selectune.common.ranks import gather, world
from selectune.common.run_files import RunFiles
from selectune.costs.flops import FlopModel
from selectune.costs.ledger import Ledger, StageCost
from selectune.costs.record import AGAIN, Kept, Part, Stage

IN_CHECKPOINT = "costs"  # of the training so far, see `Kept`


class CostLedger(pl.Callback):
    """Writes a record of ``cost.jsonl`` for each stage that a Trainer runs, this project's or any of Lightning's.

    The FLOPs are those of matrix products, counted once at some lengths and known for every batch, and 14 a weight for
    each step of the optimizer.

    Checkpoints hold what the training has cost so far, so that the record of a fit that goes on from one says which
    costs were kept, and what earlier attempts spent after the checkpoint is known to have been done again.

    Args:
        run: the folder whose ``cost.jsonl`` is written; None keeps the records in memory, as ``ledger.records``.
        ledger: an open ledger instead.
        stage: the stage that a fit is charged to.
        part: whose data it serves.
        evaluation: the stage that a validation, test or prediction is charged to.
        work: name of the training in the ledger, other than those of its other trainings for the same part; default
            the stage.
    """

    def __init__(
        self,
        run: str | Path | None = None,
        ledger: Ledger | None = None,
        stage: Stage = "train",
        part: Part = "fit",
        evaluation: Stage = "evaluate",
        work: str = "",
    ) -> None:
        self.ledger = ledger or Ledger(RunFiles(Path(run)).costs if run else None)
        self.stage, self.part, self.evaluation, self.work = stage, part, evaluation, work
        self._own = ledger is None
        self._occupied = self.ledger.path is not None and self.ledger.path.exists()
        self._begun: str | None = None  # what this attempt began as: "fit", or another use of the callback
        self._training: StageCost | None = None  # of this fit; it is closed at the end, and then changes no more
        self._kept: tuple[Kept, ...] | None = ()  # of the checkpoint that it went on from; None where it has none
        self._evaluation: StageCost | None = None
        self.counts, self._steps = BatchCosts(), 0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Set the ledger's rank, and forget the training of an earlier fit, which may have trained other weights."""
        self.begin(trainer)
        if stage == "fit":
            self._training, self._kept = None, ()
            self.counts = BatchCosts()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Let a later fit be an attempt of its own."""
        self._begun = "used"

    def begin(self, trainer: pl.Trainer) -> None:
        """Set the ledger's rank, device and attempt, before anything is charged.

        Raises:
            RunDirectoryError: the folder holds the ledger of another run.
        """
        if not self._own:
            return
        path, fitting = self.ledger.path, trainer.state.fn == "fit"
        if path and fitting and not trainer.ckpt_path and self._occupied and trainer.global_rank == 0:
            raise RunDirectoryError(
                f"{path.parent} holds the ledger of another run, which this one would be charged with; "
                "give CostLedger another folder, or set trainer.ckpt_path before `fit` to go on with that run."
            )

        self.ledger.rank, self.ledger.world_size = world()
        self.ledger.device = str(trainer.strategy.root_device)
        if self._begun is None or (fitting and self._begun != "fit"):
            self.ledger.begin_attempt()
        self._begun = "fit" if fitting else self._begun or "used"

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Add what the training of the checkpoint has cost, on all ranks."""
        if self._kept is None:
            return
        mine: list[Kept] = []
        if self._training is not None:
            mine = [Kept.of(self._training.so_far().to_json())]
            self._training.heartbeat(at_once=True)  # the checkpoint must not outlive its cost
        # each rank has costs of its own, but rank 0 writes the checkpoint
        kept = [*self._kept, *(one for of_rank in gather(mine) for one in of_rank)]
        checkpoint[IN_CHECKPOINT] = [asdict(one) for one in kept]

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Take the cost of the training up to the checkpoint that a fit goes on from."""
        if trainer.state.fn == "fit":
            costs = checkpoint.get(IN_CHECKPOINT)
            self._kept = None if costs is None else tuple(map(Kept.of, costs))

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Start the clock, and count the FLOPs of a row: counting is work too."""
        work = self.work or self.stage
        if self._kept and self.ledger.resumed:
            # the first attempt's record has this counting already, so a resumed one gets a record of its own
            with self.ledger.stage(self.stage, self.part, f"{work}{AGAIN}", ()) as start:
                start.add(method="no arithmetic")
                self.counts.flops_of(pl_module, True)
        self._training = self.ledger.open(self.stage, self.part, work, self._kept)
        self.counts.optimized_by(trainer.optimizers)
        self._steps = trainer.global_step
        flops = self.counts.flops_of(pl_module, True)
        if isinstance(flops, FlopModel):
            self._training.add(method=flops.method)  # a run that is killed at once has done 0 FLOPs, not unknown ones

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Add a batch, whose first micro-batches may be computed again in the backward pass."""
        assert self._training is not None
        cut = isinstance(batch, Mapping) and "micro_batches" in batch
        parts, again = (batch["micro_batches"], batch["recomputed"]) if cut else ([batch], 0)
        work = [(part, (True, False) if place < again else (True,)) for place, part in enumerate(parts)]
        stepped, self._steps = trainer.global_step > self._steps, trainer.global_step
        self.counts.add(self._training, pl_module, work, stepped)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the record."""
        self._close(True)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the training's clock and start the evaluation's."""
        if self._training:
            self._training.pause()
        batches, stage = trainer.fit_loop.epoch_loop.batch_progress.total.ready, trainer.state.stage
        work = ""  # of an evaluation that no fit asked for
        if batches or self.work:
            work = f"{self.work or self.stage}: {stage.value if stage else ''} after {batches} batches"
        self._evaluation = self.ledger.open(self.evaluation, self.part, work)

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        """Add a batch."""
        assert self._evaluation is not None
        self.counts.add(self._evaluation, pl_module, [(batch, (False,))])

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the evaluation's record, and let the training's clock run on."""
        if self._evaluation:
            self._evaluation.close()
            self._evaluation = None
        if self._training:
            self._training.resume()

    on_test_start = on_predict_start = on_validation_start
    on_test_batch_end = on_predict_batch_end = on_validation_batch_end  # type: ignore[assignment]
    on_test_end = on_predict_end = on_validation_end

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave a record of what was spent until an error."""
        self._close(False)
        self._begun = "used"

    def _close(self, finished: bool) -> None:
        for cost in (self._evaluation, self._training):
            if cost:
                cost.close(finished)
        self._evaluation = None
