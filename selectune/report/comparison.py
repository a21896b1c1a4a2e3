"""The page that compares runs: what each cost and came to, the Pareto front, and whether they compare at all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from selectune.common.run_files import RunFiles
from selectune.costs.saving import UNIT_NAMES, UNITS, Unit
from selectune.report.caveats import differing_settings, doubts
from selectune.report.compared_runs import Arm, arms_of, charged, common_figure
from selectune.report.comparison_plots import figure_against_cost, front_of
from selectune.report.drawing import Picture, shown
from selectune.report.html import write_page
from selectune.report.html_tables import UNIT_TOLD, bullets, capital, data, replay_command, report_command, table
from selectune.report.labels import joined, metric, metric_name
from selectune.report.learning_curves import learning_curves
from selectune.report.numbers import count, share
from selectune.report.page import SPARSE, costs, section
from selectune.report.run_data import Facts
from selectune.report.selection_section import chosen_to_warm_up, what_was_chosen

MAX_DRAWN = 8  # with more runs, pictures of the selections would make a page that no browser likes
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
        run_dirs: of the runs, in the order of the page; unfinished ones are told apart.
        output: the folder to write to.

    Raises:
        UserError: there is no such directory, or a file of it is damaged.
    """
    arms = arms_of([Facts.read(Path(run)) for run in run_dirs])
    figure = common_figure(arms)
    warned = bullets(doubts(arms)) or "<p>Nothing that is known speaks against it.</p>"
    sections = [
        _head(arms, figure),
        section("Can they be compared?", warned),
        section("What they were asked", _asked(arms)),
        section("What they came to", _came_to(arms)),
        section("What they cost", _costs(arms)),
        section("Figure against cost", _against_cost(arms, figure, output)),
        section("Learning curves", _curves(arms, figure, output)),
        section("What differs", _differences(arms)),
        *(section(escape(arm.label), _run(arm, output, len(arms) <= MAX_DRAWN)) for arm in arms),
        section("Run them again", "".join(_replay(arm) for arm in arms)),
    ]
    return write_page(output, f"selectune: {len(arms)} runs", sections)


def _head(arms: Sequence[Arm], figure: str | None) -> str:
    fronts: dict[str, list[str]] = {}  # the units in which the same runs are best
    for unit in UNITS if figure else ():
        names = joined([arm.name for arm in front_of(arms, unit, str(figure))])
        fronts.setdefault(names, []).append(UNIT_NAMES[unit])
    told = [f"{names} in {joined(units)}" for names, units in fronts.items() if names]
    claim = f"Best for their cost: {'; '.join(told)}." if told else "No two costs and figures are known to compare."
    by = (
        f"No other run has a better {metric_name(figure).lower()} on held-out data for less." if told and figure else ""
    )
    return (
        f'<header><p class="run">selectune · comparison of {len(arms)} runs</p><h1>{escape(claim)}</h1>'
        f"{f'<p>{escape(by)}</p>' if by else ''}</header>"
    )


def _asked(arms: Sequence[Arm]) -> str:
    """What each run was asked to do."""
    body = ""
    for arm in arms:
        words = "".join(f'<td class="words">{escape(word)}</td>' for word in (arm.task, arm.selector, arm.budget))
        numbers = f"<td>{_cell(arm.seed, count)}</td><td>{_cell(arm.epochs, lambda value: f'{value:,.3g}')}</td>"
        body += f'<tr><th scope="row">{_marked(arm)}</th>{words}{numbers}</tr>'
    return table(("Run", "Task", "Selector", "Budget", "Seed", "Epochs"), f"<tbody>{body}</tbody>", "runs asked")


def _came_to(arms: Sequence[Arm]) -> str:
    """Rows and tokens that were trained on, and all figures on held-out data."""
    names = dict.fromkeys(name for arm in arms for name in arm.facts.metrics if name.startswith("test/"))
    body = ""
    for arm in arms:
        trained = arm.facts.sizes_of("fit")
        sizes = [trained[name][0] if trained else None for name in ("Rows", "Tokens")]
        cells = "".join(f"<td>{_cell(size, count)}</td>" for size in sizes)
        cells += "".join(f"<td>{_cell(arm.facts.metrics.get(name), metric)}</td>" for name in names)
        body += f'<tr><th scope="row">{_marked(arm)}</th>{cells}</tr>'
    head = ("Run", "Rows", "Tokens", *map(_figure_name, names))
    note = "Rows and tokens are those that were fine-tuned on in each epoch; figures are those on held-out data."
    return table(head, f"<tbody>{body}</tbody>", "runs") + f'<p class="note">{note}</p>'


def _figure_name(name: str) -> str:
    short = {"test/majority_accuracy": "Largest class always"}.get(name)
    return escape(short or metric_name(name))


