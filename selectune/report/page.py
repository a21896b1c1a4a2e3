"""The page of one run, from the files in its directory."""

from __future__ import annotations

from html import escape
from pathlib import Path

from selectune.common.run_files import RunFiles
from selectune.costs.saving import UNIT_NAMES, UNITS, Terms
from selectune.report.cost_plots import cost_pictures, unpictured
from selectune.report.drawing import Picture, shown
from selectune.report.forecast_section import forecast_table
from selectune.report.html import write_page
from selectune.report.html_tables import bullets, capital, cost_table, data, manifest_table, metrics_table, replay
from selectune.report.labels import headline, metric, metric_name
from selectune.report.learning_curves import learning_curves
from selectune.report.numbers import count, share
from selectune.report.run_data import Facts
from selectune.report.selection_section import what_was_chosen
from selectune.report.terms import terms_table


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
    facts = Facts.read(Path(run_dir), finished)
    folder = Path(output) if output else facts.run_dir
    forecast = forecast_table(facts)
    chosen = what_was_chosen(facts, folder)
    sections = [
        _head(facts),
        _tiles(facts),
        section("Where the cost went", costs(facts, folder)),
        section("Cost by stage", cost_table(facts)),
        section("Forecast and measured", forecast) if forecast else "",
        section("Does selecting pay?", terms_table(facts.saving)),
        *_warm_up(facts, folder),
        section("Results", metrics_table(facts)),
        section("Learning curves", _curves(facts, folder)),
        section("What was chosen", chosen) if chosen else "",
        section("The selection", manifest_table(facts)),
        section("Warnings", bullets(facts.warnings) or "<p>There are none.</p>"),
        section("Run it again", replay(facts)),
    ]
    return write_page(folder, f"selectune: {facts.name}", sections)


def _warm_up(facts: Facts, folder: Path) -> list[str]:
    """What was chosen to warm up on, and whether that paid; nothing for a run without such a choice."""
    if not facts.warm_up_manifest:
        return []
    inside = Facts.read(RunFiles(facts.run_dir).warm_up.path, finished=True)
    both = facts.saving is not None and facts.saving.main is facts.saving and facts.saving.warm_up is not None
    pays = terms_table(facts.saving.warm_up) if both and facts.saving else ""  # else it stands further up
    chosen = what_was_chosen(inside, folder, "warm_up-")
    return [section("What the model was warmed up on", f"{chosen}{manifest_table(inside)}{pays}")]


def section(title: str, body: str) -> str:
    """A section of a page; the title is HTML."""
    return f"<section><h2>{title}</h2>\n{body}</section>"


def costs(facts: Facts, folder: Path, prefix: str = "") -> str:
    """The waterfalls of a run, and what to say where there are none."""
    missing = unpictured(facts)
    return shown(cost_pictures(facts, prefix), folder, prefix) + (f"<p>{missing}</p>" if missing else "")


def _curves(facts: Facts, folder: Path) -> str:
    drawn = learning_curves({facts.name: facts.curves}, headline(facts.metrics))
    if drawn is None:
        return "<p>No curve was logged: metrics.csv holds neither train/loss nor a figure of dev.</p>"
    missing = "" if "train/loss" in facts.curves else SPARSE
    return shown([Picture("curves", "Loss and figures by step", *drawn, missing)], folder)


SPARSE = "The loss of training was not logged: there were fewer steps than trainer.log_every_n_steps, 50 by default."


def _head(facts: Facts) -> str:
    started = min((record.started_at for record in facts.records if not record.cached), default="")[:16]
    when = f" · started {escape(started.replace('T', ' '))} UTC" if started else ""
    told = facts.saving.sentence() if facts.saving else "What selection saved is not known: there is no saving.json."
    failed = facts.training.problems if facts.training and facts.training.failed else ()
    told = " ".join([*(problem.message for problem in failed), told])
    claim, stop, more = told.partition(". ")
    gains = [getattr(facts.saving.main, unit).saving for unit in UNITS] if facts.saving else []
    known = [gain for gain in gains if gain is not None]
    mood = "unknown" if not known else "loss" if min(known) < 0 else "gain"
    if facts.training and facts.training.problems:  # what a training saved that did not work is no gain
        mood = "loss" if failed else "unknown"
    return (
        f'<header><p class="run">selectune · run <b>{escape(facts.name)}</b>{when}</p>'
        f'<h1 class="{mood}">{escape(claim)}{stop.strip()}</h1>{f"<p>{escape(more)}</p>" if more else ""}'
        f"{_box(facts.unfinished)}</header>"
    )


def _box(sentence: str) -> str:
    return f'<p class="box">{escape(sentence)}</p>' if sentence else ""


def kept_name(name: str, facts: Facts) -> str:
    """What the kept rows or tokens are called: "Rows kept", or "Warm-up rows kept"."""
    return f"Warm-up {name.lower()} kept" if facts.chosen_for == "warm_up" else f"{name} kept"


def _tiles(facts: Facts) -> str:
    tiles = []
    if saving := facts.saving:
        for unit in UNITS:
            terms: Terms = getattr(saving.main, unit)
            verb = "lost" if (terms.saving or 0) < 0 else "saved"
            fraction = None if terms.saving is None else abs(terms.saving)
            note = "against an estimate" if terms.full_is_estimated else "measured"
            tiles.append(
                (
                    f"{capital(UNIT_NAMES[unit])} {verb}",
                    data(fraction, share),
                    note if terms.saving is not None else "",
                )
            )
    for name, (kept, pool) in facts.sizes.items():
        part = share(kept / pool) if pool else ""
        tiles.append((kept_name(name, facts), data(kept, count), f"of {data(pool, count)} ({part})"))
    test = {name: value for name, value in facts.metrics.items() if name.startswith("test/")}
    main = headline(test)
    if main is not None:
        majority = test.get("test/majority_accuracy")
        beside = f"largest class always: {data(majority, metric)}" if majority is not None else "on held-out data"
        tiles.append((f"Test {metric_name(main).lower()}", data(test[main], metric), beside))
    cells = (f"<div><dt>{escape(name)}</dt><dd>{value}<small>{note}</small></dd></div>" for name, value, note in tiles)
    return f'<dl class="tiles">{"".join(cells)}</dl>' if tiles else ""
