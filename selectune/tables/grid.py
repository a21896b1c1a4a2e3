"""Which cells a table has, and the config of each.

table = read_table(Path("configs/tables/small/quick.yaml"))
for cell in table.cells(Path("tables/quick")):
    print(cell.name, cell.config)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selectune.common.errors import UserError
from selectune.common.run_files import RunFiles
from selectune.tables.layers import Config, laid_over, read_config, setting, with_settings

NAME = re.compile(r"[A-Za-z0-9_.]+")
NO_BUDGET = "none"
BUDGETS = ("keep", "keep_rows", "keep_tokens")
PREPARED = "prepare"


@dataclass(frozen=True)
class Cell:
    """One run of a table.

    Args:
        task: by name.
        method: by name.
        budget: as written in the table; ``none`` for a method that has none.
        seed: of the run.
        folder: its run directory.
        config: what ``fit`` is given.
        metric: the task's headline, such as ``accuracy``.
        needs: folders of the runs that must be there first.
        match: method whose run of the same task, budget and seed these are random rows for; empty for none.
        by: what is then the same, as in `Method`.
    """

    task: str
    method: str
    budget: str
    seed: int
    folder: Path
    config: Config = field(repr=False)
    metric: str = ""
    needs: tuple[Path, ...] = ()
    match: str = ""
    by: str = ""

    @property
    def name(self) -> str:
        """As its folder is called."""
        return self.folder.name

    @property
    def done(self) -> bool:
        """Whether its run went to the end."""
        return RunFiles(self.folder).finished

    @property
    def keeps_models(self) -> bool:
        """Whether other cells start from its model."""
        return self.folder.name == PREPARED


@dataclass(frozen=True)
class Layers:
    """Configs and settings to lay over what is there.

    Args:
        config: config files, in their order.
        set: settings by dotted or nested name, over the files.
    """

    config: list[str] = field(default_factory=list)
    set: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Task(Layers):
    """What is learned.

    Args:
        metric: the headline, such as ``accuracy`` for ``test/accuracy``.
        budgets: that the methods with a budget are run at.
        seeds: of its runs; default the table's.
    """

    metric: str = ""
    budgets: list[Any] = field(default_factory=list)
    seeds: list[int] | None = None


@dataclass(frozen=True)
class Method(Layers):
    """How its rows are chosen.

    Args:
        budgets: those of a task's at which it runs, default all; ``none`` if it has no budget.
        tasks: that it is run on; default all.
        match: a method whose run of the same task, budget and seed gives the size of random rows.
        by: what is then the same: ``rows``, ``tokens`` or ``cost``.
    """

    budgets: list[Any] | str | None = None
    tasks: list[str] | None = None
    match: str | None = None
    by: str = "rows"


@dataclass(frozen=True)
class Table:
    """A grid of tasks, methods, budgets and seeds; `selectune.tables.reading.read_table` reads it.

    Args:
        file: that it was read from.
        tasks: by name, in the table's order.
        methods: by name, in the table's order.
        seeds: of the runs.
        budget: the setting that a budget is the value of.
        every: laid over every task.
        prepare: a run that is made once, and whose model all cells start from.
    """

    file: Path
    tasks: dict[str, Task]
    methods: dict[str, Method]
    seeds: list[int]
    budget: str = "data.keep"
    every: Layers = field(default_factory=Layers)
    prepare: Layers | None = None

    @property
    def of_warm_up(self) -> bool:
        """Whether the rows that methods choose are those of a warm-up."""
        return self.budget.startswith("warm_up.")

    def cells(self, output: Path) -> list[Cell]:
        """All cells in an order in which each comes after those that it needs.

        Args:
            output: folder of the table.

        Raises:
            UserError: a config file is missing, or a method matches one that is not run where it is.
        """
        first: list[Cell] = []
        if self.prepare is not None:
            config = self._lay({}, self.prepare)
            seed = setting(config, "seed_everything") or 0
            first.append(Cell(PREPARED, PREPARED, NO_BUDGET, seed, output / PREPARED, config))
        places = self._places()
        for task, method, budget in places:
            match = self.methods[method].match
            if match is not None and (task, match, budget) not in places:
                raise UserError(
                    f"{self.file}: method '{method}' matches '{match}', which is not run on {task} at budget {budget}; "
                    f"give '{match}' that task and budget, or '{method}' other ones."
                )
        made = [
            self._cell(output, task, method, budget, seed)
            for task, method, budget in places
            for seed in self.tasks[task].seeds or self.seeds
        ]
        return first + [cell for cell in made if not _matches(cell)] + [cell for cell in made if _matches(cell)]

    def _places(self) -> dict[tuple[str, str, str], Any]:
        """Task, method and budget of each group of cells that differ in their seed alone, and the budget's value."""
        found: dict[tuple[str, str, str], Any] = {}
        for task_name, task in self.tasks.items():
            for name, method in self.methods.items():
                if method.tasks is not None and task_name not in method.tasks:
                    continue
                if method.budgets == NO_BUDGET:
                    found[task_name, name, NO_BUDGET] = None
                    continue
                for budget in task.budgets:
                    if method.budgets is None or budget in method.budgets:
                        found[task_name, name, str(budget)] = budget
        return found

    def _cell(self, output: Path, task_name: str, method_name: str, budget: str, seed: int) -> Cell:
        task, method = self.tasks[task_name], self.methods[method_name]
        value = self._places()[task_name, method_name, budget]
        config = self._lay({}, Layers(task.config))
        for layers in (self.every, Layers([], task.set), Layers(method.config, method.set)):
            config = self._lay(config, layers)
        needs = [output / PREPARED] if self.prepare is not None else []
        chooses, name = self.budget.rpartition(".")[::2]
        changes: dict[str, Any] = {"seed_everything": seed}
        if setting(config, chooses) is None and value is not None:
            raise UserError(
                f"{self.file}: method '{method_name}' runs on {task_name} at budget {budget}, but its config has no "
                f"{chooses}; give it budgets: none, or that part."
            )
        if setting(config, chooses) is not None:
            changes |= {f"{chooses}.{other}": None for other in BUDGETS if setting(config, f"{chooses}.{other}")}
            if method.match is not None:
                needs.append(output / "cells" / _cell_name(task_name, method.match, budget, seed))
                run = RunFiles(needs[-1]).warm_up.path if self.of_warm_up else needs[-1]
                arguments = {"match": str(run), "by": method.by}
                changes[f"{chooses}.selector"] = {"class_path": "Random", "init_args": arguments}
            elif value is not None:
                changes[f"{chooses}.{name}"] = value
        if self.prepare is not None:
            changes["model.checkpoint"] = str(RunFiles(output / PREPARED).export)
        folder = output / "cells" / _cell_name(task_name, method_name, budget, seed)
        config = with_settings(config, changes)
        match, by = (method.match, method.by) if method.match is not None else ("", "")
        return Cell(task_name, method_name, budget, seed, folder, config, task.metric, tuple(needs), match, by)

    def _lay(self, config: Config, layers: Layers) -> Config:
        for name in layers.config:
            config = laid_over(config, read_config(self._find(name)))
        return with_settings(config, layers.set)

    def _find(self, name: str) -> Path:
        """A config file, looked for in the working directory and in the folders above the table's own."""
        roots: Sequence[Path] = (Path.cwd(), *self.file.resolve().parents)
        for root in roots:
            if (root / name).is_file():
                return root / name
        raise UserError(f"{self.file} names the config {name}, which is not there; mend the path.")


def _cell_name(task: str, method: str, budget: str, seed: int) -> str:
    return f"{task}-{method}-{budget}-{seed}"


def _matches(cell: Cell) -> bool:
    return any(folder.name != PREPARED for folder in cell.needs)
