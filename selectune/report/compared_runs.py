"""The runs of a comparison: what each was asked, and what it is charged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from selectune.costs.record import CostRecord, add_up
from selectune.costs.saving import SELECTION, Terms, Unit
from selectune.report.labels import HEADLINES
from selectune.report.run_data import Facts

BUDGETS = ("keep", "keep_rows", "keep_tokens")


@dataclass(frozen=True)
class Arm:
    """A run of a comparison.

    Args:
        number: from 1, in the order in which the runs were named.
        name: of its folder, with as many folders above it as tell it from the others.
        facts: of the run.
        with_warm_up: whether its total holds its warm-up, as where the runs that are compared differ in theirs.
    """

    number: int
    name: str
    facts: Facts
    with_warm_up: bool = False

    @property
    def label(self) -> str:
        """Its number and name: "2 random"."""
        return f"{self.number} {self.name}"

    def setting(self, *names: str) -> Any:
        """A setting of ``config.yaml``; None where there is none of that name."""
        found: Any = self.facts.settings
        for name in names:
            found = found.get(name) if isinstance(found, dict) else None
        return found

    def data(self, name: str) -> Any:
        """An argument of the data module."""
        return self.setting("data", "init_args", name)

    @property
    def task(self) -> str:
        """The data module and the data set: "TextClassification on stanfordnlp/sst2"."""
        kind = str(self.setting("data", "class_path") or "unknown").rpartition(".")[2]
        names = [str(self.data(name)) for name in ("dataset", "config_name") if self.data(name)]
        return f"{kind} on {', '.join(names)}" if names else kind

    @property
    def selector(self) -> str:
        """The class of the selector, and what decides its rows; of the warm-up's too: "GOTD in the warm-up"."""
        before = _selector_of(self.facts.warm_up_manifest)
        told = [_selector_of(self.facts.manifest), f"{before} in the warm-up" if before else ""]
        return ", ".join(filter(None, told)) or "none"

    @property
    def budget(self) -> str:
        """What was asked for: "keep 0.16"; of the warm-up too: "keep rows 500 in the warm-up"."""
        told = [self._budget_of(self.facts.manifest, {name: self.data(name) for name in BUDGETS})]
        if self.facts.warm_up_manifest:
            given = {name: self.setting("warm_up", "data", "init_args", name) for name in BUDGETS}
            told.append(f"{self._budget_of(self.facts.warm_up_manifest, given)} in the warm-up")
        elif self.with_warm_up:
            told.append("everything in the warm-up" if self.warmed_up else "no warm-up")
        return ", ".join(told)

    @staticmethod
    def _budget_of(manifest: dict[str, Any], given: dict[str, Any]) -> str:
        budget = manifest.get("budget")
        asked = budget.get("asked") if isinstance(budget, dict) else None
        given = asked if isinstance(asked, dict) else given
        words = [f"{name.replace('_', ' ')} {given[name]}" for name in BUDGETS if given.get(name) is not None]
        return ", ".join(words) or "everything"

    @property
    def warmed_up(self) -> bool:
        """Whether its config asks for a warm-up, or its ledger holds one."""
        return bool(self.setting("warm_up")) or any(record.part == "warm_up" for record in self.facts.records)

    @property
    def seed(self) -> int | None:
        """Of the run, else of its selection."""
        found = [self.setting("seed_everything"), self.facts.manifest.get("seed")]
        return next((seed for seed in found if isinstance(seed, int) and not isinstance(seed, bool)), None)

    @property
    def epochs(self) -> float | None:
        """Passes over the rows that were made, else that were asked for."""
        saving = self.facts.saving
        asked = self.setting("trainer", "max_epochs")
        return saving.epochs if saving and saving.epochs is not None else asked if isinstance(asked, int) else None

    def terms(self, unit: Unit) -> Terms | None:
        """The terms of its saving in a unit."""
        return getattr(self.facts.saving, unit) if self.facts.saving else None

    def total(self, unit: Unit) -> float | None:
        """Selection and training together, the selection charged in full; None where a part is unknown.

        Where runs differ in their warm-up, what choosing for it and warming up took is in it.
        """
        terms = self.terms(unit)
        before = self.warm_up(unit) if self.with_warm_up else 0.0
        if terms is None or terms.selection is None or terms.training is None or before is None:
            return None
        return terms.selection + terms.training + before

    def warm_up(self, unit: Unit) -> float | None:
        """What selecting for the warm-up, be it spared by a cache, and warming up took; 0 without a warm-up."""
        if not self.facts.records and self.warmed_up:
            return None
        found: float | None = getattr(add_up(filter(_warms_up, self.facts.costs.kept)), unit)
        return found

    def left_out(self, unit: Unit) -> float | None:
        """Start-up that is in no total: preparing data, and the warm-up where all runs share it."""
        terms = self.terms(unit)
        if terms is None or not self.with_warm_up:
            return terms.shared if terms else None
        found: float | None = getattr(add_up([one for one in self.facts.costs.kept if one.stage == "prepare"]), unit)
        return found


def _selector_of(manifest: dict[str, Any]) -> str:
    """The class of a manifest's selector with its words; nothing without a manifest."""
    told = manifest.get("selector")
    if not isinstance(told, dict) or "class" not in told:
        return "unknown" if manifest else ""
    arguments = told.get("arguments")
    given = arguments.items() if isinstance(arguments, dict) else ()
    words = [f"{name} {value}" for name, value in given if isinstance(value, str)]
    return str(told["class"]).rpartition(".")[2] + (f" ({', '.join(words)})" if words else "")


def _warms_up(record: CostRecord) -> bool:
    return record.part == "warm_up" and record.stage in (*SELECTION, "warm_up")


def arms_of(facts: Sequence[Facts]) -> list[Arm]:
    """Number and name the runs."""
    paths = [one.run_dir.resolve() for one in facts]
    depth = 1
    while len({path.parts[-depth:] for path in paths}) < len(paths) and depth < max(len(path.parts) for path in paths):
        depth += 1
    names = [str(Path(*path.parts[-depth:])) for path in paths]
    arms = [Arm(number, name, one) for number, (name, one) in enumerate(zip(names, facts), start=1)]
    differ = len({warm_up_asked(arm) for arm in arms} - {None}) > 1 or len({arm.warmed_up for arm in arms}) > 1
    return [replace(arm, with_warm_up=differ) for arm in arms]


def warm_up_asked(arm: Arm) -> str | None:
    """The settings of a run's warm-up, alike for those that are alike; None for a run without a config."""
    return json.dumps(arm.setting("warm_up"), sort_keys=True, default=str) if arm.facts.settings else None


def charged(arms: Sequence[Arm]) -> str:
    """What a total is made of."""
    return "selection, warm-up and training" if any(arm.with_warm_up for arm in arms) else "selection and training"


def common_figure(arms: Sequence[Arm]) -> str | None:
    """The figure of held-out data that leads, of those that the most runs have; None where no run has any."""
    measured = [set(arm.facts.metrics) for arm in arms if any(name.startswith("test/") for name in arm.facts.metrics)]
    counts = {name: sum(f"test/{name}" in one for one in measured) for name in HEADLINES}
    name = max(counts, key=lambda name: counts[name])  # the first of those that are alike
    return f"test/{name}" if counts[name] else None
