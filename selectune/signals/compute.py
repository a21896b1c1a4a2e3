"""Bring the signals of a pool into the store: forward ones by one pass of each network, the others on rank 0.

definitions = compute_signals(["generative_entropy"], rows, scoring, trainer_for, ledger, part="fit")
signals = read_signals(definitions, rows)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from selectune.common.files import default_cache
from selectune.common.ranks import on_rank_zero
from selectune.costs.ledger import Ledger, read_ledger
from selectune.costs.record import CostRecord, Part
from selectune.selectors.base import Signals
from selectune.signals.definitions import Rows, ScoringModel
from selectune.signals.derived import solve
from selectune.signals.forward import TrainerFor, forward_pass, networks_of
from selectune.signals.probe import find_probe
from selectune.signals.store import SHARE, Definition, SignalStore, part_of_cost


def compute_signals(
    names: Iterable[str],
    rows: Rows,
    scoring: ScoringModel,
    trainer_for: TrainerFor,
    ledger: Ledger,
    part: Part,
) -> list[Definition]:
    """Bring signals into the store, on all ranks; those that are there already are shown as avoided cost.

    Returns:
        Their definitions, with those that they are derived from.
    """
    wanted = [scoring.define(name, rows.pool) for name in scoring.with_sources(names)]
    if not wanted:
        return []
    store = SignalStore(default_cache())
    shared = _shared_passes(wanted, scoring)
    free = {definition.key for each in shared for definition in each if definition.name == "embedding"}
    with _held_by_rank_zero(store, rows.pool.fingerprint, scoring.weights_hash):
        missing = on_rank_zero(lambda: {definition.key for definition in wanted if not store.has(definition)})
        # what a kill left between the last signal of a pass and the end of its shards
        on_rank_zero(lambda: store.sweep(definition for definition in wanted if definition.kind != "text"))
        # where the encoder's part of a pass is done again now, the rest of it is what was spared
        again = [each for each in shared if any(one.key in free & missing for one in each)]
        rest_of = {definition.key for each in again for definition in each} - missing

        def charge(definitions: list[Definition]) -> None:
            on_rank_zero(lambda: _charge_stored(ledger, store, definitions, part, rest_of))

        charge([definition for definition in wanted if definition.key not in missing | free])
        todo = [definition for definition in wanted if definition.kind == "forward" and definition.key in missing]
        for definitions in networks_of(todo, scoring):
            probe, notes, costs = find_probe(definitions, rows, scoring, store, ledger, part)
            forward_pass(definitions, rows, scoring, store, trainer_for, ledger, part, probe, notes, costs)
            # shards of a run that was killed are not free; an embedding is, but beside what was made with it
            charge([definition for definition in definitions if definition.key not in free] or definitions)

        def solve_the_rest() -> None:
            for kind in ("text", "derived"):
                for definition in wanted:
                    if definition.kind == kind and definition.key in missing:
                        solve(definition, wanted, rows, scoring, store, ledger, part)

        on_rank_zero(solve_the_rest)
    return wanted


def read_signals(definitions: Iterable[Definition], rows: Rows) -> Signals:
    """What a selector sees of a pool: the stored signals, the number of tokens and the hash of each text."""
    store = SignalStore(default_cache())
    arrays = {definition.name: store.read(definition) for definition in definitions}
    return Signals(arrays | rows.always, rows.row_ids)


def read_notes(definitions: Iterable[Definition]) -> dict[str, Any]:
    """What was noted when signals were computed, by name; nothing for most."""
    store = SignalStore(default_cache())
    return {definition.name: notes for definition in definitions if (notes := store.notes(definition))}


def recorded(ledger: Ledger) -> list[CostRecord]:
    """The records of this run so far, in all attempts and on all ranks."""
    there = ledger.path is not None and ledger.path.exists()
    return read_ledger(ledger.path) if there else ledger.records  # type: ignore[arg-type]


def spent(ledger: Ledger) -> list[CostRecord]:
    """Those of them that are no cost avoided."""
    return [record for record in recorded(ledger) if not record.cached]


def charge_avoided(ledger: Ledger, costs: Iterable[dict[str, Any]], part: Part) -> None:
    """Show what a result cost when it was made, unless this run made it in an earlier attempt."""
    known = {record.identity for record in spent(ledger)}
    for content in costs:
        record = CostRecord.from_json(content)
        if record.identity not in known:
            ledger.avoided(record, part)


def _shared_passes(wanted: list[Definition], scoring: ScoringModel) -> list[list[Definition]]:
    """Passes that make embeddings beside other signals, at no cost of their own.

    So that a selection is charged alike whether or not its embeddings lie in the cache, and whatever pass made them:
    nothing where a pass that is wanted makes them too, and else the encoder's part of a pass.
    """
    passes = networks_of([definition for definition in wanted if definition.kind == "forward"], scoring)
    return [each for each in passes if len(each) > 1 and any(definition.name == "embedding" for definition in each)]


def _charge_stored(
    ledger: Ledger, store: SignalStore, present: list[Definition], part: Part, rest_of: set[str]
) -> None:
    seen = set()
    for definition in present:
        made_by, costs = store.costs(definition)
        if made_by not in seen:
            if definition.key in rest_of:
                costs = [part_of_cost(cost, None if cost.get(SHARE) is None else 1 - cost[SHARE]) for cost in costs]
            charge_avoided(ledger, costs, part)
        seen.add(made_by)


@contextmanager
def _held_by_rank_zero(store: SignalStore, pool: str, model: str) -> Iterator[None]:
    """Rank 0 holds the passes for all ranks, so that another run that wants the same signals waits for them."""
    with ExitStack() as stack:
        on_rank_zero(lambda: stack.enter_context(store.lock(pool, model)))
        yield
