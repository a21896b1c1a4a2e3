"""Fine-tuning, shared by all heads."""

from __future__ import annotations

import math
import random
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recomputed

from selectune.common import checks
from selectune.common.errors import UserError
from selectune.common.seeds import current_seed, seed_stage
from selectune.data.sources import ModelSource, find_model
from selectune.lightning_modules.heads import Head, Output, widest
from selectune.lightning_modules.optimizers import check_optimizer

NO_DECAY = ("bias", "norm")
NO_END = (
    "A learning rate that falls to 0 needs an end; give trainer.max_epochs or trainer.max_steps, or a "
    "model.lr_scheduler."
)


class FineTuner(pl.LightningModule):
    """Fine-tunes a pre-trained model with the head that the data module asks for.

    Args:
        checkpoint: a hub name (``name@revision`` for one revision), a folder in the hub's layout, or
            ``docstrings-bert``, the embedded tiny model.
        learning_rate: the highest that the schedule reaches.
        weight_decay: of AdamW, on all weights but biases and norms.
        warmup: part of the steps in which the learning rate rises linearly from 0; in the rest it falls linearly to 0.
        optimizer: another optimizer than AdamW; it gets the same two parameter groups.
        lr_scheduler: another schedule, stepped every step (`ReduceLROnPlateau` every epoch, by the head's metric).
        head: another head than the data module's.
        seed: of the new head's weights, dropout and masks; default ``seed_everything``.
        stage: names the stage in its seeds, so that a warm-up and a fine-tuning draw apart.

    Raises:
        UserError: a rate, share or seed out of its range, or an optimizer or schedule that cannot be made.
    """

    def __init__(
        self,
        checkpoint: str,
        learning_rate: float = 2e-5,
        weight_decay: float = 0.01,
        warmup: float = 0.06,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
        head: Head | None = None,
        seed: int | None = None,
        stage: str = "train",
    ) -> None:
        super().__init__()
        checks.positive("model.learning_rate", learning_rate)
        checks.not_negative("model.weight_decay", weight_decay)
        checks.between("model.warmup", warmup, 0, 1)
        checks.seed("model.seed", seed)
        if optimizer or lr_scheduler:
            check_optimizer(optimizer or torch.optim.AdamW, lr_scheduler)
        self.checkpoint, self.learning_rate, self.weight_decay = checkpoint, learning_rate, weight_decay
        self.warmup, self.optimizer, self.lr_scheduler = warmup, optimizer, lr_scheduler
        self.head, self._seed, self.stage = head, seed, stage
        self.network: Any = None
        self._source: ModelSource | None = None
        self._random_states: list[Any] | None = None
        self.needs_trained_head = False  # set where a checkpoint is evaluated as it is

    @property
    def source(self) -> ModelSource:
        """The checkpoint as it was found."""
        if self._source is None:
            self._source = find_model(self.checkpoint)
        return self._source

    def start_from(self, checkpoint: str) -> None:
        """Fine-tune another checkpoint than the one that was given, as after a warm-up."""
        self.checkpoint, self._source = checkpoint, None

    @property
    def seed(self) -> int:
        """Of everything random in here."""
        return self._seed if self._seed is not None else current_seed()

    # What Lightning calls, in its order.

    def configure_callbacks(self) -> list[pl.Callback]:
        """The check that every training has, whoever made the Trainer."""
        from selectune.callbacks.training_check import TrainingCheck

        there = any(isinstance(callback, TrainingCheck) for callback in self.trainer.callbacks)  # type: ignore[attr-defined]
        return [] if there else [TrainingCheck()]

    def configure_model(self) -> None:
        """Build the network, its new parts from the stage's own seed."""
        if self.network is not None:
            return
        datamodule: Any = getattr(self.trainer, "datamodule", None)
        if self.head is None:
            self.head = datamodule.head()
        seed_stage(self.seed, self.stage, "weights")
        self.network = self.head.build(self.source, self.needs_trained_head).train()
        tokenizer = getattr(datamodule, "tokenizer", None)
        if tokenizer is not None and self.network.config.pad_token_id is None:
            self.network.config.pad_token_id = tokenizer.pad_token_id
        self.held_out = getattr(datamodule, "held_out", ("test",))
        self.metrics = nn.ModuleDict({_key(split): self.head.metrics_for(split) for split in ("val", *self.held_out)})
        self.losses: dict[str, list[float]] = {split: [0.0, 0.0] for split in ("val", *self.held_out)}

    def configure_optimizers(self) -> Any:
        """AdamW with a linear rise and fall, or what was asked for; biases and norms do not decay."""
        decay: list[Tensor] = []
        keep: list[Tensor] = []
        for name, weights in self.network.named_parameters():
            if weights.requires_grad:
                (keep if weights.ndim < 2 or any(part in name.lower() for part in NO_DECAY) else decay).append(weights)
        groups = [{"params": decay, "weight_decay": self.weight_decay}, {"params": keep, "weight_decay": 0.0}]
        if self.optimizer is not None:
            optimizer = self.optimizer(groups)
        else:
            optimizer = torch.optim.AdamW(groups, lr=self.learning_rate, fused=self._may_fuse())
        if self.lr_scheduler is not None:
            schedule = self.lr_scheduler(optimizer)
        else:
            total = self._optimizer_steps()
            rise = round(self.warmup * total)

            def factor(step: int) -> float:
                return (step + 1) / (rise + 1) if step < rise else max(0.0, (total - step) / max(1, total - rise))

            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        assert self.head is not None
        plateau = isinstance(schedule, torch.optim.lr_scheduler.ReduceLROnPlateau)
        when = {"interval": "epoch" if plateau else "step", "monitor": self.head.monitor}
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, **when}}

    def _may_fuse(self) -> bool:
        # one pass over the weights instead of a dozen; Lightning does not clip in mixed precision what is fused
        mixed = isinstance(self.trainer.precision_plugin, MixedPrecision)
        return not (mixed and self.trainer.gradient_clip_val)

    def on_train_batch_start(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Seed each epoch at its first batch; one that goes on from its middle takes the checkpoint's random states.

        Lightning calls no `on_train_epoch_start` in a resumed epoch.
        """
        states, self._random_states = self._random_states, None
        if batch_idx == 0:
            seed_stage(self.seed, self.stage, "epoch", self.current_epoch, self.global_rank)
        elif states is not None:
            _set_random_states(states[self.global_rank], self.device)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The mean loss over the whole batch, all ranks and micro-batches together.

        DDP averages gradients over ranks, so each rank's sum is divided by its share of all items. All but the last
        micro-batch are recomputed in the backward pass: memory is that of one, for one more forward pass each.
        """
        *first, last = batch["micro_batches"]
        outputs = [recomputed(self._loss, micro, use_reentrant=False) for micro in first]
        outputs.append(self._loss(last))
        total = torch.stack([loss for loss, _ in outputs]).sum()
        items = torch.tensor(float(sum(count for _, count in outputs)), device=total.device)
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(items)
            items = items / self.trainer.world_size
        loss = total / torch.where(items > 0, items, 1.0)
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=batch["n_rows"])
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Feed the metrics of ``dev``."""
        self._evaluate("val", batch)

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """Feed the metrics of the held-out split that the batch is of, and give the figures of its rows."""
        assert self.head is not None
        output = self._evaluate(batch["split"], batch)
        return self.head.of_rows(output)

    def on_validation_epoch_end(self) -> None:
        """Log ``val/...``."""
        self._log("val")

    def on_test_epoch_end(self) -> None:
        """Log ``test/...``, of further held-out splits ``test/<split>/...``."""
        for split in self.held_out:
            self._log(split)

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """Predictions of a batch as columns, with the rows that they belong to."""
        assert self.head is not None
        return {"row_id": np.asarray(batch["rows"]), **self.head.predict(self.network, batch)}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add every rank's random states, so that a run goes on in mid-epoch as if unbroken."""
        states: list[Any] = [None] * self.trainer.world_size
        if self.trainer.world_size > 1:
            torch.distributed.all_gather_object(states, _random_states(self.device))
        else:
            states = [_random_states(self.device)]
        checkpoint["random_states"] = states
        checkpoint["head"] = self.head.state if self.head else {}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the random states, if the ranks are as many as they were."""
        if self.head is not None:
            self.head.state.update(checkpoint.get("head", {}))
        states = checkpoint.get("random_states")
        self._random_states = states if states and len(states) == self.trainer.world_size else None

    # Helpers.

    def _optimizer_steps(self) -> int:
        """Steps of the whole fit.

        Lightning's `estimated_stepping_batches` would start the training loader before a checkpoint is restored, so
        that a resumed epoch could not go on from its middle.
        """
        trainer: Any = self.trainer
        batches, limit = trainer.datamodule.n_train_batches(), trainer.limit_train_batches
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
        epochs = trainer.max_epochs if trainer.max_epochs not in (None, -1) else math.inf
        steps = math.ceil(batches / trainer.accumulate_grad_batches) * epochs
        steps = min(steps, trainer.max_steps if trainer.max_steps >= 0 else math.inf)
        if steps == math.inf:
            raise UserError(NO_END)
        return int(steps)

    def _output(self, batch: dict[str, Any]) -> Output:
        assert self.head is not None
        return self.head.forward(self.network, batch)

    def _loss(self, batch: dict[str, Any]) -> tuple[Tensor, float]:
        output = self._output(batch)
        return output.loss_sum, output.items

    def _evaluate(self, split: str, batch: dict[str, Any]) -> Output:
        output = self._output(batch)
        if output.items == 0:  # nothing was masked
            return output
        self.metrics[_key(split)].update(output.predictions, output.targets)  # type: ignore[operator]
        self.losses[split][0] += float(output.loss_sum)
        self.losses[split][1] += output.items
        return output

    def _log(self, split: str) -> None:
        sums = torch.tensor(self.losses[split], dtype=widest(self.device), device=self.device)
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(sums)
        self.losses[split] = [0.0, 0.0]
        metrics = self.metrics[_key(split)]
        found = {f"{split}/{name}": value for name, value in metrics.compute().items()}  # type: ignore[operator]
        metrics.reset()  # type: ignore[operator]
        if split == "val" and self.head is not None:
            self.head.after_validation(found)
        loss = sums[0] / torch.where(sums[1] > 0, sums[1], 1.0)
        found[f"{split}/loss"] = loss.float()
        found |= {f"{split}/{name}": value for name, value in self.head.from_loss(float(loss)).items()}  # type: ignore[union-attr]
        if split == "test":
            found |= {f"test/{name}": value for name, value in self.trainer.datamodule.references().items()}  # type: ignore[attr-defined]
        self.log_dict(found, rank_zero_only=False, sync_dist=False, prog_bar=split == "val")


def _key(split: str) -> str:
    """A split's name as that of a module, which holds no point."""
    return split.replace(".", ":")


def _random_states(device: torch.device) -> dict[str, Any]:
    version, state, gauss = random.getstate()
    states: dict[str, Any] = {"torch": torch.get_rng_state(), "python": [version, list(state), gauss]}
    if device.type != "cpu":  # an accelerator draws dropout from a state of its own
        states[device.type] = torch.get_device_module(device).get_rng_state()
    return states


def _set_random_states(states: dict[str, Any], device: torch.device) -> None:
    version, state, gauss = states["python"]
    random.setstate((version, tuple(state), gauss))
    torch.set_rng_state(states["torch"].cpu())
    if device.type != "cpu" and device.type in states:
        torch.get_device_module(device).set_rng_state(states[device.type].cpu())
