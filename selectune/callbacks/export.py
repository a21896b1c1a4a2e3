"""Write the fine-tuned model in Hugging Face format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from selectune.callbacks.training_check import training_failure
from selectune.common.files import atomic_folder
from selectune.common.ranks import on_rank_zero


class Export(pl.Callback):
    """Writes a fitted model and its tokenizer where `from_pretrained` opens them.

    Args:
        folder: to write.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the weights as they are at the end of the fit, unless that was stopped as they are not finite."""
        if training_failure(trainer) is None:
            export(pl_module, trainer.datamodule, self.folder)  # type: ignore[attr-defined]


def export(module: Any, datamodule: Any, folder: Path) -> None:
    """Write a model and its tokenizer on rank 0, whole or not at all; an older export stays until then."""

    def write() -> None:
        from transformers.utils import logging

        logging.disable_progress_bar()
        with atomic_folder(folder, replace=True) as partial:
            module.save_network(partial)
            datamodule.tokenizer.save_pretrained(partial)

    on_rank_zero(write)
