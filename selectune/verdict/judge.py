"""The verdict of a run from its files, and from those of the rivals that ``compare`` ran inside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from selectune.common.errors import UserError
from selectune.common.files import read_mapping, write_json
from selectune.common.run_files import RunFiles
from selectune.common.training_outcome import TrainingOutcome
from selectune.costs.saving import Saving
from selectune.verdict.evidence import ARMS, Arm, ArmName, Cost, Evidence, Metric
from selectune.verdict.intervals import (
    ClassChange,
    Difference,
    change_of_smallest_class,
    corrected,
    difference_of_seeds,
    paired_difference,
)  # fmt: skip
from selectune.verdict.row_metrics import IN_PERCENT, Rows, always_largest, read_rows, row_values
from selectune.verdict.verdict import Verdict

# The metric that decides: the first of these that a run has.
HEADLINES = ("accuracy", "f1", "em", "micro_f1", "macro_f1", "matthews", "pearson", "spearman", "perplexity", "loss")
LOWER_IS_BETTER = ("perplexity", "loss")
DAMAGED = "run it again into a new folder"


@dataclass(frozen=True)
class Judged:
    """A finished run, as far as a verdict needs it.

    Args:
        files: of the run.
        metrics: on the held-out split, by name without ``test/``.
    """

    files: RunFiles
    metrics: Mapping[str, float]

    @classmethod
    def read(cls, folder: Path, metrics: Mapping[str, float] | None = None) -> Judged:
        """A run in a folder; `metrics` are those of one that has not written ``done.json`` yet.

        Raises:
            UserError: a file is damaged.
        """
        files = RunFiles(folder)
        if metrics is None:
            metrics = read_mapping(files.done, DAMAGED, "metrics")["metrics"]
        assert metrics is not None
        test = {name.removeprefix("test/"): float(metrics[name]) for name in metrics if name.startswith("test/")}
        return cls(files, test)

    @cached_property
    def saving(self) -> Saving:
        """Its costs, as if it had not been interrupted."""
        return Saving.read(self.files.path)

    @cached_property
    def outcome(self) -> TrainingOutcome | None:
        """Whether its training worked."""
        return TrainingOutcome.read(self.files.path)

    @cached_property
    def rows(self) -> Rows:
        """Columns of ``test_scores.parquet``; none of a task whose metrics are not of rows."""
        return read_rows(self.files.row_metrics)

    @property
    def failed(self) -> bool:
        """Whether its loss or its weights were not finite."""
        return self.outcome is not None and self.outcome.not_finite is not None

    def score(self, metric: Metric) -> float | None:
        """Its metric, EM and F1 of answers from 0 to 100."""
        values = row_values(metric.name, self.rows) if self.rows else None
        return self.metrics.get(metric.name) if values is None else float(values.values.mean())


def judge(folder: Path, metrics: Mapping[str, float] | None = None, margin: float | None = None) -> Verdict:
    """Judge the selection of a finished run against its rivals, as far as they were run.

    Args:
        folder: of the run.
        metrics: of the run, by name such as ``test/accuracy``, where ``done.json`` is not written yet.
        margin: points that do not matter; default what ``compare`` was given, else 1.

    Raises:
        UserError: a file is damaged, or runs were tested on different rows.
    """
    run = Judged.read(folder, metrics)
    compared = _compared(run.files)
    seed = compared["seeds"][0] if compared else 0
    runs = {seed: run} | _finished(run.files, compared, "selected")
    rivals = {name: _finished(run.files, compared, name) for name in ARMS}
    metric, saving = headline(run.metrics), run.saving
    evidence = Evidence(
        metric=metric,
        score=_mean([one.score(metric) for one in runs.values()]),
        majority=_majority(metric, run),
        loss_failed=any(one.failed for one in runs.values()),
        kept_rows=saving.kept_rows,
        pool_rows=saving.pool_rows,
        n_seeds=len(runs),
        smallest_class=_smallest_class(runs, rivals["all_rows"]),
        cost=_cost(runs.values()),
        margin=compared.get("margin") if margin is None else margin,
        **{name: _arm(name, metric, runs, rivals[name], run) for name in ARMS},
    )
    return Verdict(_with_corrected(evidence))


def write_verdict(folder: Path, verdict: Verdict) -> None:
    """Write ``verdict.json`` of a run."""
    write_json(RunFiles(folder).verdict, verdict.to_json())


def read_verdict(folder: Path) -> Verdict | None:
    """The verdict in ``verdict.json`` of a run; None where there is none.

    Raises:
        UserError: it is damaged.
    """
    file = RunFiles(folder).verdict
    return Verdict.from_json(read_mapping(file, "make the report of this run again")) if file.is_file() else None


def headline(metrics: Iterable[str]) -> Metric:
    """The metric that decides, of those that a run has.

    Raises:
        UserError: it has none.
    """
    names = list(metrics)
    name = next((name for name in (*HEADLINES, *names) if name in names), None)
    if name is None:
        raise UserError("The run has no metric on held-out rows, so nothing can be judged; give data.test_split.")
    scale = "plain" if name in LOWER_IS_BETTER else "percent" if name in IN_PERCENT else "fraction"
    return Metric(name, scale, name not in LOWER_IS_BETTER)  # type: ignore[arg-type]


def total_flops(folder: Path) -> float | None:
    """FLOPs of a finished run's selection and training, as if it had not been interrupted; None when unknown."""
    terms = Saving.read(folder).flops
    return _total(terms.selection, terms.training)


