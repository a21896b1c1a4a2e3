"""Names of the files of a run, spelled once."""

from __future__ import annotations

from pathlib import Path


class RunFiles:
    """Where everything of a run lies.

    Args:
        path: of the run directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.metrics = path / "metrics.csv"
        self.costs = path / "cost.jsonl"
        self.open_costs = path / ".open_costs"
        self.saving = path / "saving.json"
        self.forecast = path / "forecast.json"
        self.training = path / "training.json"
        self.row_metrics = path / "test_scores.parquet"
        self.predictions = path / "predictions.parquet"
        self.report = path / "report.html"
        self.figures = path / "figures"
        self.selection = path / "selection"
        self.checkpoints = path / "checkpoints"
        self.best = self.checkpoints / "best.ckpt"  # the checkpoint that ``dev`` chose
        self.last = self.checkpoints / "last.ckpt"  # the newest one
        self.export = path / "export"
        self.done = path / "done.json"  # the last file that is written
        self.lock = path / ".lock"

    @property
    def manifest(self) -> Path:
        """The manifest of the selection."""
        return self.selection / "manifest.json"

    @property
    def warm_up(self) -> RunFiles:
        """The same of the warm-up, which lies in a folder of the run."""
        return RunFiles(self.path / "warm_up")

    @property
    def finished(self) -> bool:
        """Whether a fit went to its end here."""
        return self.done.is_file()

    @property
    def written(self) -> list[Path]:
        """Everything that a run may write; ``config.yaml`` last, since without it a folder is no run."""
        return [
            self.done, self.metrics, self.costs, self.saving, self.forecast, self.report, self.predictions,
            self.row_metrics, self.training, self.path / "hparams.yaml", self.checkpoints, self.export, self.selection,
            self.figures, self.warm_up.path, self.open_costs, self.config,
        ]  # fmt: skip
