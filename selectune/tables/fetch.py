"""``python main.py fetch --config C``: the data sets and models that configs need, listed, checked and downloaded."""

from __future__ import annotations

from pathlib import Path

from selectune.common.errors import UserError
from selectune.common.files import check_folder
from selectune.common.parser_errors import FirstParser
from selectune.runs.fetch import Makers, fetch
from selectune.tables.layers import Config, read_config
from selectune.tables.reading import normaliser, read_table

TABLE = Path("the table")  # its folder, which is not known
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
    configs, makers = _configs(given.config, rest, given.protocol)
    return 0 if fetch(configs, given.list, copy_to, makers) else 1


def _configs(files: list[str], rest: list[str], protocol: str) -> tuple[list[Config], Makers]:
    """The configs of fits that files stand for, with all defaults: of a table those of cells; and what makes data."""
    tables = [file for file in files if {"tasks", "methods"} <= read_config(Path(file)).keys()]
    if tables and (len(files) > 1 or rest):
        raise UserError(
            f"{tables[0]} is a table, which takes no other configs or options of fit beside it, only --protocol; leave "
            "them out."
        )
    normalise = normaliser()
    if tables:
        table = read_table(Path(tables[0]))
        cells = (table.under(protocol) if protocol else table).cells(TABLE)
        of_methods = {(cell.task, cell.method): cell for cell in cells if not cell.match}  # whatever budget and seed
        return [normalise(cell.config) for cell in of_methods.values()], Makers(TABLE, table.made_by)
    if protocol:
        raise UserError("--protocol is of a table, and none of the configs is one; leave it out.", option="--protocol")
    return [normalise([*(word for file in files for word in ("--config", file)), *rest])], Makers()


def _parser() -> FirstParser:
    parser = FirstParser(
        "fetch", description=DESCRIPTION, epilog="Every other option is one of fit, and none of a table."
    )
    parser.add_argument(
        "--config", action="append", required=True, help="Of a fit, several laid over another, or of a table."
    )
    parser.add_argument("--protocol", default="", help="Of a table: what it needs when it is run that way.")
    parser.add_argument("--list", action="store_true", help="Download nothing; exit with 1 where something is missing.")
    parser.add_argument(
        "--copy_to", metavar="FOLDER", default=None,
        help="Copy everything into FOLDER/data and FOLDER/models, for a machine without a network.",
    )  # fmt: skip
    return parser
