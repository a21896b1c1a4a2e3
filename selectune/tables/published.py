"""Published figures, to be put beside those of a table."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from selectune.common.errors import UserError

COLUMNS = ("paper", "table", "setting", "row", "column", "value", "sd", "unit", "source")


@dataclass(frozen=True)
class Published:
    """Where the published figures of a table are, and which of them belongs to which line.

    Args:
        figures: a CSV with the columns paper, table, setting, row, column, value, sd, unit and source.
        table: of the paper.
        tasks: columns of the published table, by task of ours.
        methods: rows of the published table, by method of ours.
        setting: of the published table, where it has several.
    """

    figures: str
    table: str
    tasks: Mapping[str, str] = field(default_factory=dict)
    methods: Mapping[str, str] = field(default_factory=dict)
    setting: str = ""


class Figure(NamedTuple):
    """A published figure: value and standard deviation as printed, its unit and its source."""

    value: float
    sd: str
    unit: str
    setting: str
    source: str


Figures = dict[tuple[str, str], Figure]  # by column and row of the published table


def read_published(published: Published, file: Path) -> Figures:
    """The figures of a published table, by its column and row.

    Raises:
        UserError: the file is missing or lacks a column, or has no such table, setting, column or row.
    """
    try:
        with file.open(newline="", encoding="utf-8") as handle:
            lines = list(csv.DictReader(handle))
    except OSError as error:
        raise UserError(f"The published figures {file} cannot be read ({error.strerror}); correct the path.") from None
    if not lines or tuple(lines[0]) != COLUMNS:
        raise UserError(f"{file} is no file of published figures; its columns must be {', '.join(COLUMNS)}.")
    mine = [line for line in lines if line["table"] == published.table]
    if not mine:
        tables = ", ".join(sorted({line["table"] for line in lines}))
        raise UserError(f"{file} has no table {published.table}; it has {tables}.")
    settings = sorted({line["setting"] for line in mine})
    if published.setting not in settings and (published.setting or len(settings) > 1):
        raise UserError(
            f"Table {published.table} of {file} has no setting '{published.setting}'; name one of: "
            f"{'; '.join(settings)}."
        )
    mine = [line for line in mine if not published.setting or line["setting"] == published.setting]
    for kind, names in (("column", published.tasks), ("row", published.methods)):
        known = {line[kind] for line in mine}
        if unknown := sorted(set(names.values()) - known):
            raise UserError(
                f"Table {published.table} of {file} has no {kind} {unknown[0]}; it has {', '.join(sorted(known))}."
            )
    return {
        (line["column"], line["row"]): Figure(
            float(line["value"]), line["sd"], line["unit"], line["setting"], line["source"]
        )
        for line in mine
    }
