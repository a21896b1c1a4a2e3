"""``selectune configs``: the configs that come with selectune, by the names that ``--config`` takes.

It imports nothing large, so it is not one of `selectune.verbs`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from typing import NoReturn

from selectune.common.errors import UserError
from selectune.common.shipped import config_file, listed_configs

DESCRIPTION = "List the configs that come with selectune, each with the first sentence of its comment."


def show_configs(args: list[str]) -> int:
    """Print the list, or one config. Returns the exit code: 0, or 2 for a mistake."""
    parser = _Parser(prog="selectune configs", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("--print", metavar="NAME", help="Print this one, to be copied and changed.")
    parser.add_argument("name", nargs="?", help=argparse.SUPPRESS)  # of a config that was to be shown
    try:
        given = parser.parse_args(args)
        if given.name is not None:
            config_file(given.name)
            raise UserError(f"The name of a config stands after --print: `selectune configs --print {given.name}`.")
        if given.print is None:
            print("\n".join(listed_configs(shutil.get_terminal_size((120, 24)).columns)))
        else:
            print(config_file(given.print).read_text(encoding="utf-8"), end="")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


class _Parser(argparse.ArgumentParser):
    """The parser, whose errors are one sentence; that of other verbs imports much for all that they take."""

    def error(self, message: str) -> NoReturn:
        """Raise a `UserError`."""
        from selectune.common.parser_errors import sentence_of

        raise UserError(sentence_of(message, ["print"], "configs"))
