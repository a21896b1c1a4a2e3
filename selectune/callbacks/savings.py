"""Compute after a fit what the selection saved, and log what everything cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from selectune.callbacks.cost_ledger import CostLedger
from selectune.common.files import read_mapping
from selectune.common.run_files import RunFiles
from selectune.costs.compute_saving import compute_saving
from selectune.costs.ledger import read_ledger
from selectune.costs.record import CostRecord, Total, totals
from selectune.costs.saving import UNITS, Saving
from selectune.costs.scorer_ratio import ScorerRatio


class Savings(pl.Callback):
    """Computes the saving from the ledger of a `CostLedger` callback when a fit ends.

    ``saving`` holds it then, and ``saving.json`` in the ledger's folder, if it has one. Every logger of the Trainer
    gets the totals of the ledger and the saving as ``cost/...``.
    """

    saving: Saving | None = None

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compute, write and log the saving, on rank 0, after all ranks have written their records."""
        trainer.strategy.barrier("savings")
        if trainer.global_rank == 0:
            self.refresh(trainer)

    def refresh(self, trainer: Any) -> None:
        """Compute, write and log the saving from the current records of the ledger."""
        costs = next((callback for callback in trainer.callbacks if isinstance(callback, CostLedger)), None)
        data, module = trainer.datamodule, trainer.lightning_module
        if costs is None or not hasattr(data, "pool"):
            return
        path = costs.ledger.path
        records = read_ledger(path) if path else costs.ledger.records
        batches = trainer.fit_loop.epoch_loop.batch_progress.total.processed
        lengths = data.tokens["train"].input_tokens
        saving = compute_saving(
            records,
            kept_rows=len(data.train_rows),
            pool_rows=len(lengths),
            kept_tokens=int(lengths[data.train_rows].sum()),
            pool_tokens=int(lengths.sum()),
            epochs=batches / max(1, int(trainer.num_training_batches)),
        )
        if data.selected is not None and module is not None and module.network is not None:
            manifest, weights = data.selected.manifest, sum(weight.numel() for weight in module.network.parameters())
            sizes = manifest.scorer, module.source.described, manifest.scorer_parameters, weights
            saving = replace(saving, scorer_ratio=ScorerRatio.of(records, *sizes))
        if path:
            saving = replace(saving, warm_up=_warm_up_saving(records, path.parent))
            saving.write(path.parent)
        self.saving = saving
        for logger in trainer.loggers:
            logger.log_metrics(_cost_metrics(records, saving), step=trainer.global_step)
            logger.save()


def _warm_up_saving(records: list[CostRecord], run_dir: Path) -> Saving | None:
    """The saving by selecting the rows of a run's warm-up, from its manifest; None where none were selected.

    The whole is the pool after its pre-screen, if it had one.
    """
    file = RunFiles(run_dir).warm_up.manifest
    if not file.is_file():
        return None
    manifest = read_mapping(file, "use another --output", "pool_rows", "pool_input_tokens", "n_rows", "budget")
    pool = manifest.get("screened") or {"rows": manifest["pool_rows"], "input_tokens": manifest["pool_input_tokens"]}
    return compute_saving(
        records,
        kept_rows=manifest["n_rows"],
        pool_rows=pool["rows"],
        kept_tokens=manifest["budget"]["input_tokens"],
        pool_tokens=pool["input_tokens"],
        part="warm_up",
    )


def _cost_metrics(records: list[CostRecord], saving: Saving) -> dict[str, float]:
    """Costs as metrics: ``cost/flops``, ``cost/train/device_s``, ...; and ``cost/saving/flops``, a fraction.

    Unknown ones are left out.
    """
    spent = totals(records).spent
    sums = {"": sum(spent.values(), Total())} | {f"{stage}/": total for stage, total in spent.items()}
    metrics = {
        f"cost/{name}{unit}": getattr(total, unit) for name, total in sums.items() for unit in (*UNITS, "energy_j")
    }
    metrics |= {f"cost/saving/{unit}": getattr(saving, unit).saving for unit in UNITS}
    return {name: float(value) for name, value in metrics.items() if value is not None}
