"""The page that compares runs: cost and metrics of each, the Pareto front, and whether they compare at all."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from selectune.common.run_files import RunFiles
from selectune.costs.saving import UNIT_NAMES, UNITS, Unit
from selectune.report.caveats import caveats, differing_settings
from selectune.report.compared_runs import ComparedRun, common_metric, compared_runs, parts_of_total
from selectune.report.comparison_plots import front_of, measured_at, metric_against_cost
from selectune.report.drawing import Picture, show
from selectune.report.labels import metric_name
from selectune.report.page import cost_content, curves, replay_command
from selectune.report.render import write_page
from selectune.report.run_data import RunData
from selectune.report.selection_section import selection_section
from selectune.report.verdict_section import top_of
from selectune.verdict.prose import joined

LARGEST = {"test/majority_accuracy": "Largest class always"}  # a short title for a narrow column
MAX_DRAWN = 8  # with more runs, pictures of the selections would make a page too large for a browser


def write_comparison(run_dirs: Sequence[Path], output: Path) -> Path:
    """Write ``report.html``, which compares runs, into a folder, and give its path.

    Pictures are in the page, and as files in ``figures/`` beside it.

    Args:
        run_dirs: of the runs, in the order of the page; unfinished ones are marked.
        output: the folder to write to.

    Raises:
        UserError: there is no such directory, or a file of it is damaged.
    """
    runs = compared_runs([RunData.read(Path(run_dir)) for run_dir in run_dirs])
    name = common_metric(runs)
    held_out = dict.fromkeys(name for run in runs for name in run.data.metrics if name.startswith("test/"))
    return write_page(
        output,
        "comparison.html",
        runs=runs,
        best=_best(runs, name) if name else [],
        metric=metric_name(name).lower() if name else "",
        metrics={one: LARGEST.get(one) or metric_name(one) for one in held_out},
        caveats=list(caveats(runs)),
        total=parts_of_total(runs),
        warm_up_charged=any(run.with_warm_up for run in runs),
        for_warm_up=any(run.data.saving is not None and run.data.selected_for == "warm_up" for run in runs),
        against_cost=_against_cost(runs, name, output) if name else [],
        fronts=[_front_in_words(runs, unit, name) for unit in UNITS] if name else [],
        curves=curves({run.label: run.data for run in runs}, name, output),
        silent=joined([run.label for run in runs if not run.data.settings]),
        differences=differing_settings(runs),
        parts=[_run(run, output, len(runs) <= MAX_DRAWN) for run in runs],
    )


def _best(runs: Sequence[ComparedRun], name: str) -> list[str]:
    """The runs on the Pareto front, with the units in which they are: "a and b in FLOPs and device time"."""
    fronts: dict[str, list[str]] = {}
    for unit in UNITS:
        fronts.setdefault(joined([run.name for run in front_of(runs, unit, name)]), []).append(UNIT_NAMES[unit])
    return [f"{names} in {joined(units)}" for names, units in fronts.items() if names]


def _against_cost(runs: Sequence[ComparedRun], name: str, folder: Path) -> list[Picture]:
    drawn = metric_against_cost(runs, name)
    title = f"{metric_name(name)} against the cost of {parts_of_total(runs)}"
    note = "Numbers are those of the runs; those of the filled dots stand on the Pareto front. "
    note += "A line through a dot is the metric's 95 % interval over the held-out rows, of one seed."
    return show([Picture("figure_against_cost", title, *drawn, note)], folder) if drawn else []


def _front_in_words(runs: Sequence[ComparedRun], unit: Unit, name: str) -> str:
    front = front_of(runs, unit, name)
    if not front:
        return f"In {UNIT_NAMES[unit]} no run is known well enough."
    steps = [f"{run.label}: {measured_at(run, unit, name)}" for run in front]
    return f"Pareto front in {UNIT_NAMES[unit]}, from cheap to expensive: {'; '.join(steps)}."


def _run(run: ComparedRun, folder: Path, drawn: bool) -> dict[str, Any]:
    """A run by itself, with pictures of its selection unless there are too many runs."""
    prefix, page = f"run{run.number}-", RunFiles(run.data.run_dir).report
    where = os.path.relpath(page.resolve(), folder.resolve()) if page.is_file() else ""
    warm_up = run.data.read_warm_up() if drawn else None
    return {
        "label": run.label,
        "top": top_of(run.data),
        "where": where,
        "link": quote(where),
        "command": f"selectune report {shlex.quote(str(run.data.run_dir))}",
        "cost": cost_content(run.data, folder, prefix),
        "selection": selection_section(run.data, folder, prefix) if drawn else None,
        "warm_up": selection_section(warm_up, folder, f"{prefix}warm_up-") if warm_up else None,
        "warnings": run.data.warnings,
        "replay": replay_command(run.data),
    }
