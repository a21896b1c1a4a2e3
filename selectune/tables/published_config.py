"""The part ``published`` of a table's config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selectune.tables.config_checks import check, fields_of
from selectune.tables.grid import Method, Task
from selectune.tables.published import UNTOUCHED, Published
from selectune.verdict.metric_kinds import REDUCTION


def read_named_figures(
    given: Any, where: str, tasks: Mapping[str, Task], methods: Mapping[str, Method]
) -> list[Published]:  # fmt: skip
    """The published tables that a table names, one or a list.

    Raises:
        UserError: one has an unknown or wrong setting, or names what the table does not have.
    """
    return [_published(one, where, tasks, methods) for one in (given if isinstance(given, list) else [given])]


def _published(given: Any, where: str, tasks: Mapping[str, Task], methods: Mapping[str, Method]) -> Published:
    values = fields_of(Published, given, where)
    for name in ("figures", "table"):
        check(
            isinstance(values.get(name), str), f"{where} has no {name}, or it is no text; name the CSV and its table."
        )
    made = Published(**values)
    check(isinstance(made.mean, str), f"{where}: mean must be the name of a column, not {made.mean!r}.")
    check(isinstance(made.untouched, str), f"{where}: untouched must be a setting, not {made.untouched!r}.")
    for kind, mapping, known in (("task", made.tasks, tasks), ("method", made.methods, [*methods, UNTOUCHED])):
        check(
            isinstance(mapping, Mapping) and (mapping or (kind == "task" and made.mean)),
            f"{where} has no {kind}s; say which figures belong to which.",
        )
        unknown = next((name for name in mapping if name not in known), None)
        check(unknown is None, f"{where} names the {kind} '{unknown}', but the table has {', '.join(known)}.")
    check(
        not made.untouched or UNTOUCHED in made.methods,
        f"{where} has the setting of the untouched model, and no row; name it in methods, as {UNTOUCHED}: ROW.",
    )
    same = [method for method, row in made.methods.items() if row == made.methods.get(UNTOUCHED)]
    check(
        len(same) < 2 or made.untouched,
        f"{where}: {' and '.join(same)} have the same figures; name the setting of the untouched model's in untouched.",
    )
    for method, row in made.methods.items():
        check(isinstance(row, str), f"{where}: method '{method}' must have the name of a row, not {row!r}.")
    for name, columns in made.tasks.items():
        _check_columns(columns, f"{where}: task '{name}'", tasks[name])
    _check_setting(made.setting, where, tasks)
    return made


def _check_columns(columns: Any, where: str, task: Task) -> None:
    """Check that a task has one column, or one for each of some of its metrics."""
    if isinstance(columns, str):
        return
    check(
        isinstance(columns, Mapping) and columns and all(isinstance(column, str) for column in columns.values()),
        f"{where} must have the name of a column, or names of columns by metric, not {columns!r}.",
    )
    shown = [task.metric, *task.more_metrics, REDUCTION]
    unknown = next((metric for metric in columns if metric not in shown), None)
    check(
        unknown is None,
        f"{where} has a column for the metric '{unknown}', but the table shows {', '.join(shown)}; name it in the "
        "task's more_metrics.",
    )


def _check_setting(setting: Any, where: str, tasks: Mapping[str, Task]) -> None:
    """Check that a setting is one of the published table, or one of each of some budgets."""
    if isinstance(setting, str):
        return
    check(
        isinstance(setting, Mapping) and setting and all(isinstance(one, str) for one in setting.values()),
        f"{where}: setting must be a setting of the published table, or settings by budget, not {setting!r}.",
    )
    budgets = {str(budget): None for task in tasks.values() for budget in task.budgets}
    unknown = next((budget for budget in setting if str(budget) not in budgets), None)
    check(
        unknown is None,
        f"{where}: setting names the budget {unknown}, which no task has; the budgets are {', '.join(budgets)}.",
    )
