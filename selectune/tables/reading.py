"""Reading and checking of a table's config, and of the configs of its cells, before any cell is run."""

from __future__ import annotations

import contextlib
import sys
from argparse import ArgumentError
from collections.abc import Callable, Collection, Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.cli import LightningArgumentParser

from selectune.common.errors import UserError
from selectune.common.parser_errors import sentence_of
from selectune.runs.command import NOT_IN_CONFIG, RunCLI
from selectune.tables.config_checks import check, check_list, fields_of
from selectune.tables.grid import NAME, NO_BUDGET, Cell, Method, Table, Task
from selectune.tables.layers import Config, read_config
from selectune.tables.protocol import Change, Layers, Protocol
from selectune.tables.published import UNTOUCHED
from selectune.tables.published_config import read_named_figures


def read_table(file: Path) -> Table:
    """Read a table's config.

    Raises:
        UserError: it is missing, or has an unknown or wrong setting.
    """
    given = fields_of(Table, read_config(file), str(file))
    tasks = {name: _task(one, f"{file}: task '{name}'") for name, one in _named(given, "tasks", file).items()}
    methods = {
        name: _method(one, f"{file}: method '{name}'", name, tasks)
        for name, one in _named(given, "methods", file).items()
    }
    budget = given.get("budget", "data.keep")
    check(
        isinstance(budget, str) and "." in budget,
        f"{file}: budget must be the dotted name of a setting, such as data.keep, not {budget!r}.",
    )
    for name, method in methods.items():
        _check_references(method, f"{file}: method '{name}'", name, tasks, methods)
        check(
            method.by != "cost" or not budget.startswith("warm_up."),
            f"{file}: method '{name}' matches the cost of '{method.match}', which is known of data that is "
            f"fine-tuned on alone, and the budget is {budget}; match it by rows or by tokens.",
        )
    for name, task in tasks.items():
        need = any(method.budgets != NO_BUDGET and name in (method.tasks or [name]) for method in methods.values())
        check(
            task.budgets or not need,
            f"{file}: task '{name}' has no budgets, but methods that need one; name some in budgets.",
        )
    published = given.get("published")
    given["published"] = (
        [] if published is None else read_named_figures(published, f"{file}: published", tasks, methods)
    )
    if "protocol" in given:
        raise UserError(f"{file} has no setting 'protocol'; it is the option --protocol.")
    if given.get("protocols") is not None:
        named = _named(given, "protocols", file)
        given["protocols"] = {
            name: _protocol(one, f"{file}: protocol '{name}'", tasks, methods) for name, one in named.items()
        }
    commands = given.get("made_by", {})
    check(
        isinstance(commands, dict) and all(isinstance(part, str) for pair in commands.items() for part in pair),
        f"{file}: made_by must be a mapping of folders to the commands that make them.",
    )
    if (prepare := given.get("prepare")) is not None:
        prepare = Layers(**fields_of(Layers, prepare, f"{file}: prepare"))
    _check_seeds(given.get("seeds"), str(file))
    return Table(**given | {"file": file, "tasks": tasks, "methods": methods, "prepare": prepare})


def _named(given: dict[str, Any], section: str, file: Path) -> dict[str, Any]:
    """The tasks or methods of a table by name."""
    named = given.get(section)
    if not isinstance(named, dict) or not named:
        raise UserError(f"{file} has no {section}; name at least one.")
    for name in named:
        check(
            isinstance(name, str) and NAME.fullmatch(name),
            f"{file}: '{name}' cannot be one of its {section}, as it names folders; use letters, digits, _ and . "
            "alone.",
        )
        check(
            section != "methods" or name != UNTOUCHED,
            f"{file}: the method '{UNTOUCHED}' has the name of the model before its training; name it otherwise.",
        )
    return named


def _protocol(given: Any, where: str, tasks: dict[str, Task], methods: dict[str, Method]) -> Protocol:
    values = fields_of(Protocol, given, where)
    check(isinstance(values.get("says"), str), f"{where} says nothing; tell in a sentence how it differs, in says.")
    check(isinstance(values.get("changes"), list) and values["changes"], f"{where} has no changes; list some.")
    return Protocol(values["says"], _changes(values["changes"], where, tasks, methods))


def _changes(given: list[Any], where: str, tasks: Collection[str], methods: Collection[str]) -> list[Change]:
    """Changes of some tasks and methods, whose names are all known."""
    changes = [Change(**fields_of(Change, one, f"{where}: changes")) for one in given]
    for kind, known in (("task", tasks), ("method", methods)):
        for change in changes:
            check_list(getattr(change, f"{kind}s") or [], f"{where}: {kind}s", str)
            unknown = next((name for name in getattr(change, f"{kind}s") or [] if name not in known), None)
            check(unknown is None, f"{where} names the {kind} '{unknown}', but the table has {', '.join(known)}.")
    return changes


