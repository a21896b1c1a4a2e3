"""Names of the files of a run, spelled once."""

from __future__ import annotations

from pathlib import Path

WARM_UP = "warm_up"  # folder of a run
LAST = "last.ckpt"  # the newest checkpoint
BEFORE = "_before"  # ends the name of an evaluation of the model as it was before it was trained
ADAPTER = "adapter_config.json"  # peft's; in the folder of a model that is kept as an adapter of another


def adapter_config(folder: Path) -> Path:
    """The config of the network that an adapter in a folder belongs to, which names its classes."""
    return folder / "adapted" / "config.json"


class SelectionFiles:
    """Files in the folder of a selection."""

    def __init__(self, folder: Path) -> None:
        self.rows = folder / "rows.parquet"  # row ids and scores
        self.scores = folder / "scores.parquet"  # of every row of the pool, with the signals
        self.examples = folder / "examples.json"
        self.manifest = folder / "manifest.json"  # written last


class RunFiles:
    """Files in a run directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.metrics = path / "metrics.csv"
        self.costs = path / "cost.jsonl"
        self.open_costs = path / ".open_costs"
        self.saving = path / "saving.json"
        self.forecast = path / "forecast.json"
        self.review = path / "review.json"  # of the pool, where somebody reviewed it
        self.training = path / "training.json"
        self.row_metrics = path / "test_scores.parquet"
        self.predictions = path / "predictions.parquet"
        self.report = path / "report.html"
        self.figures = path / "figures"
        self.selection = path / "selection"
        self.manifest = SelectionFiles(self.selection).manifest
        self.checkpoints = path / "checkpoints"
        self.best = self.checkpoints / "best.ckpt"  # the checkpoint that ``dev`` chose
        self.last = self.checkpoints / LAST
        self.export = path / "export"
        self.done = path / "done.json"  # the last file that is written
        self.lock = path / ".lock"
        self.cell = path / "cell.json"  # the cell of a table that the run is
        self.log = path / "log.txt"  # what that cell printed
        self.verdict = path / "verdict.json"
        self.loggers = path / "loggers.json"  # of boards elsewhere, for a verdict that comes later
        self.compare = path / "compare"  # the runs that this one is judged against
        self.diagnosis = path / "diagnosis.json"
        self.findings = path / "findings.parquet"  # row_id, finding, score
        self.diagnosis_page = path / "diagnosis.html"
        self.plan = path / "plan.json"
        self.plan_overlay = path / "plan.yaml"  # what ``fit`` takes over the config that was planned for
        self.plan_review = path / "plan_review.parquet"  # rows that a plan drops
        self.pilot = path / "pilot.json"
        self.pilot_page = path / "pilot.html"
        self.expected = path / "expected.json"  # the metric that a pilot forecast for this run
        self.evaluations = path / "evaluations"  # rows of each evaluation of a language model
        self.comparison = self.compare / "compare.json"  # their seeds
        self.whole = self.compare / "whole.yaml"  # of a plan: the config of the training that it is for

    @property
    def warm_up(self) -> RunFiles:
        """Files of the warm-up, which is a run in a folder of this one."""
        return RunFiles(self.path / WARM_UP)

    def rival(self, name: str, seed: int) -> Path:
        """The run directory of a run that this one is judged against."""
        return self.compare / f"{name}-{seed}"

    @property
    def finished(self) -> bool:
        """Whether a fit went to its end here."""
        return self.done.is_file()

    @property
    def serves(self) -> bool:
        """Whether another run can rest on this one: it is finished, or a warm-up whose weights are there."""
        return self.finished or (self.path.name == WARM_UP and self.export.is_dir())

    @property
    def written(self) -> list[Path]:
        """Everything that a run may write; ``config.yaml`` last, since without it a folder is no run."""
        return [
            self.done, self.metrics, self.costs, self.saving, self.forecast, self.report, self.predictions, self.review,
            self.row_metrics, self.training, self.path / "hparams.yaml", self.checkpoints, self.export, self.selection,
            self.figures, self.warm_up.path, self.open_costs, self.verdict, self.loggers, self.compare,
            self.diagnosis, self.findings, self.diagnosis_page, self.plan, self.plan_overlay, self.plan_review,
            self.pilot, self.pilot_page, self.expected, self.evaluations,
            self.config,
        ]  # fmt: skip
