"""The tables of a report, as HTML and as cells that the terminal shows too."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterable
from html import escape
from pathlib import Path
from typing import Any, get_args

from selectune.common.run_files import RunFiles
from selectune.costs.record import CostRecord, Part, Stage, Total, add_up, totals
from selectune.costs.saving import Unit
from selectune.report.labels import METRIC_NAMES, metric
from selectune.report.numbers import count, flop, memory, seconds, share, si
from selectune.report.run_data import STAGE_NAMES, Facts

UNIT_TOLD: dict[Unit, Callable[[float | None], str]] = {"flops": flop, "device_s": seconds}
GROUPS = {  # on the terminal, and in the report
    "fit": ("This task", "Spent on this task's data"),
    "warm_up": ("Warm-up's data", "Spent on the warm-up's data, which training on everything needs as well"),
    "avoided": ("Avoided", "Avoided, not spent: earlier results were used again. The saving charges it all the same"),
}
CHOSEN_IN = "Spent on the warm-up's data, choosing its rows included"
REDONE = "of which redone after an interruption"
COST_COLUMNS = ("Stage", "FLOPs", "Device time", "Wall time", "Rows", "Tokens", "Padding", "Peak memory")


def cost_table(facts: Facts) -> str:
    """Stages by what they served, what was spent apart from what was avoided, and how it was counted."""
    if not facts.records:
        return "<p>There is no cost.jsonl.</p>"
    groups = []
    for group, rows in cost_groups(facts.records):
        told = CHOSEN_IN if group == "warm_up" and facts.warm_up_manifest else GROUPS[group][1]
        title = f'<tr class="group"><th scope="rowgroup" colspan="{len(COST_COLUMNS)}">{told}</th></tr>'
        lines = "".join(_cost_row(STAGE_NAMES[stage], total) for stage, total in rows.items())
        groups.append((group == "avoided", f"<tbody>{title}{lines}</tbody>"))
    everything = _cost_row("Total spent", all_spent(facts.records))
    if facts.costs.redone:
        everything += _cost_row(REDONE, add_up(facts.costs.redone))
    groups.append((False, f'<tbody class="sum">{everything}</tbody>'))
    body = "".join(rows for _, rows in sorted(groups, key=lambda group: group[0]))  # avoided costs are not in the sum
    methods: dict[str, list[str]] = {}
    for stage, method in sorted({(record.stage, record.flops_method) for record in facts.records}):
        methods.setdefault(method, []).append(STAGE_NAMES[stage].lower())
    notes = [f"FLOPs of {', '.join(stages)}: {method}." for method, stages in methods.items()]
    notes += sorted({f"Energy {record.energy_source}." for record in facts.records if record.energy_j is None})
    devices: dict[int, set[str]] = {}
    for record in facts.records:
        if not record.cached:
            devices.setdefault(record.world_size, set()).add(record.device)
    for size, names in sorted(devices.items()):
        notes.append(f"Ran as {size} process{'es' if size > 1 else ''} on {', '.join(sorted(names))}.")
    notes.append("Device time adds up over processes, wall time does not; both leave out what other rows count.")
    notes.append("Peak memory is that of the largest process, since it started.")
    return f"{table(COST_COLUMNS, body, 'costs')}{_energy(facts.records)}{bullets(notes, 'note')}"


def _energy(records: list[CostRecord]) -> str:
    """Joules that were measured, of all that this run spent; nothing where none were."""
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
    """Everything that this run spent, avoided costs left out."""
    return sum(totals(records).spent.values(), Total())


def cost_cells(total: Total) -> list[tuple[float | None, Callable[[float | None], str]]]:
    """Values of a row of costs, after its name, each with what writes it."""
    padding = 1 - total.tokens / total.padded_tokens if total.padded_tokens else None
    return [
        (total.flops, flop),
        (total.device_s, seconds),
        (total.wall_s, seconds),
        (total.examples or None, _or_dash(count)),
        (total.tokens or None, _or_dash(count)),
        (padding, _or_dash(share)),
        (max(total.peak_rss_bytes, total.peak_cuda_bytes or 0), memory),
    ]


def _or_dash(told: Callable[[float | None], str]) -> Callable[[float | None], str]:
    return lambda value: "–" if value is None else told(value)


def _cost_row(label: str, total: Total) -> str:
    cells = "".join(f"<td>{data(value, told)}</td>" for value, told in cost_cells(total))
    return f'<tr><th scope="row">{label}</th>{cells}</tr>'


def metrics_table(facts: Facts) -> str:
    """Figures on held-out data beside those on dev."""
    names = dict.fromkeys(name.partition("/")[2] for name in facts.metrics if name.startswith(("val/", "test/")))
    if not names:
        return "<p>No figures were measured: metrics.csv holds none of dev (val/…) or held-out data (test/…).</p>"
    body = ""
    for name in names:
        cells = (facts.metrics.get(f"{split}/{name}") for split in ("test", "val"))
        figures = "".join(f"<td>{data(value, _or_dash(metric))}</td>" for value in cells)
        body += f'<tr><th scope="row">{escape(METRIC_NAMES.get(name, name))}</th>{figures}</tr>'
    missing = "" if any(name.startswith("test/") for name in facts.metrics) else "<p>No held-out figures yet.</p>"
    return missing + table(("Metric", "Held-out data", "Dev, last"), f"<tbody>{body}</tbody>", "terms")


def manifest_table(facts: Facts) -> str:
    """What the selection depends on."""
    if not facts.manifest and facts.warm_up_manifest:
        return "<p>Rows were chosen for the warm-up alone; the fine-tuning trained on its whole pool.</p>"
    if not facts.manifest:
        return "<p>There is no selection in this run: it trained on the whole pool, or on rows chosen elsewhere.</p>"
    body = ""
    for name, value in facts.manifest.items():
        if name not in ("costs", "warnings"):
            label = "rows" if name == "n_rows" else name.replace("_", " ")
            body += f'<tr><th scope="row">{escape(label)}</th><td>{escape(_told(value))}</td></tr>'
    return table((), f"<tbody>{body}</tbody>", "manifest")


def _told(value: Any) -> str:
    """A value of the manifest in a line: a class as its call, a mapping as pairs."""
    if isinstance(value, dict) and "class" in value:
        arguments = value.get("arguments") or {}
        inside = ", ".join(f"{name}={_told(each)}" for name, each in arguments.items())
        return f"{str(value['class']).rpartition('.')[2]}({inside})"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_told(each)}" for name, each in value.items()) or "none"
    if isinstance(value, list):
        return "; ".join(map(_told, value)) or "none"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "none" if value is None else str(value)


def replay(facts: Facts) -> str:
    """The command that does the run again, and its config."""
    if not facts.config:
        return "<p>There is no config.yaml, so this run cannot be replayed from its folder.</p>"
    return (
        f"<pre>{escape(replay_command(facts))}</pre><p>with config.yaml as it was run:</p>"
        f"<pre>{escape(facts.config.rstrip())}</pre>"
    )


def replay_command(facts: Facts) -> str:
    """The command that does the run again."""
    verb = "fit" if any(record.stage == "train" for record in facts.records) else "select"
    return f"python main.py {verb} --config {shlex.quote(str(RunFiles(facts.run_dir).config))} --output NEW"


def report_command(run_dir: Path) -> str:
    """The command that writes the page of a run."""
    return f"python main.py report {shlex.quote(str(run_dir))}"


def data(value: float | None, told: Callable[[float | None], str]) -> str:
    """A figure that a person reads and that a program finds exactly."""
    text = escape(told(value))
    return text if value is None or not math.isfinite(value) else f'<data value="{value!r}">{text}</data>'


def table(head: Iterable[str], body: str, kind: str, above: Iterable[tuple[str, int]] = ()) -> str:
    """A table.

    Args:
        head: titles of the columns, HTML.
        body: its rows, HTML.
        kind: its class.
        above: titles above so many columns each, HTML.
    """
    titles = "".join(f'<th scope="col">{title}</th>' for title in head)
    groups = "".join(f'<th scope="colgroup" colspan="{width}">{title}</th>' for title, width in above)
    rows = "".join(f"<tr>{row}</tr>" for row in (groups, titles) if row)
    return f'<table class="{kind}">{f"<thead>{rows}</thead>" if rows else ""}{body}</table>'


def bullets(lines: Iterable[str], kind: str = "") -> str:
    """Lines as a list; nothing when there are none."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<ul class="{kind}">{items}</ul>' if items else ""


def capital(text: str) -> str:
    """The text with its first letter as a capital, the others as they are."""
    return text[:1].upper() + text[1:]
