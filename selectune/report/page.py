"""The page of one run, from the files in its directory."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selectune.common.run_files import RunFiles
from selectune.report.cost_notes import cost_notes, energy
from selectune.report.cost_plots import cost_pictures, missing_pictures
from selectune.report.drawing import Picture, show
from selectune.report.forecast_section import forecast_section
from selectune.report.labels import headline
from selectune.report.learning_curves import NOT_LOGGED, learning_curves
from selectune.report.render import write_page
from selectune.report.run_data import RunData
from selectune.report.selection_section import selection_section
from selectune.report.verdict_plot import cost_accuracy
from selectune.report.verdict_section import in_metric, top_of
from selectune.verdict.judge import write_verdict
from selectune.verdict.prose import joined


def write_report(run_dir: Path, output: Path | None = None, finished: bool | None = None) -> Path:
    """Write ``report.html`` of a run from the files in it, and give its path.

    The pictures are in the page, and as files in ``figures/`` beside it. ``verdict.json`` of a finished run is written
    with it.

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
    plot = cost_accuracy(run)
    warm_up = run.read_warm_up()
    started = min((record.started_at for record in run.records if not record.cached), default="")
    return write_page(
        folder,
        "run.html",
        run=run,
        started=started[:16].replace("T", " "),
        top=top_of(run),
        plot=show([plot] if plot else [], folder),
        metrics=list(dict.fromkeys(name.partition("/")[2] for name in run.measured)),
        cost=cost_content(run, folder),
        notes=list(cost_notes(run)),
        energy=energy(run),
        forecast=forecast_section(run),
        selection=selection_section(run, folder),
        warm_up=selection_section(warm_up, folder, "warm_up-") if warm_up else None,
        curves=curves({run.name: run}, headline(run.metrics), folder),
        replay=replay_command(run),
    )


def cost_content(run: RunData, folder: Path, prefix: str = "") -> dict[str, Any]:
    """The saving of a run and what it cost in the metric, the waterfalls, and a sentence for each that is missing."""
    said = [run.saving.sentence(), *([in_metric(run)] if run.selects else [])] if run.saving else []
    if run.verdict is not None and run.verdict.evidence.n_seeds > 1:
        said.append("These are the costs of one seed, and those of the verdict means over its seeds.")
    return {"saving": said, "pictures": show(cost_pictures(run), folder, prefix), "missing": missing_pictures(run)}


def replay_command(run: RunData) -> str:
    """The command that does a run again; empty for a run without a config."""
    verb = "fit" if any(record.stage == "train" for record in run.records) else "select"
    config = shlex.quote(str(RunFiles(run.run_dir).config))
    return f"selectune {verb} --config {config} --output NEW" if run.config else ""


def curves(runs: Mapping[str, RunData], metric: str | None, folder: Path) -> list[Picture]:
    """Training curves of runs by their name; none where nothing was logged."""
    drawn = learning_curves({name: run.curves for name, run in runs.items()}, metric)
    if drawn is None:
        return []
    notes = [] if any("train/loss" in run.curves for run in runs.values()) else [NOT_LOGGED]
    measured = [(label, one) for label, run in runs.items() for one in run.measured.values()]
    rows = {label: one.rows for label, one in measured if one.name.startswith("val/")}
    if rows:
        alike = len(set(rows.values())) == 1
        over = rows.popitem()[1] if alike else joined([f"{n_rows} in {label}" for label, n_rows in rows.items()])
        notes.append(f"The metric of validation is over {over}.")
    return show([Picture("curves", "Loss and validation metric by step", *drawn, " ".join(notes))], folder)
