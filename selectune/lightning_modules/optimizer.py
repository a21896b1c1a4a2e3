"""Optimizers and schedules that a config names."""

from __future__ import annotations

import math
from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from selectune.common import checks
from selectune.common.errors import UserError
from selectune.data.batches import limited

NO_DECAY = ("bias", "norm")
NO_END = (
    "A learning rate that falls to 0 needs an end; give trainer.max_epochs or trainer.max_steps, or a "
    "model.lr_scheduler."
)


def check_optimizer(optimizer: OptimizerCallable, lr_scheduler: LRSchedulerCallable | None) -> None:
    """Make them once of two small parameters, as the network is built only when the rows are selected.

    Raises:
        UserError: they refuse their arguments, or the learning rate is not over 0.
    """
    groups: Any = [{"params": [nn.Parameter(torch.zeros(2, 2))]}, {"params": [nn.Parameter(torch.zeros(2))]}]
    try:
        made = optimizer(groups)
        for group in made.param_groups:
            checks.positive("model.optimizer.lr", group.get("lr"))
        if lr_scheduler is not None:
            lr_scheduler(made)
    except UserError:
        raise
    except (ValueError, TypeError) as error:
        raise UserError(
            f"model.optimizer or model.lr_scheduler cannot be made ({error}); correct its arguments."
        ) from error


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The trained weights for an optimizer: those that decay, and biases and norms, which do not."""
    decay: list[Tensor] = []
    no_decay: list[Tensor] = []
    for name, weights in network.named_parameters():
        if weights.requires_grad:
            exempt = weights.ndim < 2 or any(part in name.lower() for part in NO_DECAY)
            (no_decay if exempt else decay).append(weights)
    return [{"params": decay, "weight_decay": weight_decay}, {"params": no_decay, "weight_decay": 0.0}]


def rise_and_fall(optimizer: torch.optim.Optimizer, warmup: float, steps: int) -> LambdaLR:
    """A learning rate that rises linearly over a share of the steps, and falls linearly to 0 in the rest."""
    rise = round(warmup * steps)

    def factor(step: int) -> float:
        return (step + 1) / (rise + 1) if step < rise else max(0.0, (steps - step) / max(1, steps - rise))

    return LambdaLR(optimizer, factor)


def optimizer_steps(trainer: Any) -> int:
    """Steps of the whole fit.

    Lightning's `estimated_stepping_batches` would start the training loader before a checkpoint is restored, so that a
    resumed epoch could not go on from its middle.

    Raises:
        UserError: it has no end.
    """
    batches = limited(trainer.datamodule.n_train_batches(), trainer.limit_train_batches)
    epochs = trainer.max_epochs if trainer.max_epochs not in (None, -1) else math.inf
    steps = math.ceil(batches / trainer.accumulate_grad_batches) * epochs
    steps = min(steps, trainer.max_steps if trainer.max_steps >= 0 else math.inf)
    if steps == math.inf:
        raise UserError(NO_END)
    return int(steps)
