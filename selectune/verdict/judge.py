"""The verdict of a run from its files, and from those of the rivals that ``compare`` ran inside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from selectune.common.errors import UserError
from selectune.common.files import read_mapping, write_json
from selectune.common.run_files import RunFiles
from selectune.costs.saving import Saving
from selectune.verdict.evidence import ARMS, SAME, Arm, ArmName, Cost, Evidence, Metric, ScoreInterval
from selectune.verdict.intervals import (
    ClassChange,
    Difference,
    change_of_smallest_class,
    corrected,
    difference_of_seeds,
    interval_of_metric,
    paired_difference,
)  # fmt: skip
from selectune.verdict.judged import DAMAGED, Judged, add
from selectune.verdict.metric_kinds import metric_of
from selectune.verdict.verdict import Verdict

# The metric that decides: the first of these that a run has.
HEADLINES = ("accuracy", "f1", "em", "micro_f1", "macro_f1", "matthews", "pearson", "spearman", "perplexity", "loss")


def judge(folder: Path, metrics: Mapping[str, float] | None = None, margin: float | None = None) -> Verdict:
    """Judge the selection of a finished run against its rivals, as far as they were run.

    Args:
        folder: of the run.
        metrics: of the run, by name such as ``test/accuracy``, where ``done.json`` is not written yet.
        margin: points that do not matter; default what ``compare`` was given, else 1.

    Raises:
        UserError: a file is damaged, or runs were tested on different rows.
    """
    run, files = Judged.read(folder, metrics), RunFiles(folder)
    compared = _compared(files)
    seed = compared["seeds"][0] if compared else 0
    runs = {seed: run} | _finished(files, compared, "selected")
    rivals = {name: _finished(files, compared, name) for name in ARMS}
    margin = compared.get("margin") if margin is None else margin
    return judge_runs(headline(run.metrics), runs, rivals, margin, compare_command(folder))


def judge_runs(
    metric: Metric,
    runs: Mapping[int, Judged],
    rivals: Mapping[ArmName, Mapping[int, Judged]],
    margin: float | None = None,
    command: str = "",
) -> Verdict:
    """Judge a selection against its rivals, whichever command ran them.

    Args:
        metric: that decides.
        runs: with the selection, by seed; at least one.
        rivals: by arm and seed; those at other seeds than the runs' are left out.
        margin: points that do not matter; None for the default.
        command: that runs the rivals that are missing, for the reader.

    Raises:
        UserError: runs were tested on different rows.
    """
    first = next(iter(runs.values()))
    paired = {name: {seed: one for seed, one in rivals.get(name, {}).items() if seed in runs} for name in ARMS}
    arms = {name: _arm(name, metric, runs, paired[name], command) for name in ARMS}
    known = {name: arm.difference for name, arm in arms.items() if arm.difference is not None}
    for name, difference in zip(known, corrected(list(known.values()))):
        arms[name] = replace(arms[name], difference=difference)
    score = _mean([one.score(metric) for one in runs.values()])
    evidence = Evidence(
        metric=metric,
        score=score,
        score_interval=_score_interval(metric, list(runs.values()), score),
        majority=first.majority(metric),
        loss_failed=any(one.failed for one in runs.values()),
        kept_rows=first.kept_rows,
        pool_rows=first.pool_rows,
        n_seeds=len(runs),
        smallest_class=_smallest_class(runs, paired["all_rows"]),
        cost=_cost(runs.values()),
        margin=margin,
        shortened=_is_shorter(first, paired["all_rows"].values()),
        **arms,
    )
    return Verdict(evidence)


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
    return metric_of(name)


def total_flops(folder: Path) -> float | None:
    """FLOPs of a finished run's selection and training, as if it had not been interrupted; None when unknown."""
    terms = Saving.read(folder).flops
    return add(terms.selection, terms.training)


def compare_command(folder: Path) -> str:
    """The command that runs the rivals that a run lacks."""
    files = RunFiles(folder)
    config = f"{files.whole} --plan {files.config}" if files.whole.is_file() else f"{files.config}"
    return f"selectune compare --config {config} --output {folder}"


