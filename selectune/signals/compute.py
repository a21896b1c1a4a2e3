"""Bring the signals of a pool into the store: forward ones by one pass of each network, the others on rank 0.

definitions = compute_signals(["generative_entropy"], rows, scoring, trainer_for, ledger, part="fit")
signals = read_signals(definitions, rows)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any

from selectune.common.files import default_cache
from selectune.common.ranks import on_rank_zero
from selectune.costs.ledger import Ledger, read_ledger
from selectune.costs.record import BESIDE, CostRecord, Part
from selectune.costs.waiting import alone
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
    """Bring signals into the store, on all ranks; those that are stored already are charged as avoided cost.

    Returns:
        Their definitions, with those that they are derived from.
    """
    wanted = [scoring.define(name, rows.pool) for name in scoring.with_sources(names)]
    if not wanted:
        return []
    store = SignalStore(default_cache())
    # A pass that computes other signals too gives embeddings at no extra cost. So that a selection costs the same
    # whether or not its embeddings are cached, and whichever pass computed them, they are charged nothing where one of
    # the passes needed here would compute them too, and otherwise the encoder's part of a pass.
    passes = networks_of([one for one in wanted if one.kind == "forward"], scoring)
    shared = [each for each in passes if len(each) > 1 and any(one.name == "embedding" for one in each)]
    free = {one.key for each in shared for one in each if one.name == "embedding"}
    # Rank 0 holds the passes for all ranks, so that another run that wants the same signals waits for them.
    with held_by_rank_zero(store.lock(rows.pool.fingerprint, scoring.weights_hash)):
        missing = on_rank_zero(lambda: {one.key for one in wanted if not store.has(one)})
        # remove what a process that was killed after storing the last signal of a pass left of its shards
        on_rank_zero(lambda: store.sweep(one for one in wanted if one.kind != "text"))
        # where embeddings are computed again now, of the stored signals of their pass only the rest was avoided
        again = [each for each in shared if any(one.key in free & missing for one in each)]
        rest_of = {one.key for each in again for one in each} - missing

        def charge(stored: list[Definition]) -> None:
            on_rank_zero(lambda: _charge_stored(ledger, store, stored, part, rest_of))

        charge([one for one in wanted if one.key not in missing | free])
        for todo in networks_of([one for one in wanted if one.kind == "forward" and one.key in missing], scoring):
            probe, notes, costs = find_probe(todo, rows, scoring, store, ledger, part)
            forward_pass(todo, rows, scoring, store, trainer_for, ledger, part, probe, notes, costs)
            # shards that an earlier, killed run wrote are charged as avoided; embeddings only where they are alone
            charge([one for one in todo if one.key not in free] or todo)

        for one in [one for kind in ("text", "derived") for one in wanted if one.kind == kind and one.key in missing]:
            solved = partial(solve, one, wanted, rows, scoring, store, ledger, part)
            alone(solved, ledger, "solve", part, f"{one.name}-{one.key}")
    return wanted


def read_signals(definitions: Iterable[Definition], rows: Rows) -> Signals:
    """The signals of a pool as a selector reads them: the stored ones, and those that every pool has."""
    store = SignalStore(default_cache())
    arrays = {definition.name: store.read(definition) for definition in definitions}
    return Signals(arrays | rows.always, rows.row_ids)


def read_notes(definitions: Iterable[Definition]) -> dict[str, Any]:
    """Notes stored with signals as they were computed, by name; most signals have none."""
    store = SignalStore(default_cache())
    return {definition.name: notes for definition in definitions if (notes := store.meta(definition)["notes"])}


def recorded(ledger: Ledger) -> list[CostRecord]:
    """The records of this run so far, in all attempts and on all ranks."""
    return read_ledger(ledger.path) if ledger.path is not None and ledger.path.exists() else ledger.records


def charge_avoided(ledger: Ledger, costs: Iterable[dict[str, Any]], part: Part) -> None:
    """Record what a result cost when it was made as avoided, unless this run made it in an earlier attempt.

    What a diagnosis or a pilot in this run's folder made is avoided by a fit there as another run's is, so that a
    selection costs as much after it as without it; they count each other's work once.
    """
    beside = () if part in BESIDE else BESIDE
    mine = [record for record in recorded(ledger) if record.part == part or record.part not in beside]
    spent = {record.identity for record in mine if not record.cached}
    for record in map(CostRecord.from_json, costs):
        if record.identity not in spent:
            ledger.avoided(record, part)


def _charge_stored(ledger: Ledger, store: SignalStore, stored: list[Definition], part: Part, rest_of: set[str]) -> None:
    """Charge each pass of some signals once; of those in `rest_of`, the rest beside the encoder's part."""
    charged = set()
    for definition in stored:
        meta = store.meta(definition)
        if meta["pass"] not in charged:
            costs = meta["costs"]
            if definition.key in rest_of:
                costs = [part_of_cost(cost, None if cost.get(SHARE) is None else 1 - cost[SHARE]) for cost in costs]
            charge_avoided(ledger, costs, part)
        charged.add(meta["pass"])


@contextmanager
def held_by_rank_zero(lock: AbstractContextManager[None]) -> Iterator[None]:
    """Let rank 0 hold a lock for all ranks; an error of it is raised on all of them."""
    with ExitStack() as stack:
        on_rank_zero(lambda: stack.enter_context(lock))
        yield