def _task(given: Any, where: str) -> Task:
    task = Task(**fields_of(Task, given, where))
    check(task.config, f"{where} has no config; name the config files that it is made of.")
    check(isinstance(task.metric, str) and task.metric, f"{where} has no metric; name its headline, such as accuracy.")
    check_list(task.budgets, f"{where}: budgets", int, float)
    check_list(task.more_metrics, f"{where}: more_metrics", str)
    check(
        task.metric not in task.more_metrics,
        f"{where}: more_metrics has its metric {task.metric}, which is shown anyway; leave it out there.",
    )
    if task.seeds is not None:
        _check_seeds(task.seeds, where)
    return task


def _method(given: Any, where: str, name: str, tasks: Collection[str]) -> Method:
    values = fields_of(Method, given or {}, where)
    if "changes" in values:
        check(isinstance(values["changes"], list), f"{where}: changes must be a list, each with its tasks and set.")
        values["changes"] = _changes(values["changes"], where, tasks, [name])
    method = Method(**values)
    if method.budgets is not None and method.budgets != NO_BUDGET:
        check_list(method.budgets, f"{where}: budgets", int, float)
    if method.tasks is not None:
        check_list(method.tasks, f"{where}: tasks", str)
    check(
        method.match is None or isinstance(method.match, str),
        f"{where}: match must be the name of one method, not {method.match!r}.",
    )
    check(method.by in ("rows", "tokens", "cost"), f"{where}: by is {method.by!r}, but must be rows, tokens or cost.")
    check(
        method.match is not None or method.by == "rows",
        f"{where} says by, but matches nothing; name a method in match.",
    )
    return method


def _check_references(
    method: Method, where: str, name: str, tasks: dict[str, Task], methods: dict[str, Method]
) -> None:
    """Check that the tasks, the method and the budgets that a method names are those of the table."""
    for task in method.tasks or []:
        check(
            task in tasks, f"{where} names the task '{task}', but the table has {', '.join(tasks)}; correct the name."
        )
    if (match := method.match) is not None:
        check(match in methods, f"{where} matches '{match}', but the table has {', '.join(methods)}; correct the name.")
        check(
            methods[match].match is None and match != name,
            f"{where} matches '{match}', which matches another one itself; name that one.",
        )
    budgets = {repr(budget) for task in tasks.values() for budget in task.budgets}
    for budget in method.budgets if isinstance(method.budgets, list) else []:
        check(
            repr(budget) in budgets,
            f"{where} names the budget {budget}, which no task has; add it to a task's budgets.",
        )


def _check_seeds(given: Any, where: str) -> None:
    check_list(given, f"{where}: seeds", int)
    check(given, f"{where} has no seeds; name at least one.")


class _BuiltError(Exception):
    """Only the parsers are needed: nothing is to be run."""


class _Parsers(RunCLI):
    parsers: Any = None

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        type(self).parsers = self
        raise _BuiltError


def fit_parser() -> Any:
    """The parser of ``fit``, which raises instead of ending the process."""
    given = sys.argv
    sys.argv = [given[0], "fit"]  # the parser of a verb is built where it is asked for
    try:
        with contextlib.suppress(_BuiltError):
            _Parsers()
    finally:
        sys.argv = given
    parser = _Parsers.parsers._parser("fit")
    parser.exit_on_error = False
    return parser


def normaliser() -> Callable[[Any], Config]:
    """A function that parses fit's arguments, or a config, into a config with all defaults, as a run writes it.

    Parsing twice gives the same as once, so that configs can be compared.
    """
    parser = fit_parser()

    def normalise(given: Any) -> Config:
        try:
            parsed = parser.parse_args(given) if isinstance(given, list) else parser.parse_object(deepcopy(given))
        except (ArgumentError, TypeError, ValueError) as error:
            raise UserError(_told(error)) from None
        content = yaml.safe_load(parser.dump(parsed, skip_none=False))
        return {name: value for name, value in content.items() if name not in NOT_IN_CONFIG}

    return normalise


def check_configs(cells: Iterable[Cell]) -> None:
    """Parse each cell's config; the first seed stands for the others.

    Raises:
        UserError: a setting is unknown, or of a wrong type.
    """
    parser = fit_parser()
    first: dict[tuple[str, str, str], Cell] = {}
    for cell in cells:
        first.setdefault((cell.task, cell.method, cell.budget), cell)
    for cell in first.values():
        try:
            parser.parse_object(deepcopy(cell.config))  # which would change the lists inside
        except (ArgumentError, TypeError, ValueError) as error:
            raise UserError(f"The config of {cell.name} is not one that fit takes. {_told(error)}") from None


def _told(error: Exception) -> str:
    """The sentence for an error of the parser; what is a mistake beside it, as it is."""
    cause = error.__cause__ or error.__context__
    known = next((one for one in (error, cause) if isinstance(one, UserError)), None)
    return str(known) if known else sentence_of(str(error), [], "fit")
