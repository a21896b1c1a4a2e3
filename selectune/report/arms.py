"""The runs of a comparison: what each was asked, what it came to, and whether they can be compared at all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selectune.report.facts import Facts
from selectune.report.figures import count
from selectune.report.wording import HEADLINES, joined
from selectune.savings import Terms, Unit

# What decides which rows figures are measured on, among the arguments of a data module.
HELD_OUT = (
    "dataset", "config_name", "revision", "local_name", "test_split", "max_eval_rows", "text_column", "pair_column",
    "label_column", "strip_headers", "drop_empty",
)  # fmt: skip
POOL = ("train_split", "dev_split", "max_train_rows")
BUDGETS = ("keep", "keep_rows", "keep_tokens")


@dataclass(frozen=True)
class Arm:
    """A run of a comparison.

    Args:
        number: from 1, in the order in which the runs were named.
        name: of its folder, with as many folders above it as tell it from the others.
        facts: of the run.
    """

    number: int
    name: str
    facts: Facts

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
        """The class of the selector, and what decides its rows."""
        told = self.facts.manifest.get("selector")
        if not isinstance(told, dict) or "class" not in told:
            return "none" if not self.facts.manifest else "unknown"
        arguments = told.get("arguments")
        given = arguments.items() if isinstance(arguments, dict) else ()
        words = [f"{name} {value}" for name, value in given if isinstance(value, str)]
        return str(told["class"]).rpartition(".")[2] + (f" ({', '.join(words)})" if words else "")

    @property
    def budget(self) -> str:
        """What was asked for: "keep 0.16"."""
        budget = self.facts.manifest.get("budget")
        asked = budget.get("asked") if isinstance(budget, dict) else None
        given = asked if isinstance(asked, dict) else {name: self.data(name) for name in BUDGETS}
        words = [f"{name.replace('_', ' ')} {given[name]}" for name in BUDGETS if given.get(name) is not None]
        return ", ".join(words) or "everything"

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
        """Selection and training together, the selection charged in full; None where a part is unknown."""
        terms = self.terms(unit)
        if terms is None or terms.selection is None or terms.training is None:
            return None
        return terms.selection + terms.training


def arms_of(facts: Sequence[Facts]) -> list[Arm]:
    """Number and name the runs."""
    paths = [one.run_dir.resolve() for one in facts]
    depth = 1
    while len({path.parts[-depth:] for path in paths}) < len(paths) and depth < max(len(path.parts) for path in paths):
        depth += 1
    names = [str(Path(*path.parts[-depth:])) for path in paths]
    return [Arm(number, name, one) for number, (name, one) in enumerate(zip(names, facts), start=1)]


def common_figure(arms: Sequence[Arm]) -> str | None:
    """The figure of held-out data that leads, of those that the most runs have; None where no run has any."""
    measured = [set(arm.facts.metrics) for arm in arms if any(name.startswith("test/") for name in arm.facts.metrics)]
    counts = {name: sum(f"test/{name}" in one for one in measured) for name in HEADLINES}
    name = max(counts, key=lambda name: counts[name])  # the first of those that are alike
    return f"test/{name}" if counts[name] else None


def doubts(arms: Sequence[Arm]) -> Iterator[str]:
    """Why the runs, or some of them, cannot be compared with each other, in sentences."""
    for arm in arms:
        if arm.facts.unfinished:
            yield f"{arm.label}: {arm.facts.unfinished} It stands in no picture of costs."
    if held_out := _differing(arms, ("class_path", *HELD_OUT)):
        yield f"The held-out sets differ, so their figures do not compare: {held_out}."
    elif told := _by_value(arms, [arm.facts.metrics.get("test/majority_accuracy") for arm in arms]):
        yield f"The held-out sets differ, as the share of their largest class does: {told}."
    prints = _by_value(arms, [str(arm.facts.manifest.get("pool_fingerprint") or "")[:12] for arm in arms])
    rows = _by_value(arms, [arm.facts.sizes["Rows"][1] if arm.facts.sizes else None for arm in arms])
    if prints or rows:
        seeds = _by_value(arms, [arm.seed for arm in arms])
        why = _differing(arms, POOL) or (f"the seed, which draws dev and the pool, is {seeds}" if seeds else "")
        told = f"fingerprint {prints}" if prints else f"rows {rows}"
        yield f"The pools that rows were chosen from differ: {told}{f' ({why})' if why else ''}."
    if told := _by_value(arms, [None if arm.epochs is None else round(arm.epochs, 2) for arm in arms]):
        yield f"They trained for different numbers of epochs: {told}."
    warm_ups = [json.dumps(arm.setting("warm_up"), sort_keys=True) if arm.facts.settings else None for arm in arms]
    if told := _by_value(arms, warm_ups, tell=False):
        yield f"Their warm-ups differ, and the cost of warming up is not in the totals: {told}."
    if told := _by_value(arms, [_devices(arm) for arm in arms]):
        yield f"They ran on different devices, so their seconds do not compare: {told}."
    if told := _by_value(arms, [_commits(arm) for arm in arms]):
        yield f"Different versions of the code ran: {told}."


def differing_settings(arms: Sequence[Arm]) -> list[tuple[str, str]]:
    """Settings of ``config.yaml`` that are not the same in all runs, each with who has which value."""
    flat = [_flat(arm.facts.settings) for arm in arms]
    found = []
    for name in dict.fromkeys(name for one in flat for name in one):
        if told := _by_value(arms, [one.get(name, "not given") for one in flat]):
            found.append((name, told))
    return found


def _devices(arm: Arm) -> str | None:
    ran = [record for record in arm.facts.records if record.stage == "train" and not record.cached]
    return ", ".join(sorted({f"{r.world_size} x {r.device.partition(':')[0]}" for r in ran})) or None


def _commits(arm: Arm) -> str:
    return ", ".join(sorted({record.commit for record in arm.facts.records if not record.cached}))


def _differing(arms: Sequence[Arm], names: Sequence[str]) -> str:
    """Arguments of the data module that are not the same in all runs that have a config."""
    found = []
    for name in names:
        values = [_argument(arm, name) if arm.facts.settings else None for arm in arms]
        if told := _by_value(arms, values):
            found.append(f"data.{name} is {told}")
    return "; ".join(found)


def _argument(arm: Arm, name: str) -> Any:
    value = arm.setting("data", "class_path") if name == "class_path" else arm.data(name)
    return "none" if value is None else value if isinstance(value, int | float) else str(value)


def _by_value(arms: Sequence[Arm], values: Sequence[Any], tell: bool = True) -> str:
    """Who has which value: "0.16 in 1 igse and 2 random; 0.5 in 3 longest"; nothing where all known ones are alike."""
    groups: dict[Any, list[str]] = {}
    for arm, value in zip(arms, values):
        if value is not None and value != "":
            groups.setdefault(value, []).append(arm.label)
    if len(groups) < 2:
        return ""
    if not tell:
        return "; ".join(joined(labels) for labels in groups.values())
    return "; ".join(f"{_told(value)} in {joined(labels)}" for value, labels in groups.items())


def _told(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return count(value) if abs(value) >= 10_000 else str(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _flat(settings: Any, at: str = "") -> dict[str, str]:
    if isinstance(settings, dict) and settings:
        return {
            name: value
            for key, part in settings.items()
            for name, value in _flat(part, f"{at}.{key}".strip(".")).items()
        }
    return {at: "none" if settings is None else str(settings)} if at else {}
