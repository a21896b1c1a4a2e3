"""A quiet Trainer on one CPU."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl


def trainer_for(**settings: Any) -> pl.Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    return pl.Trainer(**{"accelerator": "cpu", "devices": 1, "enable_progress_bar": False, **quiet, **settings})
