"""``python main.py fetch --config C``: the data sets and models that configs need, listed, checked and downloaded."""

from __future__ import annotations

from pathlib import Path

from selectune.common.errors import UserError
from selectune.common.files import check_folder
from selectune.common.parser_errors import FirstParser
from selectune.runs.fetch import fetch
from selectune.tables.layers import Config, read_config
from selectune.tables.reading import normaliser, read_table

DESCRIPTION = "List what configs need, check what is there, and download the rest."


def main(args: list[str]) -> int:
    """Run ``fetch``. Returns the exit code: 0, or 1 where something is missing that was not to be downloaded.

    Raises:
        UserError: a config is wrong, something cannot be had or is damaged, or the disk has no room.
    """
    given, rest = _parser().parse_known_args(args)
    if given.copy_to:
        check_folder(given.copy_to, "--copy_to", UserError)
    copy_to = Path(given.copy_to) if given.copy_to else None
    return 0 if fetch(_configs(given.config, rest), given.list, copy_to) else 1


def _configs(files: list[str], rest: list[str]) -> list[Config]:
    """The configs of fits that files stand for, with all defaults: of a table those of its cells."""
    tables = [file for file in files if {"tasks", "methods"} <= read_config(Path(file)).keys()]
    if tables and (len(files) > 1 or rest):
        raise UserError(f"{tables[0]} is a table, which takes no other configs or options beside it; leave them out.")
    normalise = normaliser()
    if tables:
        cells = read_table(Path(tables[0])).cells(Path("table"))
        return [normalise(cell.config) for cell in cells if not cell.match]
    return [normalise([*(word for file in files for word in ("--config", file)), *rest])]


def _parser() -> FirstParser:
    parser = FirstParser("fetch", description=DESCRIPTION, epilog="Every other option is one of fit.")
    parser.add_argument(
        "--config", action="append", required=True, help="Of a fit, several laid over another, or of a table."
    )
    parser.add_argument("--list", action="store_true", help="Download nothing; exit with 1 where something is missing.")
    parser.add_argument(
        "--copy_to", metavar="FOLDER", default=None,
        help="Copy everything into FOLDER/data and FOLDER/models, for a machine without a network.",
    )  # fmt: skip
    return parser
