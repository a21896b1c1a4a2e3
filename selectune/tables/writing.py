"""All files of a table, from the cells that are done."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from selectune.common.files import atomic_file
from selectune.tables.beside import Comparison, beside, compared, write_comparisons
from selectune.tables.formats import html, latex, markdown
from selectune.tables.grid import Cell, Table
from selectune.tables.page import page
from selectune.tables.plot import draw
from selectune.tables.published import Figures, mean_tasks
from selectune.tables.results import Result, read_result, write_csv
from selectune.tables.summary import Group, by_metric, summarise, write_summary, write_verdicts
from selectune.tables.task_mean import mean_over_tasks
from selectune.verdict.metric_kinds import REDUCTION


def write_table(table: Table, cells: list[Cell], output: Path) -> list[Result]:
    """Write all files of a table from the cells that are done; returns their results in the table's order."""
    names, methods = list(table.tasks), list(table.methods)

    def order(result: Result) -> tuple[int, ...]:
        cell = result.cell
        budgets = ["", *map(str, table.tasks[cell.task].budgets)]  # a method without one comes first
        budget = budgets.index(cell.budget) if cell.budget in budgets else 0
        return names.index(cell.task), methods.index(cell.method), budget, cell.seed

    done = [read_result(cell, output) for cell in cells if cell.done]
    results = sorted((result for result in done if not result.cell.keeps_models), key=order)
    write_csv(results, output / "table.csv")
    sound = [result for result in results if not result.no_headline]
    groups = summarise(sound)
    write_verdicts(groups, output / "verdicts.json")
    picture = draw(groups, output / "table.png")
    read = [(figures, tuple(mean_tasks(figures.published, table.tasks))) for figures in table.figures]
    over: list[tuple[str, ...]] = [()] * len(groups)  # of each group, the tasks that it is a mean over
    for tasks in dict.fromkeys(tasks for figures, tasks in read if figures.published.mean):
        means = mean_over_tasks(sound, tasks)
        groups, over = [*groups, *means], [*over, *[tasks] * len(means)]
    write_summary(groups, output / "summary.csv", table.protocol)
    found = [
        [_compared(group, figures, sound) for figures, theirs in read if tasks in ((), theirs)]
        for group, tasks in zip(groups, over)
    ]
    if table.published:
        every = [one for of_group in found for some in of_group for one in some]
        write_comparisons(every, output / "published.csv", table.protocol)
    under = [[block for some in of_group for block in beside(some)] for of_group in found]
    prepared = next((result for result in done if result.cell.keeps_models), None)
    rows = sum(not cell.keeps_models for cell in cells)
    blocks = page(groups, prepared, len(results), rows, table.budget, picture, under, table.protocol_told)
    for name, text in (
        ("table.md", markdown(blocks)), ("table.tex", latex(blocks)), ("table.html", html(blocks)),
    ):  # fmt: skip
        with atomic_file(output / name) as partial:
            partial.write_text(text)
    return results


def _compared(group: Group, figures: Figures, results: list[Result]) -> list[Comparison]:
    """The lines of a group that have figures of a published table, also by how many rows were left out."""
    found = compared(group, figures)
    if REDUCTION in figures.published.columns(group.task, group.metric):
        own = [result for result in results if result.cell.task == group.task and result.cell.selects]
        for one in by_metric(own, REDUCTION):
            if one.budget == group.budget:  # a size is nothing to compare with random rows
                lines = [replace(line, versus_random=None) for line in one.lines]
                found += compared(replace(group, lines=[], further=(replace(one, lines=lines),)), figures)
    return found