def _costs(arms: Sequence[Arm]) -> str:
    """The terms of each run in each unit; the warm-up's too where the runs differ in it."""
    differ = any(arm.with_warm_up for arm in arms)
    warm_up = ("Warm-up and its selection",) if differ else ()
    head = ("Run", "Selection", "Training", *warm_up, "Total", "Saving", "Start-up, left out")
    body = ""
    for unit in UNITS:
        told = UNIT_TOLD[unit]
        lines = ""
        for arm in arms:
            terms = arm.terms(unit)
            values = [terms.selection if terms else None, terms.training if terms else None]
            values += [*([arm.warm_up(unit)] if differ else []), arm.total(unit)]
            cells = "".join(f"<td>{_cell(value, told)}</td>" for value in values)
            cells += f"<td>{_saved(arm, unit)}</td><td>{_cell(arm.left_out(unit), told)}</td>"
            lines += f'<tr><th scope="row">{_marked(arm)}</th>{cells}</tr>'
        title = f'<tr class="group"><th scope="rowgroup" colspan="{len(head)}">{capital(UNIT_NAMES[unit])}</th></tr>'
        body += f"<tbody>{title}{lines}</tbody>"
    note = CHARGED.format(total=charged(arms), shared="preparing data" if differ else "preparing data, warming up")
    note += OF_WARM_UP if any(_chose_to_warm_up(arm) for arm in arms) else ""
    return table(head, body, "runs") + f'<p class="note">{note}</p>'


def _saved(arm: Arm, unit: Unit) -> str:
    """The saving to look at first, marked where it is that of the warm-up's choice."""
    saved = getattr(arm.facts.saving.main, unit).saving if arm.facts.saving else None
    return _cell(saved, share) + ("<small>of the warm-up</small>" if _chose_to_warm_up(arm) else "")


def _chose_to_warm_up(arm: Arm) -> bool:
    return arm.facts.saving is not None and arm.facts.chosen_for == "warm_up"


def _against_cost(arms: Sequence[Arm], figure: str | None, folder: Path) -> str:
    drawn = figure_against_cost(arms, figure) if figure else None
    if drawn is None or figure is None:
        return "<p>There is no picture, as no run has both a figure on held-out data and a known cost.</p>"
    title = f"{metric_name(figure)} against the cost of {charged(arms)}"
    note = "Numbers are those of the runs; those of the filled dots stand on the Pareto front."
    return shown([Picture("figure_against_cost", title, *drawn, note)], folder) + "".join(
        f"<p>{escape(_front_told(arms, unit, figure))}</p>" for unit in UNITS
    )


def _front_told(arms: Sequence[Arm], unit: Unit, figure: str) -> str:
    front = front_of(arms, unit, figure)
    if not front:
        return f"In {UNIT_NAMES[unit]} no run is known well enough."
    steps = [
        f"{arm.label} ({metric(arm.facts.metrics[figure])} for {UNIT_TOLD[unit](arm.total(unit))})" for arm in front
    ]
    return f"Pareto front in {UNIT_NAMES[unit]}, from cheap to dear: {joined(steps)}."


def _curves(arms: Sequence[Arm], figure: str | None, folder: Path) -> str:
    drawn = learning_curves({arm.label: arm.facts.curves for arm in arms}, figure)
    if drawn is None:
        return "<p>No curve was logged by any run.</p>"
    note = "" if any("train/loss" in arm.facts.curves for arm in arms) else SPARSE
    return shown([Picture("curves", "Loss and figures by step", *drawn, note)], folder)


def _differences(arms: Sequence[Arm]) -> str:
    """The settings that the runs do not share."""
    if silent := [arm.label for arm in arms if not arm.facts.settings]:
        return f"<p>{escape(joined(silent))} {'has' if len(silent) == 1 else 'have'} no config.yaml to compare.</p>"
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(told)}</td></tr>'
        for name, told in differing_settings(arms)
    )
    if not rows:
        return "<p>Their settings are the same.</p>"
    return table((), f"<tbody>{rows}</tbody>", "manifest")


def _run(arm: Arm, folder: Path, drawn: bool) -> str:
    """What is shown of each run by itself; pictures of its selection unless there are too many runs."""
    facts, prefix = arm.facts, f"run{arm.number}-"
    told = facts.saving.sentence() if facts.saving else "What selection saved is not known: there is no saving.json."
    chosen = what_was_chosen(facts, folder, prefix) if drawn else ""
    before = chosen_to_warm_up(facts, folder, f"{prefix}warm_up-") if drawn else ""
    return (
        f"<p>{escape(told)}</p>{_link(facts.run_dir, folder)}{costs(facts, folder, prefix)}"
        f"{f'<h3>What was chosen</h3>{chosen}' if chosen else ''}"
        f"{f'<h3>What the model was warmed up on</h3>{before}' if before else ''}"
        f"{f'<h3>Warnings</h3>{bullets(facts.warnings)}' if facts.warnings else ''}"
    )


def _link(run: Path, folder: Path) -> str:
    """Where the run's own page is, or how to make it."""
    page = RunFiles(run).report
    if not page.is_file():
        return f"<p>Its own report is not there; this makes it:</p><pre>{escape(report_command(run))}</pre>"
    where = os.path.relpath(page.resolve(), folder.resolve())
    return f'<p>Its own report: <a href="{escape(quote(where))}">{escape(where)}</a></p>'


def _replay(arm: Arm) -> str:
    if not arm.facts.config:
        return f"<p>{escape(arm.label)} has no config.yaml, so it cannot be replayed from its folder.</p>"
    return f"<p>{escape(arm.label)}</p><pre>{escape(replay_command(arm.facts))}</pre>"


def _marked(arm: Arm) -> str:
    mark = "<small>not finished</small>" if arm.facts.unfinished else ""
    return f"{escape(arm.label)}{mark}"


def _cell(value: float | None, told: object) -> str:
    return "–" if value is None else data(value, told)  # type: ignore[arg-type]
