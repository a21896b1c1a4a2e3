"""Optimizers and schedules that a config names."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import nn

from selectune.common import checks
from selectune.common.errors import UserError


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
