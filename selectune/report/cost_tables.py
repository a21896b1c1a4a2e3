"""Tables of costs: by stage, and the terms of a saving."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import get_args

from selectune.costs.record import Part, Stage, Total, add_up, totals
from selectune.costs.saving import UNIT_NAMES, UNITS, WHOLE, Saving, Terms, Unit
from selectune.report.cells import Cell, Group, Row, Table, number
from selectune.report.labels import capital
from selectune.report.numbers import Formatter, count, flop, memory, seconds, share, si
from selectune.report.run_data import STAGE_NAMES, RunData

UNIT_FORMATS: dict[Unit, Formatter] = {"flops": flop, "device_s": seconds}
GROUPS = {  # on the terminal, and in the report
    "fit": ("This task", "Spent on this task's data"),
    "warm_up": ("Warm-up's data", "Spent on the warm-up's data, which training on everything needs as well"),
    "avoided": ("Avoided", "Avoided, not spent: earlier results were used again. The saving charges it all the same"),
}
SELECTED_IN = "Spent on the warm-up's data, selecting its rows included"
COST_COLUMNS = ("Stage", "FLOPs", "Device time", "Wall time", "Rows", "Tokens", "Padding", "Peak memory")
TERMS = {
    "selection": "Selection, always charged",
    "selection_avoided": "of which a cache spared this run",
    "training": "",
    "full_training": "",
    "shared": "Start-up that both need, left out",
    "evaluation": "Evaluation, left out",
    "redone": "Redone after an interruption, left out",
}


def cost_groups(run: RunData) -> Iterator[tuple[str, dict[Stage, Total]]]:
    """Keys of `GROUPS`, each with the totals of its stages."""
    for part in get_args(Part):
        if spent := totals(record for record in run.records if record.part == part).spent:
            yield part, spent
    if avoided := totals(run.records).avoided:
        yield "avoided", avoided


def all_spent(run: RunData) -> Total:
    """Everything that a run spent, without avoided costs."""
    return sum(totals(run.records).spent.values(), Total())


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


def cost_table(run: RunData) -> Table:
    """Costs by stage and by the part that they served, avoided ones apart."""

    def row(name: str, total: Total) -> Row:
        return Row(name, [number(value, write) for value, write in cost_cells(total)])

    groups = {}
    for name, stages in cost_groups(run):
        title = SELECTED_IN if name == "warm_up" and run.warm_up_manifest else GROUPS[name][1]
        groups[name] = Group([row(STAGE_NAMES[stage], total) for stage, total in stages.items()], title)
    avoided = groups.pop("avoided", None)  # stands below the sum, which it is not part of
    spent = [row("Total spent", all_spent(run))]
    if run.costs.redone:
        spent.append(row("of which redone after an interruption", add_up(run.costs.redone)))
    return Table("costs", COST_COLUMNS, [*groups.values(), Group(spent, kind="sum"), *([avoided] if avoided else [])])


def cost_notes(run: RunData) -> Iterator[str]:
    """The methods and devices by which costs were counted."""
    methods: dict[str, list[str]] = {}
    for stage, method in sorted({(record.stage, record.flops_method) for record in run.records}):
        methods.setdefault(method, []).append(STAGE_NAMES[stage].lower())
    yield from (f"FLOPs of {', '.join(stages)}: {method}." for method, stages in methods.items())
    yield from sorted({f"Energy {record.energy_source}." for record in run.records if record.energy_j is None})
    devices: dict[int, set[str]] = {}
    for record in run.records:
        if not record.cached:
            devices.setdefault(record.world_size, set()).add(record.device)
    for size, names in sorted(devices.items()):
        yield f"Ran as {size} process{'es' if size > 1 else ''} on {', '.join(sorted(names))}."
    yield "Device time adds up over processes, wall time does not; both leave out what other rows count."
    yield "Peak memory is that of the largest process, since it started."


def energy(run: RunData) -> Cell | None:
    """Joules that were measured, of all that this run spent; None where none were."""
    measured = [record for record in run.records if record.energy_j is not None and not record.cached]
    if not measured:
        return None
    stages = ", ".join(dict.fromkeys(STAGE_NAMES[record.stage].lower() for record in measured))
    sources = "; ".join(sorted({record.energy_source for record in measured}))
    joules = number(sum(record.energy_j or 0.0 for record in measured), lambda value: si(value, "J"))
    return [f"Energy of {stages}: ", joules, f" ({sources})."]


def terms_table(saving: Saving, beside: Saving | None = None) -> Table:
    """The terms of a saving in each unit, the break-even, and the size of the scoring model.

    Args:
        saving: of the part that rows were selected for.
        beside: of the whole run, where rows were selected for its warm-up alone: its fine-tuning is shown for
            comparison.
    """
    by_unit: dict[Unit, Terms] = {unit: getattr(saving, unit) for unit in UNITS}
    estimated = " (estimated)" if saving.device_s.full_is_estimated else ""
    names = TERMS | {
        "training": f"{'Training' if saving.part == 'fit' else 'Warming up'} on the selected rows",
        "full_training": f"{capital(WHOLE[saving.part])}{estimated}",
    }
    if all(terms.redone == 0 for terms in by_unit.values()):
        del names["redone"]

    def cells(values: Iterable[float | None]) -> list[Cell]:
        return [number(value, UNIT_FORMATS[unit]) for unit, value in zip(UNITS, values)]

    rows = [
        Row(title, cells(getattr(terms, name) for terms in by_unit.values()), "part" * (name == "selection_avoided"))
        for name, title in names.items()
    ]
    if beside is not None:
        rows.append(Row("Fine-tuning, for comparison", cells(getattr(beside, unit).training for unit in UNITS)))
    saved = Row("Saving", [number(terms.saving, share) for terms in by_unit.values()])
    more = [Row("Break-even, in uses of the selection", [_uses(terms) for terms in by_unit.values()])]
    if (ratio := saving.scorer_ratio) is not None:
        times: Formatter = "{:.3g} times".format
        known = {"parameters": ratio.parameters, "FLOPs a token": ratio.flops_per_token}
        more += [
            Row(f"Scoring model, {name}", [number(value, times), ""], mark="of the trained model's")
            for name, value in known.items()
            if value is not None
        ]
    columns = ("Term", *(capital(UNIT_NAMES[unit]) for unit in UNITS))
    return Table("terms", columns, [Group(rows), Group([saved], kind="sum"), Group(more)])


def _uses(terms: Terms) -> Cell:
    if terms.break_even_uses is None:
        return "unknown" if terms.saving is None else "never"
    return number(terms.break_even_uses, "{:,.2f}".format)
