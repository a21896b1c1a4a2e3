"""Whether the cells' configs are ones that ``fit`` takes, before hours are spent on the first of them."""

from __future__ import annotations

import contextlib
from argparse import ArgumentError
from collections.abc import Iterable
from textwrap import shorten
from typing import Any

from lightning.pytorch.cli import LightningArgumentParser

from selectune.cli import SelectuneCLI
from selectune.errors import UserError
from selectune.tables.grid import Cell

LONGEST = 1000  # characters of a parser's message


def check_configs(cells: Iterable[Cell]) -> None:
    """Parse each cell's config; one seed stands for the others.

    Raises:
        UserError: a setting is unknown, or of a wrong type.
    """
    parser = _fit_parser()
    seen = set()
    for cell in cells:
        if (cell.task, cell.method, cell.budget) in seen:
            continue
        seen.add((cell.task, cell.method, cell.budget))
        try:
            parser.parse_object(cell.config)
        except (ArgumentError, TypeError, ValueError) as error:
            told = " ".join(str(error).partition("Given value")[0].split())
            raise UserError(
                f"The config of {cell.name} is not one that fit takes; mend it. {shorten(told, LONGEST)}"
            ) from None


class _Built(Exception):  # noqa: N818  (no error: the parsers are all that was wanted)
    pass


class _Parsers(SelectuneCLI):
    """The command line's parsers, and nothing run."""

    parsers: Any = None

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Stop."""
        type(self).parsers = self
        raise _Built


def _fit_parser() -> Any:
    with contextlib.suppress(_Built):
        _Parsers()
    parser = _Parsers.parsers._parser("fit")
    parser.exit_on_error = False
    return parser
