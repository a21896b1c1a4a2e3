"""Tables of a run's metrics and of its selection's manifest, and the command that repeats the run."""

from __future__ import annotations

import shlex
from functools import partial
from typing import Any

from selectune.common.run_files import RunFiles
from selectune.report.cells import Cell, Group, Row, Table, number
from selectune.report.labels import metric, metric_name, part_of
from selectune.report.numbers import count
from selectune.report.run_data import RunData


def metrics_table(run: RunData) -> Table | None:
    """Metrics on held-out data beside the last ones on the validation split; None where there are none."""
    rows = []
    for name in dict.fromkeys(name.partition("/")[2] for name in run.measured):
        tested, validated = (run.measured.get(f"{split}/{name}") for split in ("test", "val"))
        values = [number(one.value, partial(metric, name)) if one else "–" for one in (tested, validated)]
        over = [one.over if one else "" for one in (tested, validated)]
        interval: Cell = tested.interval if tested else ""
        rows.append(Row(metric_name(name), [values[0], interval, over[0], values[1], over[1]]))
    columns = ("Metric", "Held-out data", "95 % interval", "Over", "Validation (last)", "Over")
    return Table("terms", columns, [Group(rows)]) if rows else None


def sizes_table(run: RunData) -> Table | None:
    """Rows and tokens that were selected, of those in the pool; None where they are unknown."""
    rows = [
        Row(selected_name(name, run), [number(kept, count), number(pool, count), part_of(kept, pool)])
        for name, (kept, pool) in run.sizes.items()
    ]
    return Table("terms", ("", "Selected", "Pool", "Share"), [Group(rows)]) if rows else None


def selected_name(name: str, run: RunData) -> str:
    """The name of the selected rows or tokens: "Rows", or "Warm-up rows"."""
    return f"Warm-up {name.lower()}" if run.selected_for == "warm_up" else name


def manifest_table(manifest: dict[str, Any]) -> Table:
    """The manifest of a selection."""
    names = {name: "rows" if name == "n_rows" else name.replace("_", " ") for name in manifest}
    rows = [Row(names[name], [_in_words(manifest[name])]) for name in names if name not in ("costs", "warnings")]
    return Table("manifest", (), [Group(rows)])


def _in_words(value: Any) -> str:
    """A value of the manifest in a line: a class as its call, a mapping as pairs."""
    if isinstance(value, dict) and "class" in value:
        arguments = value.get("arguments") or {}
        inside = ", ".join(f"{name}={_in_words(each)}" for name, each in arguments.items())
        return f"{str(value['class']).rpartition('.')[2]}({inside})"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_in_words(each)}" for name, each in value.items()) or "none"
    if isinstance(value, list):
        return "; ".join(map(_in_words, value)) or "none"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "none" if value is None else str(value)


def replay_command(run: RunData) -> str:
    """The command that does a run again; empty for a run without a config."""
    verb = "fit" if any(record.stage == "train" for record in run.records) else "select"
    config = shlex.quote(str(RunFiles(run.run_dir).config))
    return f"python main.py {verb} --config {config} --output NEW" if run.config else ""
