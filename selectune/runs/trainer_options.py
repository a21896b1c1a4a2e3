"""The Trainer's options: values out of range, or that Lightning refuses, are errors before anything is loaded."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from textwrap import shorten
from typing import Any

import torch
from lightning.fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.accelerators import AcceleratorRegistry, CPUAccelerator, CUDAAccelerator, MPSAccelerator
from lightning.pytorch.strategies import StrategyRegistry
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher

from selectune.callbacks.preemption import cluster_environments
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
    _check_places(options)
    _check_tasks(options["devices"], options.get("plugins"))
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


def _check_places(options: Mapping[str, Any]) -> None:
    """Refuse names of accelerators and strategies that there are none of, and devices that are not there.

    Raises:
        UserError: one is.
    """
    accelerator, strategy, devices = (options[name] for name in ("accelerator", "strategy", "devices"))
    if isinstance(accelerator, str):
        _known("trainer.accelerator", accelerator, ["auto", "gpu", *AcceleratorRegistry.available_accelerators()])
    _known("trainer.strategy", strategy, ["auto", *StrategyRegistry.available_strategies()])
    if accelerator in ("gpu", "cuda") and not (CUDAAccelerator.is_available() or MPSAccelerator.is_available()):
        raise UserError(
            f"trainer.accelerator is {accelerator}, but torch {torch.__version__} finds no GPU here; say auto or cpu, "
            "or install a torch that is built for it."
        )
    if strategy.startswith(("fsdp", "deepspeed")) and not CUDAAccelerator.is_available():
        raise UserError(
            f"trainer.strategy is {strategy}, which needs GPUs, and torch finds none here; say ddp or auto."
        )
    number = int(devices) if re.fullmatch(r"-?\d+", str(devices)) else None
    if number is not None and number < 1 and number != -1:
        raise UserError(f"trainer.devices is {devices}, but must be at least 1, or -1 or auto for all there are.")
    if isinstance(devices, str) and number is None and devices != "auto" and not re.fullmatch(r"[\d, ]+", devices):
        raise UserError(f"trainer.devices is {devices}, but must be a number, a list of numbers, or auto.")


def _check_tasks(devices: Any, plugins: Any) -> None:
    """Refuse tasks of Slurm that a run would not use.

    Raises:
        UserError: there are several, of which each node's number is not known, or is not that of the devices.
    """
    tasks = int(os.environ.get("SLURM_NTASKS", "1"))
    started = "SLURM_STEP_ID" in os.environ  # by srun, and not as the one process of a batch script
    if tasks < 2 or not started or cluster_environments(plugins):
        return
    if TorchElasticEnvironment.detect() or not SLURMEnvironment.detect():
        return
    if (per_node := os.environ.get("SLURM_NTASKS_PER_NODE")) is None:
        raise UserError(
            f"Slurm starts {tasks} tasks, but does not say how many on each node: give sbatch or srun "
            "--ntasks-per-node in place of --ntasks (-n), and as many trainer.devices; or start one task."
        )
    one = devices in (1, "1") or (devices == "auto" and not CUDAAccelerator.is_available())
    if per_node != "1" and one:
        raise UserError(
            f"Slurm starts {per_node} tasks on each node, but trainer.devices is {devices}; give --trainer.devices "
            f"{per_node} --trainer.strategy ddp."
        )


def _known(option: str, given: str, names: Sequence[str]) -> None:
    if given not in names:
        close = get_close_matches(given, names, 1)
        told = f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(names)[:8])} and others."
        raise UserError(f"There is no {option} {given}; {told}")


def _is_about(reason: str, name: str, value: Any) -> bool:
    """Whether a message names an option, or the word that was given for it."""
    words = [name, *([value] if isinstance(value, str) and value != "auto" else [])]
    return any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", reason) for word in words)
