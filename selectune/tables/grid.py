"""The cells of a table, and the config of each.

table = read_table(Path("configs/tables/small/quick.yaml"))
for cell in table.cells(Path("tables/quick")):
    print(cell.name, cell.config)
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from selectune.common.errors import UserError
from selectune.common.run_files import RunFiles
from selectune.common.shipped import find_shipped
from selectune.tables.layers import Config, laid_over, read_config, setting, with_settings
from selectune.tables.protocol import Change, Layers, Protocol
from selectune.tables.published import Figures, Published, check_figures, read_published

NAME = re.compile(r"[A-Za-z0-9_.]+")
NO_BUDGET = "none"
BUDGETS = ("keep", "keep_rows", "keep_tokens")
PREPARED = "prepare"
RANDOM = "random"  # the method that all others are compared with
PLACE = ("task", "method", "budget", "seed")


@dataclass(frozen=True)
class Cell:
    """One run of a table.

    Args:
        task: by name.
        method: by name.
        budget: as written in the table; ``none`` for a method that has none.
        seed: of the run.
        folder: its run directory.
        config: of its ``fit``.
        metric: the task's headline, such as ``accuracy``.
        needs: folders of the runs that must be done first, or of their warm-ups alone.
        match: method whose run of the same task, budget and seed these are random rows for; empty for none.
        by: what is then the same, as in `Method`.
        shown: print its output here instead of into ``log.txt``.
        selects_in: dotted name of the data that methods select rows of.
        further: metrics that are shown beside the headline.
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
    shown: bool = False
    selects_in: str = "data"
    further: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of its folder."""
        return self.folder.name

    @property
    def place(self) -> dict[str, Any]:
        """Its place in the grid: task, method, budget and seed."""
        return {name: getattr(self, name) for name in PLACE}

    @property
    def done(self) -> bool:
        """Whether its run is finished."""
        return RunFiles(self.folder).finished

    @property
    def selects(self) -> bool:
        """Whether it trains on selected rows of the data that methods select rows of."""
        return any(setting(self.config, f"{self.selects_in}.{name}") is not None for name in ("selector", "selection"))

    @property
    def whole(self) -> bool:
        """Whether it trains on all rows of that data; a run without a warm-up does not train on its rows at all."""
        return setting(self.config, self.selects_in) is not None and not self.selects

    @property
    def length(self) -> tuple[Any, ...]:
        """Epochs and steps that it trains for, in the warm-up too."""
        names = ("max_epochs", "max_steps")
        return tuple(setting(self.config, f"{part}.{name}") for part in ("trainer", "warm_up") for name in names)

    @property
    def keeps_models(self) -> bool:
        """Whether other cells start from its model."""
        return self.name == PREPARED


@dataclass(frozen=True)
class Task(Layers):
    """A task of a table.

    Args:
        metric: the headline, such as ``accuracy`` for ``test/accuracy``.
        budgets: at which the methods with a budget are run.
        seeds: of its runs; default the table's.
        more_metrics: that are shown beside the headline.
    """

    metric: str = ""
    budgets: list[Any] = field(default_factory=list)
    seeds: list[int] | None = None
    more_metrics: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Method(Layers):
    """A method of selecting rows.

    Args:
        budgets: those of a task's at which it runs, default all; ``none`` if it has no budget.
        tasks: that it is run on; default all.
        match: a method whose run of the same task, budget and seed gives the size of random rows.
        by: what is then the same: ``rows``, ``tokens`` or ``cost``.
        changes: of some tasks alone, laid over its own.
    """

    budgets: list[Any] | str | None = None
    tasks: list[str] | None = None
    match: str | None = None
    by: str = "rows"
    changes: list[Change] = field(default_factory=list)


@dataclass(frozen=True)
class Table(Layers):
    """A grid of tasks, methods, budgets and seeds; `selectune.tables.reading.read_table` reads it.

    Its own layers are laid over every task.

    Args:
        file: that it was read from.
        tasks: by name, in the table's order.
        methods: by name, in the table's order.
        seeds: of the runs.
        budget: the setting that a budget is the value of.
        prepare: a run that is made once, and whose model all cells start from.
        published: figures of papers to put beside the table's own.
        protocols: other ways to run it, by name.
        protocol: the one that is chosen; empty for none.
        made_by: the commands that make what no hub has, by the folder that they make.
    """

    file: Path = Path()
    tasks: dict[str, Task] = field(default_factory=dict)
    methods: dict[str, Method] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=list)
    budget: str = "data.keep"
    prepare: Layers | None = None
    published: list[Published] = field(default_factory=list)
    protocols: dict[str, Protocol] = field(default_factory=dict)
    protocol: str = ""
    made_by: dict[str, str] = field(default_factory=dict)

    def under(self, protocol: str) -> Table:
        """This table under one of its protocols.

        Raises:
            UserError: it has none of that name.
        """
        if protocol not in self.protocols:
            known = ", ".join(self.protocols) or "none"
            raise UserError(
                f"{self.file} has no protocol {protocol}; it has {known}. Correct --protocol.", option="--protocol"
            )
        return replace(self, protocol=protocol)

    @property
    def protocol_told(self) -> str:
        """A sentence on its protocol, or on those that it could have; empty where it has none."""
        if self.protocol:
            return f"Protocol `{self.protocol}`: {self.protocols[self.protocol].says}"
        others = [f"`--protocol {name}` runs it another way: {one.says}" for name, one in self.protocols.items()]
        return "\n\n".join(others)

    @property
    def figures(self) -> list[Figures]:
        """The published figures, one entry a published table that is named.

        Raises:
            UserError: they cannot be read, lack what the table names, or are of something else.
        """
        found = [read_published(one, self._find(one.figures)) for one in self.published]
        for figures in found:
            check_figures(figures, {name: task.metric for name, task in self.tasks.items()})
        return found

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
        values = self._budgets()
        for task, method, budget in values:
            match = self.methods[method].match
            if match is not None and (task, match, budget) not in values:
                raise UserError(
                    f"{self.file}: method '{method}' matches '{match}', which is not run on {task} at budget {budget}; "
                    f"give '{match}' that task and budget, or '{method}' other ones."
                )
        cells = [
            self._cell(output, task, method, budget, value, seed)
            for (task, method, budget), value in values.items()
            for seed in self.tasks[task].seeds or self.seeds
        ]
        return first + sorted(cells, key=lambda cell: any(folder.name != PREPARED for folder in cell.needs))

    def _budgets(self) -> dict[tuple[str, str, str], Any]:
        """The value of a budget by task, method and name of the budget; None for a method without one."""
        values: dict[tuple[str, str, str], Any] = {}
        for task_name, task in self.tasks.items():
            for name, method in self.methods.items():
                if method.tasks is not None and task_name not in method.tasks:
                    continue
                if method.budgets == NO_BUDGET:
                    values[task_name, name, NO_BUDGET] = None
                    continue
                for budget in task.budgets:
                    if method.budgets is None or budget in method.budgets:
                        values[task_name, name, str(budget)] = budget
        return values

    def _cell(self, output: Path, task_name: str, method_name: str, budget: str, value: Any, seed: int) -> Cell:
        task, method = self.tasks[task_name], self.methods[method_name]
        config: Config = {}
        changes = [*method.changes, *(self.protocols[self.protocol].changes if self.protocol else [])]
        of_method = [method, *(change for change in changes if change.of(task_name, method_name))]
        for layers in (Layers(task.config), self, Layers([], task.set), *of_method):
            config = self._lay(config, layers)
        needs = [output / PREPARED] if self.prepare is not None else []
        selecting, name = self.budget.rpartition(".")[::2]
        settings: dict[str, Any] = {"seed_everything": seed}
        if setting(config, selecting) is not None:
            # a budget that a method without one sets by itself stays
            own = [with_settings({}, layers.set) for layers in of_method] if budget == NO_BUDGET else []
            for other in [f"{selecting}.{one}" for one in BUDGETS]:
                if setting(config, other) and not any(setting(given, other) for given in own):
                    settings[other] = None
            if method.match is not None:
                needs.append(output / "cells" / f"{task_name}-{method.match}-{budget}-{seed}")
                run = RunFiles(needs[-1]).warm_up.path if self.budget.startswith("warm_up.") else needs[-1]
                arguments = {"match": str(run), "by": method.by}
                settings[f"{selecting}.selector"] = {"class_path": "Random", "init_args": arguments}
            elif value is not None:
                settings[f"{selecting}.{name}"] = value
        elif value is not None:
            raise UserError(
                f"{self.file}: method '{method_name}' runs on {task_name} at budget {budget}, but its config has no "
                f"{selecting}; give it budgets: none, or that part."
            )
        if self.prepare is not None:
            settings["model.checkpoint"] = str(RunFiles(output / PREPARED).export)
        folder = output / "cells" / f"{task_name}-{method_name}-{budget}-{seed}"
        match, by = (method.match, method.by) if method.match is not None else ("", "")
        config = with_settings(config, settings)
        place = task_name, method_name, budget, seed, folder, config, task.metric
        return Cell(*place, tuple(needs), match, by, selects_in=selecting, further=tuple(task.more_metrics))

    def _lay(self, config: Config, layers: Layers) -> Config:
        """A config with layers over it; their files are searched for here and in the folders above the table's own."""
        for name in layers.config:
            config = laid_over(config, read_config(self._find(name)))
        return with_settings(config, layers.set)

    def _find(self, name: str) -> Path:
        """A file that the table names."""
        folders = [Path.cwd(), *self.file.resolve().parents]
        file = next((folder / name for folder in folders if (folder / name).is_file()), None) or find_shipped(name)
        if file is None:
            raise UserError(f"{self.file} names the file {name}, which is not there; correct the path.")
        return file
