"""The top of a run's page: the verdict in words, and its numbers as they are shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from selectune.costs.saving import UNITS, Terms
from selectune.report.labels import capital
from selectune.report.numbers import element
from selectune.report.run_data import RunData
from selectune.verdict import prose
from selectune.verdict.decision import Word
from selectune.verdict.evidence import Cost, Evidence, Metric
from selectune.verdict.intervals import Difference
from selectune.verdict.verdict import Colour


@dataclass(frozen=True)
class Top:
    """The top of a page: a headline, sentences of a paragraph each, and the costs of the run and of all rows."""

    colour: Colour
    headline: str
    sentences: Sequence[str]
    costs: tuple[Cost, Cost | None] | None


def top_of(run: RunData) -> Top:
    """The verdict on a run; of one that cannot be judged, that it is not known, and why."""
    problems = [problem.message for problem in run.training.problems] if run.training and run.training.failed else []
    if (verdict := run.verdict) is not None:
        rest = capital(verdict.sentence.removeprefix(verdict.headline).lstrip(":, "))
        return Top(verdict.colour, verdict.headline, [*problems, rest], _costs_of(run))
    word = Word.TRAINING_FAILED if problems else Word.NOT_KNOWN_YET
    unfinished = [run.unfinished] if run.unfinished else []
    sentences = [*problems, *unfinished, *([] if problems else [_why_not_judged(run)])]
    return Top("red" if problems else "grey", prose.HEADLINES[word], sentences, _costs_of(run))


def _why_not_judged(run: RunData) -> str:
    if run.unfinished or run.saving is None:
        return "How training on these rows compares with all rows, and with random ones of the same cost, is not known."
    if run.selected_for == "warm_up":
        return (
            "Rows were selected for the warm-up alone. What that gave is not known from one run: run the same config "
            "with warm_up.data.selector Random, and compare both with `selectune report RUN RUN`."
        )
    return "There is no metric on held-out data, so what the selection gave is not known; give data.test_split."


def _costs_of(run: RunData) -> tuple[Cost, Cost | None] | None:
    """Costs of a run, and of training on all rows: of its verdict, else of its saving."""
    if run.verdict is not None:
        return run.verdict.evidence.cost, run.verdict.evidence.all_rows.cost
    if run.saving is None:
        return None
    flops, device_s = (getattr(run.saving.main, unit) for unit in UNITS)
    return Cost(_total(flops), _total(device_s)), Cost(
        flops.full_training, device_s.full_training, flops.full_is_estimated
    )


def _total(terms: Terms) -> float | None:
    return None if terms.selection is None or terms.training is None else terms.selection + terms.training


def change(metric: Metric, difference: Difference) -> list[Markup]:
    """A difference and the bounds of its interval, in points, as far as the metric has them."""
    bounds = (difference.value, difference.low, difference.high)
    width = (difference.high - difference.low) / metric.unit
    least = 0 if metric.scale == "plain" else 1
    digits = min(max(1 - math.floor(math.log10(width)), least), 4) if width > 0 else 2

    def write(value: float | None) -> str:
        return f"{(value or 0) / metric.unit:+.{digits}f}".replace("-", "\N{MINUS SIGN}")

    return [element(bound, write) for bound in bounds]


def over(difference: Difference) -> str:
    """The seeds and rows of an interval: "3 seeds, 1,000 rows"; of one seed, that another may differ."""
    if difference.over == "rows":
        return f"{difference.n_rows:,} rows of one seed; another may differ"
    rows = f", {difference.n_rows:,} rows" if difference.over != "seeds" else ""
    return f"{difference.n_seeds} seeds{rows}"


def measured_over(run: RunData, evidence: Evidence) -> str:
    """The seeds and rows that the metric of a run is the mean over: "3 seeds, 1,000 rows"."""
    one = run.measured.get(f"test/{evidence.metric.name}")
    rows = [one.rows] if one and one.n_rows else []
    return ", ".join([f"{evidence.n_seeds} seed{'s' if evidence.n_seeds > 1 else ''}", *rows])


def in_metric(run: RunData) -> str:
    """The price of a run's saving in its metric, in one sentence to stand beside the saving; or that it is unknown."""
    evidence = run.verdict.evidence if run.verdict else None
    if evidence is None or (difference := evidence.all_rows.difference) is None:
        return "What that cost in accuracy is not known, as it was not compared with training on all rows."
    value, low, high = (bound.striptags() for bound in change(evidence.metric, difference))
    unit = "" if evidence.metric.scale == "plain" else " points"
    name, whole = prose.metric_name(evidence.metric), prose.arm_name(evidence, "all_rows")
    return f"In {name}, it is {value}{unit} against {whole} (95 % interval {low} to {high}, {over(difference)})."
