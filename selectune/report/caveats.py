"""Whether the runs of a comparison can be compared at all, and in which settings they differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from selectune.report.compared_runs import Arm, warm_up_asked
from selectune.report.labels import joined
from selectune.report.numbers import count

# What decides which rows figures are measured on, among the arguments of a data module.
HELD_OUT = (
    "dataset", "config_name", "revision", "local_name", "test_split", "max_eval_rows", "text_column", "pair_column",
    "label_column", "strip_headers", "drop_empty",
)  # fmt: skip
POOL = ("train_split", "dev_split", "max_train_rows")


def doubts(arms: Sequence[Arm]) -> Iterator[str]:
    """Why the runs, or some of them, cannot be compared with each other, in sentences."""
    for arm in arms:
        if arm.facts.unfinished:
            yield f"{arm.label}: {arm.facts.unfinished} It stands in no picture of costs."
    if held_out := _differing(arms, ("class_path", *HELD_OUT)):
        yield f"The held-out sets differ, so their figures do not compare: {held_out}."
    elif told := _by_value(arms, [arm.facts.metrics.get("test/majority_accuracy") for arm in arms]):
        yield f"The held-out sets differ, as the share of their largest class does: {told}."
    yield from _pools(arms)
    if told := _by_value(arms, [None if arm.epochs is None else round(arm.epochs, 2) for arm in arms]):
        yield f"They trained for different numbers of epochs: {told}."
    if any(arm.with_warm_up for arm in arms):
        asked = [warm_up_asked(arm) or str(arm.warmed_up) for arm in arms]
        told = _by_value(arms, asked, tell=False)
        yield f"Their warm-ups differ ({told}), so each total holds what choosing for it and warming up took."
    if told := _by_value(arms, [_devices(arm) for arm in arms]):
        yield f"They ran on different devices, so their seconds do not compare: {told}."
    if told := _by_value(arms, [_commits(arm) for arm in arms]):
        yield f"Different versions of the code ran: {told}."


def _pools(arms: Sequence[Arm]) -> Iterator[str]:
    """Whether rows were chosen from other pools, those of warm-ups included."""
    prints = _by_value(arms, [_print_of(arm.facts.manifest) for arm in arms])
    rows = _by_value(arms, [sizes["Rows"][1] if (sizes := arm.facts.sizes_of("fit")) else None for arm in arms])
    if prints or rows:
        seeds = _by_value(arms, [arm.seed for arm in arms])
        why = _differing(arms, POOL) or (f"the seed, which draws dev and the pool, is {seeds}" if seeds else "")
        told = f"fingerprint {prints}" if prints else f"rows {rows}"
        yield f"The pools that rows were chosen from differ: {told}{f' ({why})' if why else ''}."
    if prints := _by_value(arms, [_print_of(arm.facts.warm_up_manifest) for arm in arms]):
        yield f"The pools that rows to warm up on were chosen from differ: fingerprint {prints}."


def _print_of(manifest: dict[str, Any]) -> str:
    return str(manifest.get("pool_fingerprint") or "")[:12]


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
