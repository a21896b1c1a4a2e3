"""The page of one run, from the files in its directory."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path

from selectune.common.files import atomic_file
from selectune.common.run_files import RunFiles
from selectune.costs.saving import UNIT_NAMES, UNITS, Terms
from selectune.report.cost_plots import cost_pictures, missing_pictures
from selectune.report.drawing import Picture, show
from selectune.report.forecast_section import forecast_table
from selectune.report.html import PAGE, STYLE
from selectune.report.html_tables import bullets, cost_table, data, manifest_table, metrics_table, replay_command
from selectune.report.labels import capital, headline, metric, metric_name
from selectune.report.learning_curves import NOT_LOGGED, learning_curves
from selectune.report.numbers import count, share
from selectune.report.run_data import RunData
from selectune.report.selection_section import selection_section
from selectune.report.terms import terms_table
from selectune.verdict.judge import write_verdict
from selectune.verdict.verdict import Colour

NO_CURVES = "No curve was logged: metrics.csv holds neither train/loss nor a figure of dev."
MOODS: dict[Colour, str] = {"green": "gain", "red": "loss", "grey": "unknown"}
NOT_JUDGED = "Not judged yet"
UNKNOWN_SAVING = "What selection saved is not known: there is no saving.json."


def write_page(folder: Path, title: str, sections: Iterable[str]) -> Path:
    """Write ``report.html`` into a folder, whole or not at all, and give its path."""
    path = RunFiles(folder).report
    with atomic_file(path) as partial:
        partial.write_text(PAGE.format(title=escape(title), style=STYLE, body="\n".join(sections)), encoding="utf-8")
    return path


def section(title: str, body: str) -> str:
    """A section of a page; the title is HTML."""
    return f"<section><h2>{title}</h2>\n{body}</section>"


def write_report(run_dir: Path, output: Path | None = None, finished: bool | None = None) -> Path:
    """Write ``report.html`` of a run from the files in it, and give its path.

    The pictures are in the page, and as files in ``figures/`` beside it.

    Args:
        run_dir: of the run.
        output: the folder to write to; default the run's own.
        finished: whether the run is; None looks for ``done.json``.

    Raises:
        UserError: there is no such directory, or a file of it is damaged.
    """
    run = RunData.read(Path(run_dir), finished)
    folder = Path(output) if output else run.run_dir
    if run.verdict is not None and folder == run.run_dir:
        write_verdict(folder, run.verdict)
    forecast = forecast_table(run)
    selection = selection_section(run, folder)
    sections = [
        _head(run),
        _tiles(run),
        section("Where the cost went", costs(run, folder)),
        section("Cost by stage", cost_table(run)),
        section("Forecast and measured", forecast) if forecast else "",
        section("Does selecting pay?", terms_table(run.saving)),
        *_warm_up(run, folder),
        section("Results", metrics_table(run)),
        section("Learning curves", curves_section({run.name: run}, headline(run.metrics), folder, NO_CURVES)),
        section("What was chosen", selection) if selection else "",
        section("The selection", manifest_table(run)),
        section("Warnings", bullets(run.warnings) or "<p>There are none.</p>"),
        section("Run it again", _replay(run)),
    ]
    return write_page(folder, f"selectune: {run.name}", sections)


def _head(run: RunData) -> str:
    started = min((record.started_at for record in run.records if not record.cached), default="")[:16]
    when = f" · started {escape(started.replace('T', ' '))} UTC" if started else ""
    verdict = run.verdict
    if verdict is None:
        failed = run.training.problems if run.training and run.training.failed else ()
        saving = run.saving.sentence() if run.saving else UNKNOWN_SAVING
        claim, more = NOT_JUDGED, " ".join([*(problem.message for problem in failed), saving])
        mood = "loss" if failed else "unknown"
    else:
        claim, more = verdict.headline, verdict.sentence.removeprefix(verdict.headline).lstrip(":, ")
        more, mood = capital(more), MOODS[verdict.colour]
    box = f'<p class="box">{escape(run.unfinished)}</p>' if run.unfinished else ""
    return (
        f'<header><p class="run">selectune · run <b>{escape(run.name)}</b>{when}</p>'
        f'<h1 class="{mood}">{escape(claim)}</h1><p>{escape(more)}</p>'
        f"{box}</header>"
    )


def _tiles(run: RunData) -> str:
    tiles = []
    for unit in UNITS if run.saving else ():
        terms: Terms = getattr(run.saving.main, unit)  # type: ignore[union-attr]
        verb = "lost" if (terms.saving or 0) < 0 else "saved"
        note = "against an estimate" if terms.full_is_estimated else "measured"
        fraction = None if terms.saving is None else abs(terms.saving)
        tiles.append((f"{capital(UNIT_NAMES[unit])} {verb}", data(fraction, share), "" if fraction is None else note))
    for name, (kept, pool) in run.sizes.items():
        part = share(kept / pool) if pool else ""
        tiles.append((kept_name(name, run), data(kept, count), f"of {data(pool, count)} ({part})"))
    main = headline(run.metrics)
    if main is not None:
        majority = run.metrics.get("test/majority_accuracy")
        beside = f"largest class always: {data(majority, metric)}" if majority is not None else "on held-out data"
        tiles.append((f"Test {metric_name(main).lower()}", data(run.metrics[main], metric), beside))
    cells = (f"<div><dt>{escape(name)}</dt><dd>{value}<small>{note}</small></dd></div>" for name, value, note in tiles)
    return f'<dl class="tiles">{"".join(cells)}</dl>' if tiles else ""


def kept_name(name: str, run: RunData) -> str:
    """The name of the kept rows or tokens: "Rows kept", or "Warm-up rows kept"."""
    return f"Warm-up {name.lower()} kept" if run.selected_for == "warm_up" else f"{name} kept"


def costs(run: RunData, folder: Path, prefix: str = "") -> str:
    """The waterfalls of a run, and a sentence for each that is missing."""
    missing = missing_pictures(run)
    return show(cost_pictures(run), folder, prefix) + (f"<p>{missing}</p>" if missing else "")


def _warm_up(run: RunData, folder: Path) -> list[str]:
    """The selection of rows to warm up on, and whether it paid; empty for a run without one."""
    warm_up = run.read_warm_up()
    if warm_up is None:
        return []
    # Where rows were selected for the warm-up alone, its terms are those of the page's own section.
    beside = run.saving is not None and run.saving.main is run.saving and run.saving.warm_up is not None
    terms = terms_table(run.saving.warm_up) if beside and run.saving else ""
    selection = selection_section(warm_up, folder, "warm_up-")
    return [section("What the model was warmed up on", f"{selection}{manifest_table(warm_up)}{terms}")]


def curves_section(runs: dict[str, RunData], headline: str | None, folder: Path, no_curves: str) -> str:
    """Learning curves of runs by their name, or a sentence where there are none."""
    drawn = learning_curves({name: run.curves for name, run in runs.items()}, headline)
    if drawn is None:
        return f"<p>{no_curves}</p>"
    note = "" if any("train/loss" in run.curves for run in runs.values()) else NOT_LOGGED
    return show([Picture("curves", "Loss and figures by step", *drawn, note)], folder)


def _replay(run: RunData) -> str:
    """The command that does the run again, and its config."""
    if not run.config:
        return "<p>There is no config.yaml, so this run cannot be replayed from its folder.</p>"
    return (
        f"<pre>{escape(replay_command(run))}</pre><p>with config.yaml as it was run:</p>"
        f"<pre>{escape(run.config.rstrip())}</pre>"
    )
