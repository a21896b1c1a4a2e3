"""The page of a pilot, from its files alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from selectune.common.errors import UserError
from selectune.common.files import atomic_file
from selectune.common.run_files import RunFiles
from selectune.costs.saving import percent
from selectune.pilot.decision import Decision
from selectune.pilot.ranking import BASES
from selectune.pilot.recipes import TITLES
from selectune.pilot.result import SHAPES, Pilot, percent_of, points_of
from selectune.pilot.terminal import cost_sentence, held_out_sentence
from selectune.report.drawing import COLOURS, INK, Picture, legend, panels, show, styled
from selectune.report.numbers import count
from selectune.report.render import rendered

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_page(files: RunFiles) -> Path:
    """Write ``pilot.html`` from ``pilot.json`` and ``plan.json``, and give its path.

    The pictures are in the page, and as files in ``figures/`` beside it.

    Raises:
        UserError: one of the two files is missing or damaged.
    """
    pilot, decision = Pilot.read(files.path), Decision.read(files.path)
    page = rendered(
        "trials.html",
        {
            "name": files.path.resolve().name,
            "pilot": pilot,
            "decision": decision,
            "titles": TITLES,
            "colour": "grey" if pilot.plan in BASES else "green",
            "cost": cost_sentence(pilot),
            "held_out": held_out_sentence(pilot),
            "shape": SHAPES[pilot.shape],
            "percent_of": percent_of,
            "points_of": points_of,
            "budget": percent(pilot.budget_share),
            "pictures": show(pictures_of(pilot), files.path, "pilot-"),
        },
        "selectune.pilot",
    )
    with atomic_file(files.pilot_page) as partial:
        partial.write_text(page, encoding="utf-8")
    return files.pilot_page


def made_again(words: Sequence[str]) -> Path | None:
    """Write the page of the one folder that ``report`` was given, if it is a pilot; else give None.

    Raises:
        UserError: a file of the pilot is missing or damaged, or the page cannot be written.
    """
    files = RunFiles(Path(words[0])) if len(words) == 1 else None
    if files is None or not files.pilot.is_file() or files.done.is_file():
        return None
    try:
        return write_page(files)
    except OSError as error:
        raise UserError(f"The page of {files.path} cannot be written ({error}).", path=files.path) from error


def pictures_of(pilot: Pilot) -> list[Picture]:
    """The learning curve, and the gains of the plans."""
    note = (
        f"The band is the {pilot.level:.0%} interval of the forecast for random rows; held-out rows as they are. Dots "
        "are small trainings of the model; an arm trains on the rows of a plan at the cost of the largest subset."
    )
    curve = Picture("curve", "Accuracy by rows", *curve_of(pilot), note)
    note = (
        f"Accuracy over that of random rows at the same total cost, {percent(pilot.budget_share)} of the full one, "
        f"with {pilot.level:.0%} intervals: what was measured on other pools, the arms and the rehearsals together."
    )
    return [curve, Picture("gains", "Expected gain of the plans", *gains_of(pilot), note)]


@styled()
def curve_of(pilot: Pilot) -> tuple[Figure, str]:
    """Accuracies of the small trainings, and the forecast up to the full size."""
    figure, (axis,) = panels(1, 3.4)
    at = [point.rows for point in pilot.curve]
    bounds = [[100 * getattr(point.accuracy, side) for point in pilot.curve] for side in ("low", "value", "high")]
    axis.fill_between(at, bounds[0], bounds[2], color=COLOURS["shared"], alpha=0.6, lw=0)
    axis.plot(at, bounds[1], color=COLOURS["training"], label="forecast")
    subsets = [one for one in pilot.tried if one.kind == "subset"]
    dots = [100 * one.accuracy for one in subsets]
    axis.plot([one.rows for one in subsets], dots, "o", color=INK, ms=7, label="random rows")
    for marker, one in zip("sDv^", (one for one in pilot.tried if one.kind == "arm")):
        place = one.rows, 100 * one.accuracy
        axis.plot(*place, marker, color=COLOURS["selection"], ms=7, label=TITLES[one.plan].lower())
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.set_xlabel("rows")
    axis.set_ylabel("accuracy (%)")
    axis.grid(True)
    legend(figure, markerscale=1)
    words = ", ".join(f"{100 * one.accuracy:.1f} % with {count(one.rows)} rows" for one in subsets)
    return figure, f"Accuracy of small trainings: {words}; forecast for all rows {percent_of(pilot.all_rows)}."


@styled()
def gains_of(pilot: Pilot) -> tuple[Figure, str]:
    """The gain of each plan with its interval."""
    figure, (axis,) = panels(1, 0.7 + 0.36 * len(pilot.plans))
    for place, one in enumerate(pilot.plans):
        gain = one.gain
        colour = COLOURS["saved"] if gain.name == pilot.plan else COLOURS["training"]
        axis.plot([100 * gain.low, 100 * gain.high], [place, place], color=colour, lw=2)
        axis.plot(100 * gain.gain, place, "o", color=colour, ms=7)
    axis.axvline(0, color=INK, lw=0.8)
    axis.set_yticks(range(len(pilot.plans)), [TITLES[one.gain.name] for one in pilot.plans])
    axis.set_ylim(len(pilot.plans) - 0.5, -0.5)  # the first on top
    axis.set_xlabel("points over random rows")
    axis.grid(True, axis="x")
    words = "; ".join(f"{TITLES[one.gain.name].lower()} {points_of(one.gain)}" for one in pilot.plans)
    return figure, f"Expected gains over random rows: {words}."
