"""The saving of a run, a pure function of its ledger's records; `selectune.costs.saving` has the definition."""

from __future__ import annotations

from collections.abc import Iterable

from selectune.costs.record import CostRecord, Part, add_up
from selectune.costs.saving import DEFINITIONS, SELECTION, TRAINING, Saving, Terms, Unit
from selectune.costs.uninterrupted import SplitCosts, split_costs


def compute_saving(
    records: Iterable[CostRecord],
    kept_rows: int,
    pool_rows: int,
    kept_tokens: int,
    pool_tokens: int,
    epochs: float | None = None,
    part: Part = "fit",
) -> Saving:
    """What selecting saved; the definition is at the top of `selectune.costs.saving`.

    Args:
        records: the whole ledger of a run, all ranks and attempts.
        kept_rows: rows of an epoch of training.
        pool_rows: rows that were chosen from.
        kept_tokens: tokens of those rows, over 0.
        pool_tokens: tokens of the pool, counted alike; training on it costs ``pool_tokens / kept_tokens`` as much.
        epochs: that were trained. Of a ledger of an earlier version, which does not say what was done again after an
            interruption, training beyond so many epochs is taken to be that.
        part: ``fit`` (EUDS), or ``warm_up`` (GOT-D): what was chosen to warm up on, against warming up on the pool.
    """
    costs = split_costs(records, None if epochs is None else {part: epochs * kept_rows})
    larger = None if kept_rows == pool_rows else pool_tokens / kept_tokens
    return Saving(
        flops=_terms(costs, "flops", larger, part),
        device_s=_terms(costs, "device_s", larger, part),
        kept_rows=kept_rows,
        pool_rows=pool_rows,
        kept_tokens=kept_tokens,
        pool_tokens=pool_tokens,
        epochs=epochs,
        definition=DEFINITIONS[part],
        part=part,
    )


def _is_training(record: CostRecord, part: Part) -> bool:
    return record.part == part and record.stage == TRAINING[part] and not record.cached


def _terms(costs: SplitCosts, unit: Unit, larger: float | None, part: Part) -> Terms:
    """The terms in one unit; `larger` is training on everything over this run's training, None when they are one."""

    def cost(rows: list[CostRecord]) -> float | None:
        found: float | None = getattr(add_up(rows), unit)
        return found

    records = costs.kept
    mine = [record for record in records if record.part == part]
    train = [record for record in mine if _is_training(record, part)]
    selecting = [record for record in mine if record.stage in SELECTION]
    before = [r for r in records if part == "fit" and (r.part == "warm_up" or r.stage == "warm_up")]
    steps = {stage: cost([record for record in selecting if record.stage == stage]) for stage in SELECTION}
    selection, training = cost(selecting), cost(train) if train else None
    full = training if training is None or larger is None else training * larger
    saving = uses = None
    if full and selection is not None and training is not None:
        saving = 1 - (selection + training) / full
        uses = selection / (full - training) if full > training else None
    return Terms(
        **steps,
        selection=selection,
        selection_avoided=cost([record for record in selecting if record.cached]),
        training=training,
        full_training=full,
        full_is_estimated=larger is not None and full is not None,
        shared=cost([r for r in mine if r.stage == "prepare"] + before),
        evaluation=cost([record for record in mine if record.stage == "evaluate"]),
        saving=saving,
        break_even_uses=uses,
        redone=cost([record for record in costs.redone if part in ("fit", record.part)]),
    )
