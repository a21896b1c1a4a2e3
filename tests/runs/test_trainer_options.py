"""Options of the Trainer that are out of range, or that Lightning refuses, are named."""

from __future__ import annotations

import math
import os
from typing import Any

import pytest
from lightning.pytorch import Trainer

from selectune.common.errors import UserError
from selectune.runs.trainer_options import PROCESSES_PER_CORE, made_trainer
from tests.mistakes import mistake

OPTIONS: dict[str, Any] = {
    "accelerator": "cpu", "strategy": "auto", "devices": 1, "num_nodes": 1, "precision": None, "max_epochs": 1,
    "max_steps": -1, "limit_train_batches": None, "accumulate_grad_batches": 1, "gradient_clip_val": None,
    "val_check_interval": None, "check_val_every_n_epoch": 1, "log_every_n_steps": None, "logger": False,
    "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False,
}  # fmt: skip
TRAINER = {
    "max_epochs": (0, -3),
    "max_steps": (0, -3),
    "limit_train_batches": (0, 0.0, -1, 1.5),
    "limit_val_batches": (-1, 1.5),
    "accumulate_grad_batches": (0, -1),
    "check_val_every_n_epoch": (0,),
    "val_check_interval": (0, 0.0, -1),
    "log_every_n_steps": (-1,),
    "gradient_clip_val": (-1.0, math.nan),
    "gradient_clip_algorithm": ("middle",),
    "num_nodes": (0, -1),
    "max_time": ("soon",),
    "devices": (0, -1, "many", 10**5, PROCESSES_PER_CORE * (os.cpu_count() or 1) + 1),
    "accelerator": ("abacus", "tpu"),
    "strategy": ("together", "fsdp", "deepspeed", "ddp_spawn", "ddp_fork", object()),
    "precision": ("8",),
}


@pytest.mark.parametrize("name", TRAINER)
def test_an_option_of_the_trainer_is_named(name: str) -> None:
    for value in TRAINER[name]:
        with mistake(UserError, f"trainer.{name}"):
            made_trainer(Trainer, OPTIONS | {name: value})
    made_trainer(Trainer, OPTIONS | {"limit_val_batches": 0, "devices": PROCESSES_PER_CORE, "strategy": "ddp"})


TASKS = {  # of Slurm, and what is told
    "in all": ({"SLURM_NTASKS": "2"}, {}, ["2 tasks", "--ntasks-per-node"]),
    "more than devices": ({"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "2"}, {}, ["--trainer.devices 2"]),
    "more than auto finds": (
        {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2"}, {"devices": "auto"}, ["trainer.devices", "auto"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TASKS)
def test_tasks_of_slurm_that_a_run_would_not_use_are_refused(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variables, options, named = TASKS[case]
    for name, value in ({"SLURM_JOB_NAME": "job.sh", "SLURM_PROCID": "0", "SLURM_STEP_ID": "0"} | variables).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("lightning.pytorch.accelerators.CUDAAccelerator.is_available", lambda: False)
    with mistake(UserError, *named):
        made_trainer(Trainer, OPTIONS | options)
    with monkeypatch.context() as torchrun:
        torchrun.setenv("TORCHELASTIC_RUN_ID", "1")
        made_trainer(Trainer, OPTIONS | options)
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")
    made_trainer(Trainer, OPTIONS | options)
