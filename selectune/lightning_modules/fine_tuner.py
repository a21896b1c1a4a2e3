"""Fine-tuning, shared by all heads."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recomputed

from selectune.callbacks.training_check import TrainingCheck
from selectune.common import checks
from selectune.common.ranks import gather
from selectune.common.seeds import current_seed, random_states, seed_stage, set_random_states
from selectune.data.sources import ModelSource, find_model
from selectune.lightning_modules.cpu_dropout import CpuDropout, has_dropout
from selectune.lightning_modules.heads import Head, Output, widest
from selectune.lightning_modules.heads.base import compile_body, recompute_activations
from selectune.lightning_modules.heads.first_position import read_first_position
from selectune.lightning_modules.lora import Adapter, Lora
from selectune.lightning_modules.optimizer import check_optimizer, optimizer_steps, parameter_groups, rise_and_fall


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
        lora: train small matrices beside the weights, which stay as they are (extra ``selectune[lora]``).
        gradient_checkpointing: compute each layer's activations again in the backward pass instead of keeping them.
        compile: compile the network below its head: true for ``torch.compile``'s usual backend, or the name of one.

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
        lora: Lora | None = None,
        gradient_checkpointing: bool = False,
        compile: bool | str = False,
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
        self.head: Any = head  # None until `configure_model` asks the data module for one
        self._seed, self.stage = seed, stage
        self.lora, self.gradient_checkpointing, self.compiled = lora, gradient_checkpointing, compile
        self.strict_loading = lora is None  # else checkpoints hold what is trained alone
        self._adapter: Adapter | None = None
        self.network: Any = None
        self._dropout: type[AbstractContextManager[Any]] = nullcontext
        self._source: ModelSource | None = None
        self._random_states: list[Any] | None = None
        self.needs_trained_head = False  # set where a checkpoint is evaluated as it is
        self.evaluated: dict[str, int] = {}  # rows of the last evaluation of ``val`` and of each held-out split

    @property
    def source(self) -> ModelSource:
        """The checkpoint, and the folder that it lies in."""
        if self._source is None:
            self._source = find_model(self.checkpoint)
        return self._source

    def start_from(self, checkpoint: str) -> None:
        """Fine-tune another checkpoint than the one that was given, as after a warm-up."""
        self.checkpoint, self._source = checkpoint, None

    def like(self, **changes: Any) -> FineTuner:
        """A fresh module of the same settings, but for the changes."""
        names = ("checkpoint", "learning_rate", "weight_decay", "warmup", "optimizer", "lr_scheduler", "lora")
        same = {name: getattr(self, name) for name in (*names, "gradient_checkpointing")}
        return FineTuner(**same | {"compile": self.compiled, "seed": self.seed} | changes)

    @property
    def seed(self) -> int:
        """The seed of everything random in this module."""
        return self._seed if self._seed is not None else current_seed()

    # Lightning calls these, in this order.

    def configure_callbacks(self) -> list[pl.Callback]:
        """The check of every training, unless the Trainer has one."""
        checked = any(isinstance(callback, TrainingCheck) for callback in self.trainer.callbacks)  # type: ignore[attr-defined]
        return [] if checked else [TrainingCheck()]

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
        if self.head.reads_logits:
            read_first_position(self.network)
        if self.lora is not None:
            built = self.head.auto_class, self.head.new
            self._adapter = Adapter(self.network, self.lora, *built, self.checkpoint, self.source)
        # a compiled network draws in its own way; where nothing is dropped, a context would take time alone
        on_cpu = self.trainer.strategy.root_device.type == "cpu"
        self._dropout = CpuDropout if on_cpu and not self.compiled and has_dropout(self.network) else nullcontext
        if self.gradient_checkpointing:
            recompute_activations(self.network, self.source, self._dropout)
        if self.compiled:
            compile_body(self.network, self.compiled)
        self.held_out = getattr(datamodule, "held_out", ("test",))
        self.metrics = nn.ModuleDict({_key(split): self.head.metrics_for(split) for split in ("val", *self.held_out)})
        self.losses: dict[str, Tensor] = {}  # by split: their sum, of how many items and of how many rows

    def configure_optimizers(self) -> Any:
        """AdamW with a linear rise and fall, or what was asked for; biases and norms do not decay."""
        groups = parameter_groups(self.network, self.weight_decay)
        if self.optimizer is not None:
            optimizer = self.optimizer(groups)
        else:
            # fused: one pass over the weights, not a dozen; it unscales gradients of float16 after they are clipped
            scales = getattr(self.trainer.precision_plugin, "scaler", None) is not None
            fused = not (scales and self.trainer.gradient_clip_val)
            optimizer = torch.optim.AdamW(groups, lr=self.learning_rate, fused=fused)
            if not scales:
                optimizer._step_supports_amp_scaling = False  # else Lightning would not clip in bfloat16 either
        if self.lr_scheduler is not None:
            schedule = self.lr_scheduler(optimizer)
        else:
            schedule = rise_and_fall(optimizer, self.warmup, optimizer_steps(self.trainer))
        plateau = isinstance(schedule, torch.optim.lr_scheduler.ReduceLROnPlateau)
        when = {"interval": "epoch" if plateau else "step", "monitor": self.head.monitor}
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, **when}}

    def on_train_batch_start(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Seed each epoch at its first batch; one that goes on from its middle takes the checkpoint's random states."""
        # not in `on_train_epoch_start`, which Lightning does not call in a resumed epoch
        states, self._random_states = self._random_states, None
        if batch_idx == 0:
            seed_stage(self.seed, self.stage, "epoch", self.current_epoch, self.global_rank)
        elif states is not None:
            set_random_states(states[self.global_rank], self.device)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The mean loss over the whole batch, of all ranks and micro-batches.

        Where the batch is over the budget of memory, the first micro-batches are computed again in the backward pass:
        one more forward pass each.
        """

        def loss_of(micro: dict[str, Any]) -> tuple[Tensor, float | Tensor]:
            with self._dropout():  # when it is computed again too
                output = self.head.forward(self.network, micro)
            return output.loss_sum, output.items

        micro, n = batch["micro_batches"], batch["recomputed"]
        outputs = [*(recomputed(loss_of, one, use_reentrant=False) for one in micro[:n]), *map(loss_of, micro[n:])]
        total = torch.stack([loss for loss, _ in outputs]).sum()
        # no number comes from the host or goes there, which would wait for the device
        items = torch.zeros((), device=total.device) + sum(count for _, count in outputs)
        if self.trainer.world_size > 1:
            # DDP averages gradients over ranks, so each rank's sum is divided by its share of all items
            torch.distributed.all_reduce(items)
            items = items / self.trainer.world_size
        loss = total / (items + (items == 0))
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=batch["n_rows"])
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """Update the metrics of ``dev``; returns the predictions of the batch, for callbacks."""
        return {"predictions": self._evaluate("val", batch).predictions}

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """Update the metrics of the batch's held-out split; returns the metrics of its rows."""
        return self.head.of_rows(self._evaluate(batch["split"], batch))

    def _evaluate(self, split: str, batch: dict[str, Any]) -> Output:
        output = self.head.forward(self.network, batch)
        sums = self.losses[split]
        sums[2] += len(batch["rows"])
        if len(output.targets):  # else nothing was masked
            self.metrics[_key(split)].update(output.predictions, output.targets)  # type: ignore[operator]
            sums[0] += output.loss_sum  # no number goes to the host before the end, as it would wait for the device
            sums[1] += output.items
        return output

    def on_validation_epoch_start(self) -> None:
        """Begin with nothing, whatever an evaluation that was stopped has left."""
        self._begin("val")

    def on_test_epoch_start(self) -> None:
        """The same of the held-out splits."""
        self._begin(*self.held_out)

    def _begin(self, *splits: str) -> None:
        for split in splits:
            self.losses[split] = torch.zeros(3, dtype=widest(self.device), device=self.device)
            self.metrics[_key(split)].reset()  # type: ignore[operator]

    def on_validation_epoch_end(self) -> None:
        """Log ``val/...``."""
        self._log("val")

    def on_test_epoch_end(self) -> None:
        """Log ``test/...``, of further held-out splits ``test/<split>/...``."""
        for split in self.held_out:
            self._log(split)

    def _log(self, split: str) -> None:
        # each rank has seen rows of its own: losses are added up here, other metrics by torchmetrics in `compute`
        sums = self.losses[split]
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(sums)
        self.evaluated[split] = int(sums[2])
        metrics: Any = self.metrics[_key(split)]
        values: dict[str, Any] = {f"{split}/{name}": value for name, value in metrics.compute().items()}
        metrics.reset()
        if split == "val":
            self.head.after_validation(values)
        loss = sums[0] / torch.where(sums[1] > 0, sums[1], 1.0)
        values[f"{split}/loss"] = loss.float()
        references = self.trainer.datamodule.references() if split == "test" else {}  # type: ignore[attr-defined]
        more = self.head.from_loss(float(loss)) | references
        values |= {f"{split}/{name}": value for name, value in more.items()}
        self.log_dict(values, rank_zero_only=False, sync_dist=False, prog_bar=split == "val")

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """Predictions of a batch as columns, with the ids of its rows."""
        return {"row_id": np.asarray(batch["rows"]), **self.head.predict(self.network, batch)}

    def save_network(self, folder: Path) -> None:
        """Write the network in Hugging Face format; of one with an adapter that alone, unless it is to be merged."""
        self.head.finish(self.network)
        (self._adapter.save if self._adapter else self.network.save_pretrained)(folder)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add every rank's random states, so that a run goes on in mid-epoch as if it had not been interrupted."""
        if self._adapter is not None:
            # weights that are tied have a name each
            named = self.named_parameters(remove_duplicate=False)
            frozen = {name for name, weights in named if not weights.requires_grad}
            checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k not in frozen}
        checkpoint["random_states"] = gather(random_states(self.device))
        checkpoint["head"] = self.head.state if self.head else {}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the random states, if the ranks are as many as they were."""
        if self.head is not None:
            self.head.state.update(checkpoint.get("head", {}))
        states = checkpoint.get("random_states")
        self._random_states = states if states and len(states) == self.trainer.world_size else None


def _key(split: str) -> str:
    """A split's name as that of a module, which holds no point."""
    return split.replace(".", ":")
