"""Published figures, to be put beside those of a table."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from selectune.common.errors import UserError
from selectune.verdict.metric_kinds import MEAN, REDUCTION, kind_of, metric_of

UNTOUCHED = "untouched"  # the line of the model before it was trained
COLUMNS = ("paper", "table", "setting", "row", "column", "value", "sd", "unit", "source")
CAVEAT = "caveat"  # a column more, which files may lack
WHOLE = "of 1"  # the unit of fractions that are not in per cent
# kinds of metrics that a unit names, by the word that does
NAMED = {
    "F1": ("micro_f1", "macro_f1", "f1"), "accuracy": ("accuracy", "accuracy_norm", "accuracy_calibrated"),
    "Matthews": ("matthews",), "correlation": ("matthews", "pearson", "spearman"), "exact match": ("em",),
    "perplexity": ("perplexity",), "reduction": (REDUCTION,),
}  # fmt: skip


@dataclass(frozen=True)
class Published:
    """Where the published figures of a table are, and which of them belongs to which line.

    Args:
        figures: a CSV with the columns paper, table, setting, row, column, value, sd, unit and source, and caveat where
            some have one.
        table: of the paper.
        tasks: columns of the published table, by task of ours; of a task with several metrics by metric of it.
        methods: rows of the published table, by method of ours, ``untouched`` being the model before it was trained.
        setting: of the published table, where it has several; or those of single budgets, by budget.
        mean: its column with the mean over the tasks that are named, or else over all of ours.
        untouched: setting of the figures of the untouched model, where that is another.
    """

    figures: str
    table: str
    tasks: Mapping[str, str | Mapping[str, str]] = field(default_factory=dict)
    methods: Mapping[str, str] = field(default_factory=dict)
    setting: str | Mapping[Any, str] = ""
    mean: str = ""
    untouched: str = ""

    def columns(self, task: str, headline: str) -> Mapping[str, str]:
        """Columns of the published table, by metric of a task of ours; none where it names none."""
        given = self.tasks.get(task, {})
        return {headline: given} if isinstance(given, str) else given

    @property
    def settings(self) -> list[str]:
        """Those that it names; one that is empty where the published table has one alone."""
        of_budgets = [self.setting] if isinstance(self.setting, str) else list(self.setting.values())
        return [*of_budgets, *filter(None, [self.untouched])]

    def setting_at(self, budget: str, method: str) -> str | None:
        """The setting that belongs to a budget of ours and a method; None where none does."""
        if method == UNTOUCHED and self.untouched:
            return self.untouched
        if isinstance(self.setting, str):
            return self.setting
        return {str(name): setting for name, setting in self.setting.items()}.get(budget)


class Figure(NamedTuple):
    """A published figure: value and standard deviation as printed, its place, its unit, its source, and what is not
    sound about it."""

    value: float
    sd: str
    unit: str
    column: str
    row: str
    setting: str
    source: str
    caveat: str


@dataclass(frozen=True)
class Figures:
    """The figures of a published table, by setting, column and row.

    Args:
        published: that names them.
        by_place: the figures; their setting is empty where the published table has one alone.
    """

    published: Published
    by_place: Mapping[tuple[str, str, str], Figure]

    def find(self, task: str, headline: str, metric: str, budget: str, method: str) -> Figure | None:
        """The figure that belongs to a metric of a method on a task at a budget; None where there is none.

        Args:
            task: of ours; any for the mean over tasks.
            headline: of the task.
            metric: of the task, `MEAN` for the mean over tasks.
            budget: of the group, also of methods that have none.
            method: of ours.
        """
        column = self.published.mean if metric == MEAN else self.published.columns(task, headline).get(metric)
        setting, row = self.published.setting_at(budget, method), self.published.methods.get(method)
        return None if None in (column, setting, row) else self.by_place.get((setting or "", column or "", row or ""))


def read_published(published: Published, file: Path) -> Figures:
    """The figures of a published table.

    Raises:
        UserError: the file is missing or lacks a column, or has no such table, setting, column or row.
    """
    try:
        with file.open(newline="", encoding="utf-8") as handle:
            lines = list(csv.DictReader(handle))
    except OSError as error:
        raise UserError(f"The published figures {file} cannot be read ({error.strerror}); correct the path.") from None
    if not lines or tuple(name for name in lines[0] if name != CAVEAT) != COLUMNS:
        raise UserError(f"{file} is no file of published figures; its columns must be {', '.join(COLUMNS)}.")
    mine = [line for line in lines if line["table"] == published.table]
    if not mine:
        tables = ", ".join(sorted({line["table"] for line in lines}))
        raise UserError(f"{file} has no table {published.table}; it has {tables}.")
    settings = sorted({line["setting"] for line in mine})
    for setting in published.settings:
        if setting not in settings and (setting or len(settings) > 1):
            raise UserError(
                f"Table {published.table} of {file} has no setting '{setting}'; name one of: {'; '.join(settings)}."
            )
    mine = [line for line in mine if line["setting"] in published.settings or "" in published.settings]
    named = [
        name for given in published.tasks.values() for name in ([given] if isinstance(given, str) else given.values())
    ]
    for kind, names in (("column", [*named, *filter(None, [published.mean])]), ("row", published.methods.values())):
        known = {line[kind] for line in mine}
        if unknown := sorted(set(names) - known):
            raise UserError(
                f"Table {published.table} of {file} has no {kind} {unknown[0]}; it has {', '.join(sorted(known))}."
            )
    return Figures(published, {_place(line, published): _figure(line, file) for line in mine})


def _place(line: Mapping[str, str], published: Published) -> tuple[str, str, str]:
    return line["setting"] if line["setting"] in published.settings else "", line["column"], line["row"]


def _figure(line: Mapping[str, str], file: Path) -> Figure:
    try:
        value = float(line["value"])
    except (TypeError, ValueError):
        raise UserError(
            f"{file} has '{line['value']}' for {line['row']}, {line['column']} of table {line['table']}, which is no "
            "number; correct it."
        ) from None
    place = line["unit"], line["column"], line["row"], line["setting"]
    return Figure(value, line["sd"], *place, line["source"], line.get(CAVEAT) or "")


def check_figures(figures: Figures, headlines: Mapping[str, str]) -> None:
    """Check that figures can be compared with ours.

    Args:
        figures: of a published table.
        headlines: of the tasks of ours, by task.

    Raises:
        UserError: a figure has another unit than the metric that it belongs to, or a mean is over other tasks.
    """
    published = figures.published
    where = f"{published.figures}, table {published.table}"
    by_column = {figure.column: figure for figure in figures.by_place.values()}
    for task in published.tasks:
        for metric, column in published.columns(task, headlines[task]).items():
            if not _comparable(metric, by_column[column].unit):
                raise UserError(
                    f"{where}: column {column} is in '{by_column[column].unit}', which {metric} of the task '{task}' "
                    "is not; name another column or metric in published."
                )
    if not published.mean:
        return
    over = mean_tasks(published, headlines)
    plain = next((task for task in over if metric_of(headlines[task]).scale == "plain"), None)
    if plain is not None:
        raise UserError(f"{where}: {headlines[plain]} of the task '{plain}' is no fraction, so no mean is over it.")
    named = {column for task in over for column in published.columns(task, headlines[task]).values()}
    if lacking := sorted(by_column.keys() - named - {published.mean}):
        raise UserError(
            f"{where}: its column {published.mean} is a mean over {lacking[0]} too, which published.tasks lacks; name "
            "it for a task, or leave out mean."
        )


def mean_tasks(published: Published, tasks: Collection[str]) -> list[str]:
    """The tasks that the mean of a published table is over."""
    return list(published.tasks or tasks)


def scale_to(metric: str, unit: str) -> float:
    """The factor that brings a metric of ours into the unit of a published figure."""
    return {"fraction": 1.0 if unit == WHOLE else 100.0, "percent": 0.01 if unit == WHOLE else 1.0, "plain": 1.0}[
        metric_of(metric).scale
    ]


def _comparable(metric: str, unit: str) -> bool:
    """Whether a metric can be in a unit: a share of one of a hundred, and of the kind that the unit names."""
    kinds = next((kinds for word, kinds in NAMED.items() if word in unit), None)
    if kinds is not None and kind_of(metric) not in kinds:
        return False
    return unit.endswith("%") or unit == WHOLE if metric_of(metric).scale != "plain" else not unit.endswith("%")
