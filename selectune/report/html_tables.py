"""The tables of a report, as HTML and as cells that the terminal shows too."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable
from html import escape
from typing import Any, get_args

from selectune.common.run_files import RunFiles
from selectune.costs.record import CostRecord, Part, Stage, Total, add_up, totals
from selectune.costs.saving import Unit
from selectune.report.labels import metric, metric_name
from selectune.report.numbers import Formatter, count, flop, memory, seconds, share, si
from selectune.report.run_data import STAGE_NAMES, RunData

UNIT_FORMATS: dict[Unit, Formatter] = {"flops": flop, "device_s": seconds}
GROUPS = {  # on the terminal, and in the report
    "fit": ("This task", "Spent on this task's data"),
    "warm_up": ("Warm-up's data", "Spent on the warm-up's data, which training on everything needs as well"),
    "avoided": ("Avoided", "Avoided, not spent: earlier results were used again. The saving charges it all the same"),
}
CHOSEN_IN = "Spent on the warm-up's data, choosing its rows included"
REDONE = "of which redone after an interruption"
COST_COLUMNS = ("Stage", "FLOPs", "Device time", "Wall time", "Rows", "Tokens", "Padding", "Peak memory")


def data(value: float | None, write: Formatter) -> str:
    """A number in words, with its exact value for programs."""
    text = escape(write(value))
    return text if value is None or not math.isfinite(value) else f'<data value="{value!r}">{text}</data>'


def cell(value: float | None, write: Formatter) -> str:
    """A number as `data` has it; a dash for None."""
    return "–" if value is None else data(value, write)


def row(head: str, cells: Iterable[str], kind: str = "") -> str:
    """A row of a table, from the HTML of its head and its cells, and its class."""
    attribute = f' class="{kind}"' if kind else ""
    return f'<tr{attribute}><th scope="row">{head}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'


def group_row(title: str, width: int) -> str:
    """A row that is the title of those below it, HTML, over so many columns."""
    return f'<tr class="group"><th scope="rowgroup" colspan="{width}">{title}</th></tr>'


def table(head: Iterable[str], body: str, kind: str, above: Iterable[tuple[str, int]] = ()) -> str:
    """A table of a class from titles of its columns and rows, both HTML; `above` has titles over several columns."""
    titles = "".join(f'<th scope="col">{title}</th>' for title in head)
    groups = "".join(f'<th scope="colgroup" colspan="{width}">{title}</th>' for title, width in above)
    rows = "".join(f"<tr>{row}</tr>" for row in (groups, titles) if row)
    return f'<table class="{kind}">{f"<thead>{rows}</thead>" if rows else ""}{body}</table>'


def bullets(lines: Iterable[str], kind: str = "") -> str:
    """Lines as a list; empty when there are none."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<ul class="{kind}">{items}</ul>' if items else ""


def cost_table(run: RunData) -> str:
    """Costs by stage and by the part that they served, avoided ones apart, with how they were counted."""
    if not run.records:
        return "<p>There is no cost.jsonl.</p>"
    bodies = []
    for group, stages in cost_groups(run.records):
        title = CHOSEN_IN if group == "warm_up" and run.warm_up_manifest else GROUPS[group][1]
        lines = "".join(_cost_row(STAGE_NAMES[stage], total) for stage, total in stages.items())
        bodies.append((group == "avoided", f"<tbody>{group_row(title, len(COST_COLUMNS))}{lines}</tbody>"))
    everything = _cost_row("Total spent", all_spent(run.records))
    if run.costs.redone:
        everything += _cost_row(REDONE, add_up(run.costs.redone))
    bodies.append((False, f'<tbody class="sum">{everything}</tbody>'))
    body = "".join(rows for _, rows in sorted(bodies, key=lambda group: group[0]))  # avoided costs are not in the sum
    methods: dict[str, list[str]] = {}
    for stage, method in sorted({(record.stage, record.flops_method) for record in run.records}):
        methods.setdefault(method, []).append(STAGE_NAMES[stage].lower())
    notes = [f"FLOPs of {', '.join(stages)}: {method}." for method, stages in methods.items()]
    notes += sorted({f"Energy {record.energy_source}." for record in run.records if record.energy_j is None})
    devices: dict[int, set[str]] = {}
    for record in run.records:
        if not record.cached:
            devices.setdefault(record.world_size, set()).add(record.device)
    for size, names in sorted(devices.items()):
        notes.append(f"Ran as {size} process{'es' if size > 1 else ''} on {', '.join(sorted(names))}.")
    notes.append("Device time adds up over processes, wall time does not; both leave out what other rows count.")
    notes.append("Peak memory is that of the largest process, since it started.")
    return f"{table(COST_COLUMNS, body, 'costs')}{_energy(run.records)}{bullets(notes, 'note')}"