def compare_command(folder: Path) -> str:
    """The command that runs the rivals that a run lacks."""
    return f"python main.py compare --config {RunFiles(folder).config} --output {folder}"


def _compared(files: RunFiles) -> dict[str, Any]:
    """Seeds and margin of ``compare``; empty where it was not run."""
    return read_mapping(files.comparison, DAMAGED, "seeds", "margin") if files.comparison.is_file() else {}


def _finished(files: RunFiles, compared: Mapping[str, Any], name: str) -> dict[int, Judged]:
    """The finished runs of a rival, or of the fit at further seeds, by seed."""
    folders = {seed: files.rival(name, seed) for seed in compared.get("seeds", ())}
    return {seed: Judged.read(folder) for seed, folder in folders.items() if RunFiles(folder).finished}


def _arm(name: ArmName, metric: Metric, runs: Mapping[int, Judged], rivals: Mapping[int, Judged], run: Judged) -> Arm:
    """Cost and metric of a rival, at the seeds that the fit was run at too."""
    rivals = {seed: rival for seed, rival in rivals.items() if seed in runs}
    command = compare_command(run.files.path)
    if not rivals:
        return Arm(cost=_estimated(run.saving) if name == "all_rows" else None, command=command)
    failed = [seed for seed, rival in rivals.items() if rival.failed]
    if failed:
        return Arm(cost=_cost(rivals.values()), problem=f"its loss was not a number at seed {failed[0]}")
    difference = _difference(metric, runs, rivals)
    problem = "" if difference else f"one seed has no interval of {metric.name}"
    score = _mean([one.score(metric) for one in rivals.values()])
    return Arm(difference, _cost(rivals.values()), score, problem, command)


def _difference(metric: Metric, runs: Mapping[int, Judged], rivals: Mapping[int, Judged]) -> Difference | None:
    known = all(one.rows for one in (*runs.values(), *rivals.values()))
    if known:
        ours, theirs = ({seed: one.rows for seed, one in some.items()} for some in (runs, rivals))
        if (paired := paired_difference(metric.name, ours, theirs)) is not None:
            return paired
    scores = [{seed: one.score(metric) for seed, one in some.items()} for some in (runs, rivals)]
    if any(score is None for some in scores for score in some.values()):
        return None
    return difference_of_seeds(*scores)  # type: ignore[arg-type]


def _with_corrected(evidence: Evidence) -> Evidence:
    """With p corrected for the number of rivals."""
    known = list(evidence.differences())
    adjusted = zip([name for name, _ in known], corrected([difference for _, difference in known]))
    arms = {name: replace(evidence.arm(name), difference=difference) for name, difference in adjusted}
    return replace(evidence, **arms)  # type: ignore[arg-type]


def _smallest_class(runs: Mapping[int, Judged], whole: Mapping[int, Judged]) -> ClassChange | None:
    whole = {seed: one for seed, one in whole.items() if seed in runs and one.rows}
    if not whole or not all(one.rows for one in runs.values()):
        return None
    ours, theirs = ({seed: one.rows for seed, one in some.items()} for some in (runs, whole))
    return change_of_smallest_class(ours, theirs, _class_names(next(iter(runs.values())).files))


def _class_names(files: RunFiles) -> list[str]:
    """Names of the classes, from the exported model; none where it was not kept."""
    config = files.export / "config.json"
    names = read_mapping(config, DAMAGED).get("id2label", {}) if config.is_file() else {}
    return [str(names[key]) for key in sorted(names, key=int)]


def _majority(metric: Metric, run: Judged) -> float | None:
    """The metric of always answering the largest class of the held-out rows; None without classes."""
    if "label" not in run.rows:
        return None
    values = row_values(metric.name, always_largest(run.rows))
    return None if values is None else float(values.values.mean())


def _cost(runs: Iterable[Judged]) -> Cost:
    """Selection and training, the mean over seeds; None in a unit that is not known of all."""
    terms = [(one.saving.flops, one.saving.device_s) for one in runs]
    flops, device_s = (_mean([_total(run[unit].selection, run[unit].training) for run in terms]) for unit in (0, 1))
    return Cost(flops, device_s)


def _estimated(saving: Saving) -> Cost | None:
    flops, device_s = saving.flops.full_training, saving.device_s.full_training
    if flops is None and device_s is None:
        return None
    return Cost(flops, device_s, estimated=saving.flops.full_is_estimated)


def _total(selection: float | None, training: float | None) -> float | None:
    return None if selection is None or training is None else selection + training


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
