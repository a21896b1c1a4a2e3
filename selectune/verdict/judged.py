"""A finished run, as far as a verdict needs it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from selectune.common.files import read_mapping
from selectune.common.run_files import RunFiles, adapter_config
from selectune.common.training_outcome import TrainingOutcome
from selectune.costs.record import rows_evaluated
from selectune.costs.saving import Saving
from selectune.costs.uninterrupted import uninterrupted
from selectune.verdict.evidence import Cost, Metric
from selectune.verdict.row_metrics import (
    Rows,
    always_largest,
    as_tested,
    of_evaluation,
    read_evaluations,
    read_rows,
    row_values,
)

DAMAGED = "run it again into a new folder"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A finished run.

    Args:
        metrics: on the held-out split, by name without ``test/``.
        kept_rows: rows that were selected.
        pool_rows: rows that they were selected from.
        cost: of selecting and training.
        rows: columns of ``test_scores.parquet``; none of a task whose metrics are not of rows.
        evaluated: columns of the rows of each evaluation of a language model, by the name that its metrics begin with,
            those of the model before it was trained with ``_before`` after it.
        failed: whether its loss or its weights were not finite.
        cost_of_all_rows: that of training on the whole pool, measured or estimated; None where unknown.
        classes: their names; none where they are not known.
        n_rows: held-out rows that it was tested on, None where unknown.
        epochs: that it was trained for, None where unknown.
    """

    metrics: Mapping[str, float]
    kept_rows: int
    pool_rows: int
    cost: Cost
    rows: Rows = field(default_factory=dict, repr=False)
    evaluated: Mapping[str, Rows] = field(default_factory=dict, repr=False)
    failed: bool = False
    cost_of_all_rows: Cost | None = None
    classes: Sequence[str] = ()
    n_rows: int | None = None
    epochs: float | None = None

    @classmethod
    def read(cls, folder: Path, metrics: Mapping[str, float] | None = None) -> Judged:
        """A run in a folder; `metrics` are those of one that has not written ``done.json`` yet.

        Raises:
            UserError: a file is damaged.
        """
        files, saving, outcome = RunFiles(folder), Saving.read(folder), TrainingOutcome.read(folder)
        if metrics is None:
            metrics = read_mapping(files.done, DAMAGED, "metrics")["metrics"]
        assert metrics is not None
        flops, device_s = (add(terms.selection, terms.training) for terms in (saving.flops, saving.device_s))
        full = saving.flops.full_training, saving.device_s.full_training
        tested = {name.removeprefix("test/"): float(metrics[name]) for name in metrics if name.startswith("test/")}
        rows = read_rows(files.row_metrics)
        return cls(
            metrics=tested,
            kept_rows=saving.kept_rows,
            pool_rows=saving.pool_rows,
            cost=Cost(flops, device_s),
            rows=rows,
            evaluated=read_evaluations(files.evaluations),
            failed=outcome is not None and outcome.not_finite is not None,
            cost_of_all_rows=None if full == (None, None) else Cost(*full, estimated=saving.flops.full_is_estimated),
            classes=_class_names(files),
            n_rows=len(next(iter(rows.values()))) if rows else _rows_in_ledger(files, tested),
            epochs=saving.epochs,
        )

    def rows_of(self, metric: Metric) -> Rows:
        """Columns of the rows that a metric is of: those of the evaluation that it begins with, or held-out ones."""
        return of_evaluation(metric.name, self.evaluated) if "/" in metric.name else self.rows

    def n_rows_of(self, metric: Metric) -> int | None:
        """Number of rows that a metric is of; None where that is unknown."""
        if "/" not in metric.name:
            return self.n_rows
        rows = as_tested(metric.name, self.rows_of(metric))[1]
        return len(rows["row_id"]) if "row_id" in rows else None

    def score(self, metric: Metric) -> float | None:
        """Its metric, EM and F1 of answers from 0 to 100; None where it is no finite number."""
        name, rows = as_tested(metric.name, self.rows_of(metric))
        values = row_values(name, rows) if rows else None
        value = self.metrics.get(metric.name, math.nan) if values is None else float(values.values.mean())
        return value if math.isfinite(value) else None

    def majority(self, metric: Metric) -> float | None:
        """The metric of always answering the largest class of the held-out rows; None without classes.

        And None of an evaluation: a language model was not trained on its classes, so nothing failed below that.
        """
        if "label" not in self.rows:  # an earlier version had it among the metrics
            return self.metrics.get(f"majority_{metric.name}")
        values = row_values(metric.name, always_largest(self.rows))
        return None if values is None else float(values.values.mean())


def _class_names(files: RunFiles) -> list[str]:
    """Names of the classes, from the exported model; none where it was not kept."""
    places = (files.export / "config.json", adapter_config(files.export))
    config = next((file for file in places if file.is_file()), None)
    names = read_mapping(config, DAMAGED).get("id2label", {}) if config else {}
    return [str(names[key]) for key in sorted(names, key=int)]


def _rows_in_ledger(files: RunFiles, tested: Mapping[str, float]) -> int | None:
    """Held-out rows by the ledger; None with further splits, as it has the rows of all of them as one number."""
    if any("/" in name for name in tested) or not files.costs.is_file():
        return None
    return rows_evaluated(uninterrupted(files.path), "test")


def add(selection: float | None, training: float | None) -> float | None:
    """The sum of two costs; None where one is unknown."""
    return None if selection is None or training is None else selection + training
