"""Say after a fit what the selection saved, and what everything cost."""

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
        """Compute, write and log the saving, on rank 0, after the ranks' records are all there."""
        trainer.strategy.barrier("savings")
        if trainer.global_rank == 0:
            self.refresh(trainer)

    def refresh(self, trainer: pl.Trainer) -> None:
        """Compute, write and log the saving from what the ledger holds by now."""
        costs: Any = next((callback for callback in trainer.callbacks if isinstance(callback, CostLedger)), None)  # type: ignore[attr-defined]
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        if costs is None or not hasattr(datamodule, "pool"):
            return
        batches: Any = trainer.fit_loop.epoch_loop.batch_progress.total
        path = costs.ledger.path
        records = read_ledger(path) if path else costs.ledger.records
        lengths = datamodule.tokens["train"].input_tokens
        rows = datamodule.train_rows
        saving = compute_saving(
            records,
            kept_rows=len(rows),
            pool_rows=len(lengths),
            kept_tokens=int(lengths[rows].sum()),
            pool_tokens=int(lengths.sum()),
            epochs=batches.processed / max(1, int(trainer.num_training_batches)),
        )
        warm_up = warm_up_saving(records, path.parent) if path else None
        self.saving = replace(saving, scorer_ratio=_ratio(records, trainer), warm_up=warm_up)
        if path:
            self.saving.write(path.parent)
        for logger in trainer.loggers:
            logger.log_metrics(cost_metrics(records, self.saving), step=trainer.global_step)
            logger.save()


def warm_up_saving(records: list[CostRecord], run_dir: Path) -> Saving | None:
    """What choosing the rows of a run's warm-up saved, as its manifest tells; None where none were chosen.

    The whole is the pool after its pre-screen, if it had one.
    """
    manifest = RunFiles(run_dir).warm_up.manifest
    if not manifest.is_file():
        return None
    told = read_mapping(manifest, "use another --output", "pool_rows", "pool_input_tokens", "n_rows", "budget")
    pool = told.get("screened") or {"rows": told["pool_rows"], "input_tokens": told["pool_input_tokens"]}
    return compute_saving(
        records,
        kept_rows=told["n_rows"],
        pool_rows=pool["rows"],
        kept_tokens=told["budget"]["input_tokens"],
        pool_tokens=pool["input_tokens"],
        part="warm_up",
    )


def cost_metrics(records: list[CostRecord], saving: Saving) -> dict[str, float]:
    """What was spent, as metrics: ``cost/flops``, ``cost/train/device_s``, ...; and ``cost/saving/flops``, a fraction.

    What is unknown is left out.
    """
    spent = totals(records).spent
    units = (*UNITS, "energy_j")
    sums = {"": sum(spent.values(), Total())} | {f"{stage}/": total for stage, total in spent.items()}
    found = {f"cost/{name}{unit}": getattr(total, unit) for name, total in sums.items() for unit in units}
    found |= {f"cost/saving/{unit}": getattr(saving, unit).saving for unit in UNITS}
    return {name: float(value) for name, value in found.items() if value is not None}


def _ratio(records: list[CostRecord], trainer: pl.Trainer) -> ScorerRatio | None:
    module: Any = trainer.lightning_module
    datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
    if datamodule.selected is None or module is None or module.network is None:
        return None
    manifest, weights = datamodule.selected.manifest, sum(weight.numel() for weight in module.network.parameters())
    return ScorerRatio.of(records, manifest.scorer, module.source.described, manifest.scorer_parameters, weights)
