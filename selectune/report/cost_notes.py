"""Sentences below the table of costs: how they were counted, on what, and the energy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from markupsafe import Markup

from selectune.costs.record import CostRecord, add_up
from selectune.report.numbers import count, element, flop, share, si
from selectune.report.run_data import STAGE_NAMES, RunData
from selectune.selection.manifest import head_sentence


def cost_notes(run: RunData) -> Iterator[str]:
    """The review of the pool, the head of the entropies, and the methods and devices by which costs were counted."""
    if run.review:
        yield review_note(run.review)
    methods: dict[str, list[str]] = {}
    for stage, method in sorted({(record.stage, record.flops_method) for record in run.records}):
        methods.setdefault(method, []).append(STAGE_NAMES[stage].lower())
    yield from (f"FLOPs of {', '.join(stages)}: {method}." for method, stages in methods.items())
    if note := entropy_note(run):
        yield note
    yield from sorted({f"Energy {record.energy_source}." for record in run.records if record.energy_j is None})
    devices: dict[int, set[str]] = {}
    for record in run.records:
        if not record.cached:
            devices.setdefault(record.world_size, set()).add(record.device)
    for size, names in sorted(devices.items()):
        yield f"Ran as {size} process{'es' if size > 1 else ''} on {', '.join(sorted(names))}."
    yield "Device time adds up over processes, wall time does not; both leave out what other rows count."
    yield "Peak memory is that of the largest process, since it started."


def review_note(review: Mapping[str, Any]) -> str:
    """One sentence on the rows that a review dropped from the pool and relabelled."""
    before, dropped, changed = (count(review[name]) for name in ("rows_before", "dropped", "relabelled"))
    return f"The review {review['file']} dropped {dropped} of {before} rows of the pool and relabelled {changed}."


def entropy_note(run: RunData) -> str:
    """The head of the entropies, where it was left to us or is a probe, with the cost of exact ones; else empty."""
    choice, diagnostics = run.manifest.get("entropy_head"), run.manifest.get("diagnostics") or {}
    fitted = (diagnostics.get("signals") or {}).get("generative_entropy") or {}
    if not choice and not fitted:
        return ""
    said = head_sentence(choice) if choice else "Entropies are predicted by a probe (scorer.generative.head: probe)."
    of_fit = [record for record in run.records if record.part == "fit"]
    scored = add_up(record for record in of_fit if record.stage == "score" or _fits_probe(record)).flops
    trained = add_up(record for record in of_fit if record.stage == "train" and not record.cached).flops
    exact = fitted.get("exact_flops") if fitted.get("head") == "probe" else None
    if exact is not None:
        would = f"{flop(exact)}{_of_training(exact, trained)}"
        said += f" Exact scoring would have cost {would}, and scoring by it, with its fit, cost {flop(scored)}."
    elif scored:
        said += f" Scoring cost {flop(scored)}{_of_training(scored, trained)}."
    return said


def _fits_probe(record: CostRecord) -> bool:
    return record.stage == "tune_scorer" and (record.work or "").startswith("probe-")


def _of_training(flops: float, training: float | None) -> str:
    return f" ({share(flops / training)} of the training)" if training else ""


def energy(run: RunData) -> Markup | None:
    """Joules that were measured, of all that this run spent; None where none were."""
    measured = [record for record in run.records if record.energy_j is not None and not record.cached]
    if not measured:
        return None
    stages = ", ".join(dict.fromkeys(STAGE_NAMES[record.stage].lower() for record in measured))
    sources = "; ".join(sorted({record.energy_source for record in measured}))
    joules = element(sum(record.energy_j or 0.0 for record in measured), lambda value: si(value, "J"))
    return Markup("Energy of {}: {} ({}).").format(stages, joules, sources)
