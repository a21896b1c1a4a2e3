"""The Trainer's options: values out of range, or that Lightning refuses, are errors before anything is loaded."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from textwrap import shorten
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher

from selectune.common import checks
from selectune.common.errors import UserError

LONGEST = 300  # characters of Lightning's message
PROCESSES_PER_CORE = 4  # more of them would only wait for each other
REFUSALS = (MisconfigurationException, ValueError, TypeError, ImportError, RuntimeError)


def made_trainer(make: Callable[..., Trainer], options: Mapping[str, Any]) -> Trainer:
    """A Trainer of these options.

    Raises:
        UserError: one is out of its range, Lightning does not take them, or they ask for processes that are not
            supported here.
    """
    if not isinstance(options["strategy"], str):
        raise UserError(
            "trainer.strategy must be a name, such as ddp, since each stage makes a strategy of its own; name it."
        )
    # numbers that Lightning takes, but with which nothing is trained, or a training fails later
    for name in ("max_epochs", "max_steps"):
        checks.limit(f"trainer.{name}", options[name])
    for name in ("accumulate_grad_batches", "check_val_every_n_epoch", "num_nodes"):
        checks.at_least(f"trainer.{name}", options[name], 1)
    checks.at_least("trainer.log_every_n_steps", options["log_every_n_steps"], 0)
    checks.not_negative("trainer.gradient_clip_val", options["gradient_clip_val"])
    checks.positive("trainer.limit_train_batches", options["limit_train_batches"])
    if isinstance(options["val_check_interval"], int | float):  # Lightning reads time spans
        checks.positive("trainer.val_check_interval", options["val_check_interval"])
    try:
        trainer = make(**options)
    except REFUSALS as error:
        reason = shorten(" ".join(str(error).split()), LONGEST).rstrip(".")
        named = [f"trainer.{name}" for name, value in options.items() if _is_about(reason, name, value)]
        about = " with ".join(named[:2] or ["trainer.accelerator", "trainer.strategy"])  # those that need packages
        raise UserError(f"Lightning does not accept {about} as given ({reason}); change it.") from error
    if isinstance(trainer.strategy.launcher, _MultiProcessingLauncher):
        raise UserError(
            f"trainer.strategy is {options['strategy']}, but strategies that fork or spawn are not supported; use ddp."
        )
    cores = os.cpu_count() or 1
    if isinstance(trainer.accelerator, CPUAccelerator) and trainer.num_devices > PROCESSES_PER_CORE * cores:
        raise UserError(
            f"trainer.devices is {trainer.num_devices}, but this machine has {cores} cores; give at most "
            f"{PROCESSES_PER_CORE * cores} processes."
        )
    return trainer


def _is_about(reason: str, name: str, value: Any) -> bool:
    """Whether a message names an option, or the word that was given for it."""
    words = [name, *([value] if isinstance(value, str) and value != "auto" else [])]
    return any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", reason) for word in words)
