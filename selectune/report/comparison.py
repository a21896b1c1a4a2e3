"""The page that compares runs: cost and metrics of each, the Pareto front, and whether they compare at all."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from selectune.common.run_files import RunFiles
from selectune.costs.saving import UNIT_NAMES, UNITS, Unit
from selectune.report.caveats import caveats, differing_settings
from selectune.report.compared_runs import ComparedRun, common_metric, compared_runs, parts_of_total
from selectune.report.comparison_plots import front_of, metric_against_cost
from selectune.report.drawing import Picture, show
from selectune.report.html_tables import UNIT_FORMATS, bullets, cell, group_row, replay_command, row, table
from selectune.report.labels import capital, joined, metric, metric_name
from selectune.report.numbers import count, share
from selectune.report.page import UNKNOWN_SAVING, costs, curves_section, section, write_page
from selectune.report.run_data import RunData
from selectune.report.selection_section import selection_section

MAX_DRAWN = 8  # with more runs, pictures of the selections would make a page too large for a browser
CHARGED = (
    "The total is {total}. Selection is charged in full, also where a cache spared it; start-up that runs share "
    "({shared}) and evaluation are left out. Saving is against training on everything, which is estimated where it was "
    "not run."
)
OF_WARM_UP = " Where rows were chosen for the warm-up alone, it is against warming up on its whole pool."


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
    sections = [
        _head(runs, name),
        section("Can they be compared?", bullets(caveats(runs)) or "<p>Nothing that is known speaks against it.</p>"),
        section("What they were asked", _settings(runs)),
        section("What they came to", _metrics(runs)),
        section("What they cost", _costs(runs)),
        section("Figure against cost", _against_cost(runs, name, output)),
        section(
            "Learning curves",
            curves_section({run.label: run.data for run in runs}, name, output, "No curve was logged by any run."),
        ),
        section("What differs", _differences(runs)),
        *(section(escape(run.label), _run(run, output, len(runs) <= MAX_DRAWN)) for run in runs),
        section("Run them again", "".join(_replay(run) for run in runs)),
    ]
    return write_page(output, f"selectune: {len(runs)} runs", sections)


def _head(runs: Sequence[ComparedRun], name: str | None) -> str:
    fronts: dict[str, list[str]] = {}  # the units in which the same runs are best
    for unit in UNITS if name else ():
        names = joined([run.name for run in front_of(runs, unit, str(name))])
        fronts.setdefault(names, []).append(UNIT_NAMES[unit])
    best = [f"{names} in {joined(units)}" for names, units in fronts.items() if names]
    claim = f"Best for their cost: {'; '.join(best)}." if best else "No two costs and figures are known to compare."
    rule = ""
    if best and name:
        rule = f"<p>No other run has a better {escape(metric_name(name).lower())} on held-out data for less.</p>"
    return (
        f'<header><p class="run">selectune · comparison of {len(runs)} runs</p><h1>{escape(claim)}</h1>{rule}</header>'
    )


def _settings(runs: Sequence[ComparedRun]) -> str:
    """Task, selector, budget, seed and epochs of each run."""
    body = ""
    for run in runs:
        words = "".join(f'<td class="words">{escape(word)}</td>' for word in (run.task, run.selector, run.budget))
        numbers = f"<td>{cell(run.seed, count)}</td><td>{cell(run.epochs, lambda value: f'{value:,.3g}')}</td>"
        body += f'<tr><th scope="row">{_marked(run)}</th>{words}{numbers}</tr>'
    return table(("Run", "Task", "Selector", "Budget", "Seed", "Epochs"), f"<tbody>{body}</tbody>", "runs asked")


def _metrics(runs: Sequence[ComparedRun]) -> str:
    """Rows and tokens trained on, and all metrics on held-out data."""
    names = dict.fromkeys(name for run in runs for name in run.data.metrics if name.startswith("test/"))
    body = ""
    for run in runs:
        sizes = run.data.sizes_of("fit")
        cells = [cell(sizes[name][0] if sizes else None, count) for name in ("Rows", "Tokens")]
        body += row(_marked(run), [*cells, *(cell(run.data.metrics.get(name), metric) for name in names)])
    titles = [{"test/majority_accuracy": "Largest class always"}.get(name) or metric_name(name) for name in names]
    note = "Rows and tokens are those that were fine-tuned on in each epoch; figures are those on held-out data."
    head = ("Run", "Rows", "Tokens", *map(escape, titles))
    return table(head, f"<tbody>{body}</tbody>", "runs") + f'<p class="note">{note}</p>'


def _costs(runs: Sequence[ComparedRun]) -> str:
    """The terms of each run in each unit; the warm-up's too where the runs differ in it."""
    differ = any(run.with_warm_up for run in runs)
    warm_up = ("Warm-up and its selection",) if differ else ()
    head = ("Run", "Selection", "Training", *warm_up, "Total", "Saving", "Start-up, left out")
    body = ""
    for unit in UNITS:
        lines = ""
        for run in runs:
            terms = run.terms(unit)
            values = [terms.selection if terms else None, terms.training if terms else None]
            values += [*([run.warm_up(unit)] if differ else []), run.total(unit)]
            saved = getattr(run.data.saving.main, unit).saving if run.data.saving else None
            mark = "<small>of the warm-up</small>" if _selected_to_warm_up(run) else ""
            *cells, left_out = [cell(value, UNIT_FORMATS[unit]) for value in [*values, run.left_out(unit)]]
            lines += row(_marked(run), [*cells, cell(saved, share) + mark, left_out])
        body += f"<tbody>{group_row(capital(UNIT_NAMES[unit]), len(head))}{lines}</tbody>"
    shared = "preparing data" if differ else "preparing data, warming up"
    note = CHARGED.format(total=parts_of_total(runs), shared=shared)
    note += OF_WARM_UP if any(_selected_to_warm_up(run) for run in runs) else ""
    return table(head, body, "runs") + f'<p class="note">{note}</p>'


