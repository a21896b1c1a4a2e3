"""Reasons why the runs of a comparison are not comparable, and the settings in which they differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from selectune.report.compared_runs import ComparedRun
from selectune.report.numbers import count
from selectune.verdict.prose import joined

# Arguments of a data module that decide which rows a metric is measured on.
HELD_OUT = (
    "dataset", "config_name", "revision", "local_name", "test_split", "max_eval_rows", "text_column", "pair_column",
    "label_column", "strip_headers", "drop_empty",
)  # fmt: skip
POOL = ("train_split", "dev_split", "max_train_rows")


def caveats(runs: Sequence[ComparedRun]) -> Iterator[str]:
    """Reasons why these runs are not comparable, one sentence each."""
    for run in runs:
        if run.data.unfinished:
            yield f"{run.label}: {run.data.unfinished} It stands in no picture of costs."
    if held_out := _differing_arguments(runs, ("class_path", *HELD_OUT)):
        yield f"The held-out sets differ, so their metrics do not compare: {held_out}."
    elif values := _by_value(runs, [run.data.metrics.get("test/majority_accuracy") for run in runs]):
        yield f"The held-out sets differ, as the share of their largest class does: {values}."
    fingerprints = _by_value(runs, [_fingerprint(run.data.manifest) for run in runs])
    rows = _by_value(runs, [sizes["Rows"][1] if (sizes := run.data.sizes_of("fit")) else None for run in runs])
    if fingerprints or rows:
        seeds = _by_value(runs, [run.seed for run in runs])
        reason = f"the seed, which draws dev and the pool, is {seeds}" if seeds else ""
        reason = _differing_arguments(runs, POOL) or reason
        values = f"fingerprint {fingerprints}" if fingerprints else f"rows {rows}"
        yield f"The pools that rows were selected from differ: {values}{f' ({reason})' if reason else ''}."
    if fingerprints := _by_value(runs, [_fingerprint(run.data.warm_up_manifest) for run in runs]):
        yield f"The pools that rows to warm up on were selected from differ: fingerprint {fingerprints}."
    if values := _by_value(runs, [None if run.epochs is None else round(run.epochs, 2) for run in runs]):
        yield f"They trained for different numbers of epochs: {values}."
    if any(run.with_warm_up for run in runs):
        groups = _groups(runs, [run.warm_up_settings or str(run.warmed_up) for run in runs])
        alike = f" ({'; '.join(joined(labels) for labels in groups.values())})" if len(groups) > 1 else ""
        yield f"Their warm-ups differ{alike}, so each total holds what selecting for it and warming up took."
    if values := _by_value(runs, [_devices(run) for run in runs]):
        yield f"They ran on different devices, so their seconds do not compare: {values}."
    commits = [{record.commit for record in run.data.records if not record.cached} for run in runs]
    if values := _by_value(runs, [", ".join(sorted(each)) for each in commits]):
        yield f"Different versions of the code ran: {values}."


def differing_settings(runs: Sequence[ComparedRun]) -> list[tuple[str, str]]:
    """Settings of ``config.yaml`` that are not the same in all runs, with the value that each run has."""
    flat = [_flat(run.data.settings) for run in runs]
    names = dict.fromkeys(name for settings in flat for name in settings)
    by_value = {name: _by_value(runs, [settings.get(name, "not given") for settings in flat]) for name in names}
    return [(name, values) for name, values in by_value.items() if values]


def _flat(settings: Any, at: str = "") -> dict[str, str]:
    """Nested settings by their dotted names."""
    if isinstance(settings, dict) and settings:
        parts = (_flat(part, f"{at}.{key}".strip(".")) for key, part in settings.items())
        return {name: value for part in parts for name, value in part.items()}
    return {at: "none" if settings is None else str(settings)} if at else {}


def _fingerprint(manifest: dict[str, Any]) -> str:
    return str(manifest.get("pool_fingerprint") or "")[:12]


def _devices(run: ComparedRun) -> str:
    trained = [record for record in run.data.records if record.stage == "train" and not record.cached]
    return ", ".join(sorted({f"{record.world_size} x {record.device.partition(':')[0]}" for record in trained}))


def _differing_arguments(runs: Sequence[ComparedRun], names: Sequence[str]) -> str:
    """Arguments of the data module that are not the same in all runs that have a config."""
    differing = []
    for name in names:
        values: list[Any] = []
        for run in runs:
            value = run.setting("data", "class_path") if name == "class_path" else run.argument(name)
            value = "none" if value is None else value if isinstance(value, int | float) else str(value)
            values.append(value if run.data.settings else None)
        if by_value := _by_value(runs, values):
            differing.append(f"data.{name} is {by_value}")
    return "; ".join(differing)


def _by_value(runs: Sequence[ComparedRun], values: Sequence[Any]) -> str:
    """The runs of each value: "0.16 in 1 igse and 2 random; 0.5 in 3 longest"; empty where all known ones are equal."""
    groups = _groups(runs, values)
    if len(groups) < 2:
        return ""
    return "; ".join(f"{_in_words(value)} in {joined(labels)}" for value, labels in groups.items())


def _groups(runs: Sequence[ComparedRun], values: Sequence[Any]) -> dict[Any, list[str]]:
    """Labels of the runs by their value, without those whose value is None or empty."""
    groups: dict[Any, list[str]] = {}
    for run, value in zip(runs, values):
        if value is not None and value != "":
            groups.setdefault(value, []).append(run.label)
    return groups


def _in_words(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return count(value) if abs(value) >= 10_000 else str(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
