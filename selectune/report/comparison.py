"""The page that compares runs: cost and metrics of each, the Pareto front, and whether they compare at all."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from selectune.common.run_files import RunFiles
from selectune.costs.saving import UNIT_NAMES, UNITS, Unit
from selectune.report.caveats import caveats, differing_settings
from selectune.report.cells import Cell, Group, Row, Table, cell, number
from selectune.report.compared_runs import ComparedRun, common_metric, compared_runs, parts_of_total
from selectune.report.comparison_plots import front_of, measured_at, metric_against_cost
from selectune.report.cost_tables import UNIT_FORMATS
from selectune.report.drawing import Picture, Shown, show
from selectune.report.labels import capital, joined, metric, metric_name
from selectune.report.measured import Measured
from selectune.report.numbers import count, share
from selectune.report.page import cost_content, curves
from selectune.report.render import write_page
from selectune.report.run_data import RunData
from selectune.report.run_tables import replay_command
from selectune.report.selection_section import selection_section
from selectune.report.verdict_section import change, top_of

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
    return write_page(
        output,
        "comparison.html",
        runs=runs,
        best=_best(runs, name) if name else [],
        metric=metric_name(name).lower() if name else "",
        caveats=list(caveats(runs)),
        settings=_settings(runs),
        results=_results(runs),
        costs=_costs(runs),
        total=parts_of_total(runs),
        warm_up_charged=any(run.with_warm_up for run in runs),
        for_warm_up=any(map(_selected_to_warm_up, runs)),
        against_cost=_against_cost(runs, name, output) if name else [],
        fronts=[_front_in_words(runs, unit, name) for unit in UNITS] if name else [],
        curves=curves({run.label: run.data for run in runs}, name, output),
        silent=joined([run.label for run in runs if not run.data.settings]),
        differences=Table("manifest", (), [Group([Row(one, [values]) for one, values in differing_settings(runs)])]),
        parts=[_run(run, output, len(runs) <= MAX_DRAWN) for run in runs],
    )


def _best(runs: Sequence[ComparedRun], name: str) -> list[str]:
    """The runs on the Pareto front, with the units in which they are: "a and b in FLOPs and device time"."""
    fronts: dict[str, list[str]] = {}
    for unit in UNITS:
        fronts.setdefault(joined([run.name for run in front_of(runs, unit, name)]), []).append(UNIT_NAMES[unit])
    return [f"{names} in {joined(units)}" for names, units in fronts.items() if names]


def _row(run: ComparedRun, cells: Sequence[Cell]) -> Row:
    return Row(run.label, cells, mark="not finished" if run.data.unfinished else "")


def _settings(runs: Sequence[ComparedRun]) -> Table:
    """Task, selector, budget, seed and epochs of each run."""
    rows = [
        _row(run, [run.task, run.selector, run.budget, cell(run.seed, count), cell(run.epochs, "{:,.3g}".format)])
        for run in runs
    ]
    return Table("runs asked", ("Run", "Task", "Selector", "Budget", "Seed", "Epochs"), [Group(rows)])


def _results(runs: Sequence[ComparedRun]) -> Table:
    """Rows and tokens trained on, all metrics on held-out data, and the verdict."""
    names = dict.fromkeys(name for run in runs for name in run.data.metrics if name.startswith("test/"))
    rows = []
    for run in runs:
        sizes = run.data.sizes_of("fit")
        cells = [cell(sizes[name][0] if sizes else None, count) for name in ("Rows", "Tokens")]
        cells += [_measured(run.data.measured.get(name)) for name in names]
        held_out = [one for name, one in run.data.measured.items() if name in names]
        cells.append(joined(list(dict.fromkeys(one.rows for one in held_out))))
        rows.append(_row(run, [*cells, top_of(run.data).headline]))
    titles = [{"test/majority_accuracy": "Largest class always"}.get(name) or metric_name(name) for name in names]
    return Table("runs results", ("Run", "Rows", "Tokens", *titles, "Measured on", "Verdict"), [Group(rows)])


def _measured(one: Measured | None) -> Cell:
    """A metric with its interval below it."""
    if one is None or one.bounds is None:
        return cell(one.value if one else None, partial(metric, one.name if one else ""))
    return [number(one.value, partial(metric, one.name)), " (", *one.interval, ")"]


def _costs(runs: Sequence[ComparedRun]) -> Table:
    """The terms of each run in each unit, the warm-up's too where the runs differ in it, and what the saving cost."""
    differ = any(run.with_warm_up for run in runs)
    warm_up = ("Warm-up and its selection",) if differ else ()
    columns = ("Run", "Selection", "Training", *warm_up, "Total", "Saving", "Metric against all rows",
               "Start-up, left out")  # fmt: skip
    groups = []
    for unit in UNITS:
        rows = []
        for run in runs:
            terms = run.terms(unit)
            values = [terms.selection if terms else None, terms.training if terms else None]
            values += [*([run.warm_up(unit)] if differ else []), run.total(unit)]
            saved = cell(getattr(run.data.saving.main, unit).saving if run.data.saving else None, share)
            if _selected_to_warm_up(run):
                saved = [saved, " of the warm-up"]  # type: ignore[list-item]
            *cells, left_out = [cell(value, UNIT_FORMATS[unit]) for value in [*values, run.left_out(unit)]]
            rows.append(_row(run, [*cells, saved, _against_all_rows(run.data), left_out]))
        groups.append(Group(rows, capital(UNIT_NAMES[unit])))
    return Table("runs", columns, groups)


def _against_all_rows(run: RunData) -> Cell:
    evidence = run.verdict.evidence if run.verdict else None
    if evidence is None or (difference := evidence.all_rows.difference) is None:
        return "not known"
    value, low, high = change(evidence.metric, difference)
    return [value, " (", low, " to ", high, ")"]


def _selected_to_warm_up(run: ComparedRun) -> bool:
    return run.data.saving is not None and run.data.selected_for == "warm_up"


def _against_cost(runs: Sequence[ComparedRun], name: str, folder: Path) -> list[Shown]:
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
        "command": f"python main.py report {shlex.quote(str(run.data.run_dir))}",
        "cost": cost_content(run.data, folder, prefix),
        "selection": selection_section(run.data, folder, prefix) if drawn else None,
        "warm_up": selection_section(warm_up, folder, f"{prefix}warm_up-") if warm_up else None,
        "warnings": run.data.warnings,
        "replay": replay_command(run.data),
    }
