"""``python main.py export_selection RUN --to KIND --output FOLDER``: the kept rows, for other programs, with a card."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from selectune.common.errors import UserError
from selectune.common.files import atomic_folder, check_folder
from selectune.common.parser_errors import VerbParser
from selectune.data.row_files import write_rows
from selectune.sharing.cards import CARD, dataset_card
from selectune.sharing.chosen import PLACES, Chosen

if TYPE_CHECKING:
    from datasets import Dataset

DESCRIPTION = "Write the rows that a run kept, with text, label and score, into a folder with a data card."


def _as_files(kind: str) -> Callable[[Dataset, Path], object]:
    return lambda rows, folder: write_rows(folder / f"train.{kind}", rows.data.table)


def _ids(rows: Dataset, folder: Path) -> object:
    places = [name for name in PLACES if name in rows.column_names and name != "score"]
    return write_rows(folder / "row_ids.csv", rows.select_columns(places).data.table)


WRITERS: dict[str, Callable[[Dataset, Path], object]] = {
    **{kind: _as_files(kind) for kind in ("jsonl", "parquet", "csv")},
    "hf": lambda rows, folder: rows.save_to_disk(str(folder)),
    "ids": _ids,
}


def main(args: list[str]) -> int:
    """Write the folder, and print its path. Returns the exit code, 0.

    Raises:
        UserError: the run has no selection, its data cannot be read, or the folder cannot be written.
    """
    parser = VerbParser("export_selection", description=DESCRIPTION)
    parser.add_argument("run", metavar="RUN", type=str, help="Folder that --output of a fit or select named.")
    parser.add_argument(
        "--to", required=True, choices=list(WRITERS),
        help="jsonl, parquet and csv: a file train.<kind>; hf: what datasets.load_from_disk opens; ids: row_ids.csv.",
    )  # fmt: skip
    parser.add_argument(
        "--output", type=str, required=True, metavar="FOLDER", help="A new folder, for the rows and README.md."
    )
    given = parser.parse_args(args)
    check_folder(os.path.expanduser(given.output), "--output")
    folder = Path(given.output).expanduser().resolve()
    if folder.is_dir() and any(folder.iterdir()):
        message = f"--output {given.output} holds files already; name a new folder."
        raise UserError(message, option="--output", path=folder)
    print(export_selection(Chosen.read(Path(given.run)), given.to, folder))
    return 0


def export_selection(chosen: Chosen, kind: str, folder: Path) -> Path:
    """Write the kept rows and their card, all or nothing; returns the folder.

    Args:
        chosen: the selection.
        kind: one of `WRITERS`.
        folder: new, or empty.

    Raises:
        UserError: csv cannot hold a column of the rows, or one is called as one of ours.
    """
    from datasets import disable_progress_bars

    disable_progress_bars()
    rows = chosen.rows()
    nested = [
        name for name, feature in rows.features.items() if not hasattr(feature, "dtype") or feature.dtype == "dict"
    ]
    if kind == "csv" and nested:
        raise UserError(f"csv cannot hold the column '{nested[0]}', which has lists or records; use --to jsonl.")
    # an empty folder stays the one it is, as a shell may be in it
    whole = folder / "selection" if folder.is_dir() else folder
    with atomic_folder(whole) as partial:
        WRITERS[kind](rows, partial)
        (partial / CARD).write_text(dataset_card(chosen, rows.column_names, kind), encoding="utf-8")
    if whole != folder:
        for file in whole.iterdir():
            file.rename(folder / file.name)
        whole.rmdir()
    return folder
