"""``metrics.csv`` in the run directory itself, which a resumed run continues."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.csv_logs import _ExperimentWriter
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment

from selectune.common.files import atomic_file


class MetricsLog(CSVLogger):
    """Lightning's CSV logger, but into an existing folder, and without losing what an earlier attempt wrote."""

    def __init__(self, folder: Path) -> None:
        super().__init__(save_dir=folder, name="", version="", flush_logs_every_n_steps=50)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The writer."""
        if self._experiment is None:
            self._experiment = _AppendingWriter(log_dir=self.log_dir)
        return self._experiment

    @rank_zero_only
    def log_hyperparams(self, params: Any = None) -> None:
        """Write nothing, as ``config.yaml`` holds them."""


class _AppendingWriter(_ExperimentWriter):
    """Appends rows in one write; where there are new columns, it replaces the whole file atomically."""

    _last: dict[str, Any] | None = None

    def log_metrics(self, metrics_dict: dict[str, float], step: int | None = None) -> None:
        """Keep a row for `save`, unless it repeats the one before it."""
        super().log_metrics(metrics_dict, step)
        row = self.metrics.pop()
        if row != self._last:
            self.metrics.append(row)
            self._last = dict(row)

    def save(self) -> None:
        """Write the rows that were logged since the last call."""
        if not self.metrics:
            return
        file, text = Path(self.metrics_file_path), io.StringIO(newline="")
        grown = self._record_new_keys()
        writer = csv.DictWriter(text, fieldnames=self.metrics_keys)
        if grown:
            writer.writeheader()
            if file.is_file():
                with file.open(newline="") as handle:
                    writer.writerows(csv.DictReader(handle))
            writer.writerows(self.metrics)
            with atomic_file(file) as partial:
                partial.write_text(text.getvalue(), encoding="utf-8", newline="")
        else:
            writer.writerows(self.metrics)
            with file.open("ab") as appended:
                appended.write(text.getvalue().encode())
        self.metrics = []

    def _check_log_dir_exists(self) -> None:
        """Continue the file of an earlier attempt, without a last line that a kill has torn."""
        file = Path(self.metrics_file_path)
        if not file.is_file():
            return
        content = file.read_bytes()
        if not content.endswith(b"\n"):
            with atomic_file(file) as partial:
                partial.write_bytes(content[: content.rfind(b"\n") + 1])
        with file.open(newline="") as handle:
            self.metrics_keys = next(csv.reader(handle), [])
