"""Compute the saving of a run from the records of its ledger; `selectune.costs.saving` has the definition."""

from __future__ import annotations

from collections.abc import Iterable

from selectune.costs.record import TRAINING, CostRecord, Part, add_up
from selectune.costs.saving import DEFINITIONS, SELECTION, UNITS, Saving, Terms, Unit
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
    """The saving of a run's selection.

    Args:
        records: the whole ledger of a run, all ranks and attempts.
        kept_rows: rows of an epoch of training.
        pool_rows: rows that were selected from.
        kept_tokens: tokens of the kept rows, over 0.
        pool_tokens: tokens of the pool, counted alike; training on it costs ``pool_tokens / kept_tokens`` as much.
        epochs: that were trained. Of a ledger of an earlier version, which does not say what was repeated after an
            interruption, training beyond so many epochs is taken to be that.
        part: ``fit`` (EUDS), or ``warm_up`` (GOT-D): texts that were selected to warm up on, against the whole pool.
    """
    costs = split_costs(records, None if epochs is None else {part: epochs * kept_rows})
    larger = None if kept_rows == pool_rows else pool_tokens / kept_tokens
    flops, device_s = (_terms(costs, unit, larger, part) for unit in UNITS)
    return Saving(flops, device_s, kept_rows, pool_rows, kept_tokens, pool_tokens, epochs, DEFINITIONS[part], part=part)


def _terms(costs: SplitCosts, unit: Unit, larger: float | None, part: Part) -> Terms:
    """The terms in one unit; `larger` is training on everything over this run's training, None when they are one."""

    def cost(records: list[CostRecord]) -> float | None:
        total: float | None = getattr(add_up(records), unit)
        return total

    mine = [record for record in costs.kept if record.part == part]
    selecting = [record for record in mine if record.stage in SELECTION]
    trained = [record for record in mine if record.stage == TRAINING[part] and not record.cached]
    start_up = [record for record in mine if record.stage == "prepare"]
    if part == "fit":
        start_up += [record for record in costs.kept if record.part == "warm_up" or record.stage == "warm_up"]
    selection, training = cost(selecting), cost(trained) if trained else None
    full = training if training is None or larger is None else training * larger
    saving = uses = None
    if full and selection is not None and training is not None:
        saving = 1 - (selection + training) / full
        uses = selection / (full - training) if full > training else None
    return Terms(
        **{stage: cost([record for record in selecting if record.stage == stage]) for stage in SELECTION},
        selection=selection,
        selection_avoided=cost([record for record in selecting if record.cached]),
        training=training,
        full_training=full,
        full_is_estimated=larger is not None and full is not None,
        shared=cost(start_up),
        evaluation=cost([record for record in mine if record.stage == "evaluate"]),
        saving=saving,
        break_even_uses=uses,
        redone=cost([record for record in costs.redone if part in ("fit", record.part)]),
    )
