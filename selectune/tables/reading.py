"""A table's config, checked: whatever it says wrong is told in a sentence before any cell is run."""

from __future__ import annotations

import contextlib
from argparse import ArgumentError
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from textwrap import shorten
from typing import Any

from lightning.pytorch.cli import LightningArgumentParser

from selectune.common.errors import UserError
from selectune.runs.command import RunCLI
from selectune.tables.grid import NAME, NO_BUDGET, Cell, Layers, Method, Table, Task
from selectune.tables.layers import read_config


def read_table(file: Path) -> Table:
    """Read a table's config.

    Raises:
        UserError: it is missing, or says something that a table does not know.
    """
    given = _known(Table, read_config(file), str(file))
    tasks = {name: _task(one, f"{file}: task '{name}'") for name, one in _named(given, "tasks", file).items()}
    methods = {name: _method(one, f"{file}: method '{name}'") for name, one in _named(given, "methods", file).items()}
    budgets = {repr(budget) for task in tasks.values() for budget in task.budgets}
    for name, method in methods.items():
        where = f"{file}: method '{name}'"
        _all_in(method.tasks or [], tasks, f"{where} names the task", "the table has")
        if method.match is not None:
            _all_in([method.match], methods, f"{where} matches", "the table has")
            if methods[method.match].match is not None or method.match == name:
                raise UserError(f"{where} matches '{method.match}', which matches another one itself; name that one.")
        if isinstance(method.budgets, list):
            for budget in method.budgets:
                if repr(budget) not in budgets:
                    raise UserError(
                        f"{where} names the budget {budget}, which no task has; add it to a task's budgets."
                    )
    for name, task in tasks.items():
        if not task.budgets and any(m.budgets != NO_BUDGET and name in (m.tasks or [name]) for m in methods.values()):
            raise UserError(f"{file}: task '{name}' has no budgets, but methods that need one; name some in budgets.")
    budget = given.get("budget", "data.keep")
    if not isinstance(budget, str) or "." not in budget:
        raise UserError(f"{file}: budget must be the dotted name of a setting, such as data.keep, not {budget!r}.")
    for name, method in methods.items():
        if method.by == "cost" and budget.startswith("warm_up."):
            raise UserError(
                f"{file}: method '{name}' matches the cost of '{method.match}', which is known of data that is "
                f"fine-tuned on alone, and the budget is {budget}; match it by rows or by tokens."
            )
    prepare = given.get("prepare")
    return Table(
        file,
        tasks,
        methods,
        _seeds(given.get("seeds"), str(file)),
        budget,
        Layers(**_layers({name: given[name] for name in ("config", "set") if name in given}, str(file))),
        None if prepare is None else Layers(**_layers(_known(Layers, prepare, f"{file}: prepare"), f"{file}: prepare")),
    )


def _named(given: dict[str, Any], section: str, file: Path) -> dict[str, Any]:
    there = given.get(section)
    if not isinstance(there, dict) or not there:
        raise UserError(f"{file} has no {section}; name at least one.")
    for name in there:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise UserError(
                f"{file}: '{name}' cannot be one of its {section}, as it names folders; use letters, digits, _ and . "
                "alone."
            )
    return there


def _task(given: Any, where: str) -> Task:
    task = Task(**_layers(_known(Task, given, where), where))
    if not task.config:
        raise UserError(f"{where} has no config; name the config files that it is made of.")
    if not isinstance(task.metric, str) or not task.metric:
        raise UserError(f"{where} has no metric; name its headline, such as accuracy.")
    _check_list(task.budgets, f"{where}: budgets", (int, float))
    if task.seeds is not None:
        _seeds(task.seeds, where)
    return task


def _method(given: Any, where: str) -> Method:
    method = Method(**_layers(_known(Method, given or {}, where), where))
    if method.budgets is not None and method.budgets != NO_BUDGET:
        _check_list(method.budgets, f"{where}: budgets", (int, float))
    if method.tasks is not None:
        _check_list(method.tasks, f"{where}: tasks", (str,))
    if method.match is not None and not isinstance(method.match, str):
        raise UserError(f"{where}: match must be the name of one method, not {method.match!r}.")
    if method.by not in ("rows", "tokens", "cost"):
        raise UserError(f"{where}: by is {method.by!r}, but must be rows, tokens or cost.")
    if method.match is None and method.by != "rows":
        raise UserError(f"{where} says by, but matches nothing; name a method in match.")
    return method


def _layers(given: dict[str, Any], where: str) -> dict[str, Any]:
    """The same, with `config` as a list."""
    if isinstance(given.get("config"), str):
        given["config"] = [given["config"]]
    _check_list(given.get("config", []), f"{where}: config", (str,))
    if not isinstance(given.get("set", {}), dict):
        raise UserError(f"{where}: set must be a mapping of settings to values.")
    return given


def _seeds(given: Any, where: str) -> list[int]:
    _check_list(given, f"{where}: seeds", (int,))
    if not given:
        raise UserError(f"{where} has no seeds; name at least one.")
    return list(given)


def _check_list(given: Any, where: str, kinds: tuple[type, ...]) -> None:
    if not isinstance(given, list) or any(isinstance(one, bool) or not isinstance(one, kinds) for one in given):
        kind = {str: "names", int: "whole numbers"}.get(kinds[0], "numbers") if len(kinds) == 1 else "numbers"
        raise UserError(f"{where} must be a list of {kind}.")
    if len(set(given)) < len(given):
        raise UserError(f"{where} names something twice.")


def _all_in(names: list[str], there: dict[str, Any], what: str, has: str) -> None:
    for name in names:
        if name not in there:
            raise UserError(f"{what} '{name}', but {has} {', '.join(there)}; mend the name.")


def _known(cls: type, given: Any, where: str) -> dict[str, Any]:
    """A mapping whose names are all fields of a class."""
    if not isinstance(given, Mapping):
        raise UserError(f"{where} must be a mapping of names to values.")
    names = [one.name for one in fields(cls) if one.name not in ("file", "every")]
    names += ["config", "set"] if cls is Table else []
    for name in given:
        if name not in names:
            raise UserError(f"{where} has no setting '{name}'; it may have {', '.join(names)}.")
    return dict(given)


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


class _Parsers(RunCLI):
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
