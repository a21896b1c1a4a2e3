"""Costs of a run as if it had never been interrupted, and apart from them those of work that was repeated.

The ledger records every attempt. A saving, and a cost that is compared with another run's, must not depend on when a
run was interrupted: they are computed from the uninterrupted costs.

- Work that goes on where it stopped (training, from its last checkpoint; scoring, from the shards on disk) names in
  each attempt the costs of the earlier ones up to there (`CostRecord.kept`). Work after that is repeated.
- Other work (`CostRecord.work`) is repeated whole, unless its result was stored: the first attempt that finished it
  counts.
- Ledgers of earlier versions hold neither. There the last attempt at a stage counts, and training is scaled down to the
  rows of its epochs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from selectune.common.files import read_mapping
from selectune.common.run_files import RunFiles
from selectune.costs.ledger_file import read_ledger
from selectune.costs.record import AGAIN, QUANTITIES, TRAINING, CostRecord, Part, Stage, distinct
from selectune.costs.saving import Saving

DAMAGED = "run again into a new folder"
REPEATED_WHOLE: tuple[Stage, ...] = ("tune_scorer", "solve", "select")  # in old ledgers; scoring goes on where it was


@dataclass(frozen=True)
class SplitCosts:
    """The records of a ledger in two parts, which add up to it."""

    kept: list[CostRecord]  # of the run without its interruptions, avoided costs included
    redone: list[CostRecord]  # of work that was repeated, or that came to nothing


def split_costs(records: Iterable[CostRecord], rows_seen: Mapping[Part, float] | None = None) -> SplitCosts:
    """Split a ledger into the costs of an uninterrupted run and those of repeated work.

    Args:
        records: of a ledger, all ranks and attempts.
        rows_seen: rows that each part trained on, over all epochs, where they are known; for ledgers of earlier
            versions, which do not say what was repeated.
    """
    known = distinct(records)
    spent = [record for record in known if not record.cached]
    # A training that went on from a checkpoint of an earlier version does not know what it goes on from.
    vague = {record.part for record in spent if _trains(record) and record.kept is None}
    old = [record for record in spent if record.work is None or (_trains(record) and record.part in vague)]
    of_earlier_version = {record.identity for record in old}
    works: dict[tuple[Part, str], list[CostRecord]] = {}
    for record in spent:
        work = "" if record.identity in of_earlier_version else record.work or ""
        if work and not work.endswith(AGAIN):
            works.setdefault((record.part, work), []).append(record)
    counted = {record.identity: record for record in known if record.cached or record.work == ""}
    counted |= {record.identity: record for group in works.values() for record in _done_once(group)}
    counted |= {record.identity: record for record in _of_old_ledger(old, rows_seen or {})}
    rest = [_beyond(record, counted.get(record.identity)) for record in known]
    return SplitCosts(
        kept=[counted[record.identity] for record in known if record.identity in counted],
        redone=[record for record in rest if record is not None],
    )


def uninterrupted(run: Path) -> list[CostRecord]:
    """The records of a finished run, each cost once, without repeated work.

    Raises:
        UserError: ``cost.jsonl``, ``saving.json`` or ``config.yaml`` is damaged.
    """
    files, rows = RunFiles(run), dict[Part, float]()  # rows that each part trained on, over all its epochs
    records, saving = read_ledger(files.costs), Saving.read(run)
    if saving.epochs is not None:
        rows["fit"] = saving.kept_rows * saving.epochs
    if files.warm_up.manifest.is_file() and files.config.is_file():
        asked = read_mapping(files.config, DAMAGED).get("warm_up") or {}
        if asked.get("max_steps", -1) == -1:  # else it may have ended within an epoch
            n_rows = read_mapping(files.warm_up.manifest, DAMAGED, "n_rows")["n_rows"]
            rows["warm_up"] = n_rows * asked.get("max_epochs", 1)
    return split_costs(records, rows).kept


def _done_once(group: list[CostRecord]) -> list[CostRecord]:
    """The records of one work, all ranks and attempts, as they would be had it been done in one go."""
    attempts: dict[int, list[CostRecord]] = {}
    for record in sorted(group, key=lambda record: record.attempt):
        attempts.setdefault(record.attempt, []).append(record)
    *earlier, latest = attempts.values()
    gone_on_from = next((record.kept for record in latest if record.kept is not None), None)
    if gone_on_from is None:
        return next((some for some in attempts.values() if all(record.finished for record in some)), latest)
    stored = {(each.started_at, each.rank): each for each in gone_on_from}
    went_on = []
    for record in (record for some in earlier for record in some):
        if (kept := stored.get((record.started_at, record.rank))) is None:
            continue
        # Whole where it ended without working on, and else up to the moment at which its results were stored.
        whole = record.finished and (record.examples, record.padded_tokens) == (kept.examples, kept.padded_tokens)
        went_on.append(record if whole else replace(record, **{name: getattr(kept, name) for name in QUANTITIES}))
    return went_on + latest


def _beyond(record: CostRecord, part: CostRecord | None) -> CostRecord | None:
    """The costs of a record beyond a part of it; None where that is all of it."""
    if part is None or part == record:
        return record if part is None else None
    rest: dict[str, Any] = {}
    for name in QUANTITIES:
        whole, mine = getattr(record, name), getattr(part, name)
        rest[name] = None if whole is None or mine is None else max(whole - mine, 0)
    return replace(record, **rest)


def _trains(record: CostRecord) -> bool:
    return record.stage == TRAINING.get(record.part)


def _of_old_ledger(records: list[CostRecord], rows: Mapping[Part, float]) -> list[CostRecord]:
    """The spent records of a ledger of an earlier version, without those that a later attempt repeated."""

    def alike(record: CostRecord) -> tuple[Any, ...]:
        return record.stage, record.part, record.rank, record.examples, record.flops, record.flops_method

    last = {alike(record): record.attempt for record in sorted(records, key=lambda record: record.attempt)}

    def counts(record: CostRecord) -> bool:
        if record.stage == "select" and record.tokens:  # a proxy's training, which is stored and not repeated
            return record.finished
        if record.stage in REPEATED_WHOLE:
            return record.finished and record.attempt == last[alike(record)]
        return record.finished or record.stage != "score" or record.examples > 0

    left = [record for record in records if counts(record)]
    for part, expected in rows.items():
        training = [record for record in left if _trains(record) and record.part == part]
        seen = sum(record.examples for record in training)
        if expected and seen > expected and not all(record.finished for record in training):
            left = [_share_of(record, expected / seen) if record in training else record for record in left]
    return left


def _share_of(record: CostRecord, share: float) -> CostRecord:
    counts = {name: round(getattr(record, name) * share) for name in ("examples", "tokens", "padded_tokens")}
    return replace(record.times(share), **counts)
