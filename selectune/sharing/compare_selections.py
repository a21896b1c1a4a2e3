"""``python main.py compare_selections RUN RUN ...``: sizes, classes, bands and common rows of selections."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from selectune.common.errors import UserError
from selectune.common.parser_errors import VerbParser
from selectune.common.printable import printable
from selectune.report.selection_data import SelectionData
from selectune.selection.manifest import Selection
from selectune.sharing.chosen import selection_of

DESCRIPTION = "Compare selections of one pool: sizes, classes, bands of the signals, and the rows that they share."
DIGITS = 4


@dataclass(frozen=True)
class Measures:
    """What is compared of one selection.

    Args:
        name: of its run.
        selection: its rows.
        data: its signals, bands and classes; None where it has no scores.
    """

    name: str
    selection: Selection
    data: SelectionData | None

    def figures(self, all_of: Sequence[Measures]) -> dict[str, object]:
        """Its figures by name, in the order of the table; rows shared with each of the others among them."""
        manifest = self.selection.manifest
        found: dict[str, object] = {
            "selector": manifest.selector["class"].rpartition(".")[2],
            "rows": manifest.n_rows,
            "rows_share": round(manifest.n_rows / max(manifest.pool_rows, 1), DIGITS),
            "tokens": manifest.budget.get("tokens"),
            "tokens_share": round(manifest.budget.get("tokens", 0) / max(manifest.pool_tokens, 1), DIGITS),
        }
        if self.data is not None:
            classes = self.data.classes or {"names": [], "kept": []}
            for name, kept in zip(classes["names"], classes["kept"]):
                found[f"class {name}"] = round(kept / max(manifest.n_rows, 1), DIGITS)
            for name, (low, high) in self.data.intervals.items():
                found |= {f"{name} from": round(low, DIGITS), f"{name} to": round(high, DIGITS)}
        for other in all_of:
            shared = len(np.intersect1d(self.selection.rows, other.selection.rows, assume_unique=True))
            union = manifest.n_rows + other.selection.manifest.n_rows - shared
            found |= {f"rows shared with {other.name}": shared}
            found |= {f"Jaccard with {other.name}": round(shared / max(union, 1), DIGITS)}
        return found


def main(args: list[str]) -> int:
    """Print the comparison. Returns the exit code, 0.

    Raises:
        UserError: a run has no selection or a damaged one, or they are not of one pool.
    """
    parser = VerbParser("compare_selections", description=DESCRIPTION)
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", type=str, help="Folder that --output of a fit or select named."
    )
    parser.add_argument(
        "--to", choices=["table", "csv"], default="table", help="A figure a line, or a run a line of csv."
    )
    given = parser.parse_args(args)
    compared = compare_selections([Path(run) for run in given.runs])
    if given.to == "csv":
        columns = list(dict.fromkeys(name for figures in compared.values() for name in figures))
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(["run", *columns])
        writer.writerows([run, *(figures.get(name, "") for name in columns)] for run, figures in compared.items())
    else:
        _print(compared)
    return 0


def compare_selections(runs: Sequence[Path]) -> dict[str, dict[str, object]]:
    """Figures of each selection, by the name of its run; see `Measures`.

    Raises:
        UserError: there are fewer than two, one is damaged or named twice, or they are not of one pool.
    """
    if len(runs) < 2:
        raise UserError("compare_selections needs two runs or more; name another one.")
    if twice := [run for i, run in enumerate(runs) if run.resolve() in {other.resolve() for other in runs[:i]}]:
        raise UserError(f"{twice[0]} is named twice; name each run once.")
    short = [run.resolve().name for run in runs]
    names = short if len(set(short)) == len(short) else [str(run) for run in runs]
    measured = []
    for name, run in zip(names, runs):
        folder = selection_of(run)
        selection = Selection.read_files(folder)
        measured.append(Measures(name, selection, SelectionData.read(folder, vars(selection.manifest))))
    first = measured[0].selection.manifest
    for one in measured[1:]:
        other = one.selection.manifest
        if other.pool_fingerprint != first.pool_fingerprint:
            raise UserError(
                f"{measured[0].name} and {one.name} are selections of two pools, {first.pool_rows:,} rows of "
                f"{first.source} and {other.pool_rows:,} rows of {other.source}; name selections of the same rows."
            )
    return {one.name: one.figures([other for other in measured if other is not one]) for one in measured}


def _print(compared: dict[str, dict[str, object]]) -> None:
    """A table with a column a run."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for run in compared:
        table.add_column(printable(run), justify="right")
    for name in dict.fromkeys(name for figures in compared.values() for name in figures):
        shown = (figures.get(name) for figures in compared.values())
        cells = ("" if value is None else f"{value:,}" if isinstance(value, int) else str(value) for value in shown)
        table.add_row(printable(name), *cells)
    Console().print(table, markup=False)