def _selected_to_warm_up(run: ComparedRun) -> bool:
    return run.data.saving is not None and run.data.selected_for == "warm_up"


def _against_cost(runs: Sequence[ComparedRun], name: str | None, folder: Path) -> str:
    drawn = metric_against_cost(runs, name) if name else None
    if drawn is None or name is None:
        return "<p>There is no picture, as no run has both a figure on held-out data and a known cost.</p>"
    title = f"{metric_name(name)} against the cost of {parts_of_total(runs)}"
    note = "Numbers are those of the runs; those of the filled dots stand on the Pareto front."
    sentences = [_front_in_words(runs, unit, name) for unit in UNITS]
    return show([Picture("figure_against_cost", title, *drawn, note)], folder) + "".join(
        f"<p>{escape(sentence)}</p>" for sentence in sentences
    )


def _front_in_words(runs: Sequence[ComparedRun], unit: Unit, name: str) -> str:
    front = front_of(runs, unit, name)
    if not front:
        return f"In {UNIT_NAMES[unit]} no run is known well enough."
    steps = [
        f"{run.label} ({metric(run.data.metrics[name])} for {UNIT_FORMATS[unit](run.total(unit))})" for run in front
    ]
    return f"Pareto front in {UNIT_NAMES[unit]}, from cheap to dear: {joined(steps)}."


def _differences(runs: Sequence[ComparedRun]) -> str:
    """The settings that the runs do not share."""
    if silent := [run.label for run in runs if not run.data.settings]:
        return f"<p>{escape(joined(silent))} {'has' if len(silent) == 1 else 'have'} no config.yaml to compare.</p>"
    rows = "".join(row(escape(name), [escape(values)]) for name, values in differing_settings(runs))
    return table((), f"<tbody>{rows}</tbody>", "manifest") if rows else "<p>Their settings are the same.</p>"


def _run(run: ComparedRun, folder: Path, drawn: bool) -> str:
    """A run by itself, with pictures of its selection unless there are too many runs."""
    prefix, page = f"run{run.number}-", RunFiles(run.data.run_dir).report
    if page.is_file():
        where = os.path.relpath(page.resolve(), folder.resolve())
        link = f'<p>Its own report: <a href="{escape(quote(where))}">{escape(where)}</a></p>'
    else:
        command = f"python main.py report {shlex.quote(str(run.data.run_dir))}"
        link = f"<p>Its own report is not there; this makes it:</p><pre>{escape(command)}</pre>"
    selected = selection_section(run.data, folder, prefix) if drawn else ""
    warm_up = run.data.read_warm_up() if drawn else None
    selected_before = selection_section(warm_up, folder, f"{prefix}warm_up-") if warm_up else ""
    return (
        f"<p>{escape(run.data.saving.sentence() if run.data.saving else UNKNOWN_SAVING)}</p>{link}"
        f"{costs(run.data, folder, prefix)}"
        f"{f'<h3>What was chosen</h3>{selected}' if selected else ''}"
        f"{f'<h3>What the model was warmed up on</h3>{selected_before}' if selected_before else ''}"
        f"{f'<h3>Warnings</h3>{bullets(run.data.warnings)}' if run.data.warnings else ''}"
    )


def _replay(run: ComparedRun) -> str:
    if not run.data.config:
        return f"<p>{escape(run.label)} has no config.yaml, so it cannot be replayed from its folder.</p>"
    return f"<p>{escape(run.label)}</p><pre>{escape(replay_command(run.data))}</pre>"


def _marked(run: ComparedRun) -> str:
    return f"{escape(run.label)}{'<small>not finished</small>' if run.data.unfinished else ''}"