def _cost_row(label: str, total: Total) -> str:
    return row(label, [data(value, write) for value, write in cost_cells(total)])


def _energy(records: list[CostRecord]) -> str:
    """Joules that were measured, of all that this run spent; empty where none were."""
    measured = [record for record in records if record.energy_j is not None and not record.cached]
    if not measured:
        return ""
    joules = data(sum(record.energy_j or 0.0 for record in measured), lambda value: si(value, "J"))
    stages = ", ".join(dict.fromkeys(STAGE_NAMES[record.stage].lower() for record in measured))
    sources = "; ".join(sorted({record.energy_source for record in measured}))
    return f'<p class="note">Energy of {stages}: {joules} ({escape(sources)}).</p>'


def cost_groups(records: list[CostRecord]) -> Iterable[tuple[str, dict[Stage, Total]]]:
    """Keys of `GROUPS`, each with the totals of its stages."""
    for part in get_args(Part):
        if spent := totals(record for record in records if record.part == part).spent:
            yield part, spent
    if avoided := totals(records).avoided:
        yield "avoided", avoided


def all_spent(records: list[CostRecord]) -> Total:
    """Everything that a run spent, without avoided costs."""
    return sum(totals(records).spent.values(), Total())


def cost_cells(total: Total) -> list[tuple[float | None, Formatter]]:
    """Values of a row of costs, after its name, each with its formatter."""

    def or_dash(write: Formatter) -> Formatter:
        return lambda value: "–" if value is None else write(value)

    padding = 1 - total.tokens / total.padded_tokens if total.padded_tokens else None
    return [
        (total.flops, flop),
        (total.device_s, seconds),
        (total.wall_s, seconds),
        (total.examples or None, or_dash(count)),
        (total.tokens or None, or_dash(count)),
        (padding, or_dash(share)),
        (max(total.peak_rss_bytes, total.peak_cuda_bytes or 0), memory),
    ]


def metrics_table(run: RunData) -> str:
    """Metrics on held-out data beside those on dev."""
    names = dict.fromkeys(name.partition("/")[2] for name in run.metrics if name.startswith(("val/", "test/")))
    if not names:
        return "<p>No figures were measured: metrics.csv holds none of dev (val/…) or held-out data (test/…).</p>"
    body = ""
    for name in names:
        values = (run.metrics.get(f"{split}/{name}") for split in ("test", "val"))
        body += row(escape(metric_name(f"test/{name}")), [cell(value, metric) for value in values])
    missing = "" if any(name.startswith("test/") for name in run.metrics) else "<p>No held-out figures yet.</p>"
    return missing + table(("Metric", "Held-out data", "Dev, last"), f"<tbody>{body}</tbody>", "terms")


def manifest_table(run: RunData) -> str:
    """The manifest of the selection."""
    if not run.manifest and run.warm_up_manifest:
        return "<p>Rows were chosen for the warm-up alone; the fine-tuning trained on its whole pool.</p>"
    if not run.manifest:
        return "<p>There is no selection in this run: it trained on the whole pool, or on rows chosen elsewhere.</p>"
    body = ""
    for name, value in run.manifest.items():
        if name not in ("costs", "warnings"):
            label = "rows" if name == "n_rows" else name.replace("_", " ")
            body += row(escape(label), [escape(_in_words(value))])
    return table((), f"<tbody>{body}</tbody>", "manifest")


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
    """The command that does a run again."""
    verb = "fit" if any(record.stage == "train" for record in run.records) else "select"
    return f"python main.py {verb} --config {shlex.quote(str(RunFiles(run.run_dir).config))} --output NEW"
