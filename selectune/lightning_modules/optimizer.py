"""Optimizers and schedules that a config names."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from selectune.common import checks
from selectune.common.errors import UserError

NO_DECAY = ("bias", "norm")


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
