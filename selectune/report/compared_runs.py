"""The runs of a comparison: their settings, and their costs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from selectune.costs.record import CostRecord, add_up
from selectune.costs.saving import SELECTION, Terms, Unit
from selectune.report.labels import HEADLINES
from selectune.report.run_data import RunData

BUDGETS = ("keep", "keep_rows", "keep_tokens")


@dataclass(frozen=True)
class ComparedRun:
    """A run of a comparison.

    Args:
        number: from 1, in the order in which the runs were named.
        name: of its folder, with as many folders above it as distinguish it from the others.
        data: contents of its directory.
        with_warm_up: whether its total includes its warm-up, as where the compared runs differ in theirs.
    """

    number: int
    name: str
    data: RunData
    with_warm_up: bool = False

    @property
    def label(self) -> str:
        """Number and name: "2 random"."""
        return f"{self.number} {self.name}"

    def setting(self, *names: str) -> Any:
        """A setting of ``config.yaml``; None where there is none of that name."""
        value: Any = self.data.settings
        for name in names:
            value = value.get(name) if isinstance(value, dict) else None
        return value

    def argument(self, name: str) -> Any:
        """An argument of the data module."""
        return self.setting("data", "init_args", name)

    @property
    def task(self) -> str:
        """The data module and the data set: "TextClassification on stanfordnlp/sst2"."""
        kind = str(self.setting("data", "class_path") or "unknown").rpartition(".")[2]
        names = [str(self.argument(name)) for name in ("dataset", "config_name") if self.argument(name)]
        return f"{kind} on {', '.join(names)}" if names else kind

    @property
    def selector(self) -> str:
        """The class of the selector and its arguments that are words; also of the warm-up: "GOTD in the warm-up"."""
        own, before = _selector_of(self.data.manifest), _selector_of(self.data.warm_up_manifest)
        return ", ".join(filter(None, [own, f"{before} in the warm-up" if before else ""])) or "none"

    @property
    def budget(self) -> str:
        """The budget asked for: "keep 0.16"; also of the warm-up: "keep rows 500 in the warm-up"."""
        budgets = [_budget_of(self.data.manifest, self.setting("data", "init_args"))]
        if manifest := self.data.warm_up_manifest:
            budgets.append(f"{_budget_of(manifest, self.setting('warm_up', 'data', 'init_args'))} in the warm-up")
        elif self.with_warm_up:
            budgets.append("everything in the warm-up" if self.warmed_up else "no warm-up")
        return ", ".join(budgets)

    @property
    def warmed_up(self) -> bool:
        """Whether its config asks for a warm-up, or its ledger holds one."""
        return bool(self.setting("warm_up")) or any(record.part == "warm_up" for record in self.data.records)

    @property
    def warm_up_settings(self) -> str | None:
        """The settings of its warm-up, equal for equal ones; None for a run without a config."""
        return json.dumps(self.setting("warm_up"), sort_keys=True, default=str) if self.data.settings else None

    @property
    def seed(self) -> int | None:
        """The seed of the run, else of its selection."""
        seeds = [self.setting("seed_everything"), self.data.manifest.get("seed")]
        return next((seed for seed in seeds if isinstance(seed, int) and not isinstance(seed, bool)), None)

    @property
    def epochs(self) -> float | None:
        """Epochs that it trained for, else those asked for."""
        if self.data.saving and self.data.saving.epochs is not None:
            return self.data.saving.epochs
        asked = self.setting("trainer", "max_epochs")
        return asked if isinstance(asked, int) else None

    def terms(self, unit: Unit) -> Terms | None:
        """The terms of its saving in a unit."""
        return getattr(self.data.saving, unit) if self.data.saving else None

    def total(self, unit: Unit) -> float | None:
        """Cost of selection (in full) and training, and of the warm-up where runs differ in it; None if unknown."""
        terms = self.terms(unit)
        before = self.warm_up(unit) if self.with_warm_up else 0.0
        if terms is None or terms.selection is None or terms.training is None or before is None:
            return None
        return terms.selection + terms.training + before

    def warm_up(self, unit: Unit) -> float | None:
        """Cost of warming up and of selecting for it, cached or not; 0 without a warm-up, None if unknown."""
        if not self.data.records and self.warmed_up:
            return None
        stages = (*SELECTION, "warm_up")
        return self._cost([one for one in self.data.costs.kept if one.part == "warm_up" and one.stage in stages], unit)

    def left_out(self, unit: Unit) -> float | None:
        """Start-up that is in no total: preparing data, and the warm-up where all runs share it."""
        terms = self.terms(unit)
        if terms is None or not self.with_warm_up:
            return terms.shared if terms else None
        return self._cost([record for record in self.data.costs.kept if record.stage == "prepare"], unit)

    @staticmethod
    def _cost(records: list[CostRecord], unit: Unit) -> float | None:
        cost: float | None = getattr(add_up(records), unit)
        return cost


def _selector_of(manifest: dict[str, Any]) -> str:
    """The class of a manifest's selector and its arguments that are words; empty without a manifest."""
    selector = manifest.get("selector")
    if not isinstance(selector, dict) or "class" not in selector:
        return "unknown" if manifest else ""
    arguments = selector.get("arguments")
    given = arguments.items() if isinstance(arguments, dict) else ()
    words = [f"{name} {value}" for name, value in given if isinstance(value, str)]
    return str(selector["class"]).rpartition(".")[2] + (f" ({', '.join(words)})" if words else "")


def _budget_of(manifest: dict[str, Any], arguments: Any) -> str:
    """The budget that a manifest says was asked for, else that of a data module's arguments."""
    budget = manifest.get("budget")
    asked = budget.get("asked") if isinstance(budget, dict) else None
    given = next((one for one in (asked, arguments) if isinstance(one, dict)), {})
    words = [f"{name.replace('_', ' ')} {given[name]}" for name in BUDGETS if given.get(name) is not None]
    return ", ".join(words) or "everything"


def compared_runs(runs: Sequence[RunData]) -> list[ComparedRun]:
    """Number and name the runs of a comparison."""
    paths = [run.run_dir.resolve() for run in runs]
    depth = 1
    while len({path.parts[-depth:] for path in paths}) < len(paths) and depth < max(len(path.parts) for path in paths):
        depth += 1
    names = [str(Path(*path.parts[-depth:])) for path in paths]
    compared = [ComparedRun(number, name, run) for number, (name, run) in enumerate(zip(names, runs), start=1)]
    settings, warmed_up = ({run.warm_up_settings for run in compared} - {None}, {run.warmed_up for run in compared})
    return [replace(run, with_warm_up=len(settings) > 1 or len(warmed_up) > 1) for run in compared]


def parts_of_total(runs: Sequence[ComparedRun]) -> str:
    """The costs that a total includes, in words."""
    return "selection, warm-up and training" if any(run.with_warm_up for run in runs) else "selection and training"


def common_metric(runs: Sequence[ComparedRun]) -> str | None:
    """The headline on held-out data that most runs have, such as "test/accuracy"; None where no run has any."""
    counts = {name: sum(f"test/{name}" in run.data.metrics for run in runs) for name in HEADLINES}
    name = max(counts, key=lambda name: counts[name])  # of equal counts the first
    return f"test/{name}" if counts[name] else None