def _compared(files: RunFiles) -> dict[str, Any]:
    """Seeds and margin of ``compare``; empty where it was not run."""
    return read_mapping(files.comparison, DAMAGED, "seeds", "margin") if files.comparison.is_file() else {}


def _finished(files: RunFiles, compared: Mapping[str, Any], name: str) -> dict[int, Judged]:
    """The finished runs of a rival, or of the fit at further seeds, by seed."""
    folders = {seed: files.rival(name, seed) for seed in compared.get("seeds", ())}
    return {seed: Judged.read(folder) for seed, folder in folders.items() if RunFiles(folder).finished}


def _arm(name: ArmName, metric: Metric, runs: Mapping[int, Judged], rivals: Mapping[int, Judged], command: str) -> Arm:
    """Cost and metric of a rival, at the seeds that the fit was run at too."""
    if not rivals:
        estimate = next(iter(runs.values())).cost_of_all_rows if name == "all_rows" else None
        return Arm(cost=estimate, command=command)
    cost = _cost(rivals.values())
    if failed := [seed for seed, rival in rivals.items() if rival.failed]:
        return Arm(cost=cost, problem=f"its loss was not a number at seed {failed[0]}")
    difference = difference_of_runs(metric, runs, rivals)
    problem = "" if difference else f"one seed has no interval of {metric.name}"
    return Arm(difference, cost, _mean([one.score(metric) for one in rivals.values()]), problem, command)


def difference_of_runs(metric: Metric, runs: Mapping[int, Judged], others: Mapping[int, Judged]) -> Difference | None:
    """The difference of a metric between runs and others, by seed: paired by held-out row too where these are known.

    Returns:
        None where the metric of a run is not known, or one seed alone has no interval of it.

    Raises:
        UserError: no seed in common, or runs were tested on different rows.
    """
    ours, theirs = ({seed: one.rows_of(metric) for seed, one in some.items()} for some in (runs, others))
    known = all((*ours.values(), *theirs.values()))
    if known and (paired := paired_difference(metric.name, ours, theirs)) is not None:
        return paired
    scores = [{seed: one.score(metric) for seed, one in some.items()} for some in (runs, others)]
    if any(score is None for some in scores for score in some.values()):
        return None
    return difference_of_seeds(*scores)  # type: ignore[arg-type]


def _score_interval(metric: Metric, runs: Sequence[Judged], score: float | None) -> ScoreInterval | None:
    """The interval of the metric of runs; None where it is not known, or seeds were tested on more rows than others."""
    n_rows = runs[0].n_rows_of(metric)
    if score is None or not n_rows or any(one.n_rows_of(metric) != n_rows for one in runs):
        return None
    bounds = interval_of_metric(metric.name, [one.rows_of(metric) for one in runs], score)
    return ScoreInterval(n_rows, *bounds) if bounds else ScoreInterval(n_rows)


def _is_shorter(run: Judged, whole: Iterable[Judged]) -> bool:
    """Whether a run trained on all rows, for fewer epochs than the runs on all rows."""
    epochs = min((one.epochs for one in whole if one.epochs is not None), default=0.0)
    # as far as steps go: a run of the same length may end within a batch of the other
    return run.kept_rows == run.pool_rows and run.epochs is not None and run.epochs < (1 - SAME) * epochs


def _smallest_class(runs: Mapping[int, Judged], whole: Mapping[int, Judged]) -> ClassChange | None:
    whole = {seed: one for seed, one in whole.items() if one.rows}
    if not whole or not all(one.rows for one in runs.values()):
        return None
    ours, theirs = ({seed: one.rows for seed, one in some.items()} for some in (runs, whole))
    return change_of_smallest_class(ours, theirs, next(iter(runs.values())).classes)


def _cost(runs: Iterable[Judged]) -> Cost:
    """The mean over seeds; None in a unit that is not known of all."""
    costs = [one.cost for one in runs]
    return Cost(_mean([cost.flops for cost in costs]), _mean([cost.device_s for cost in costs]))


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
