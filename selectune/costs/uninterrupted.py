"""Costs of a run as if it had never been interrupted, and what was spent beside them on work that was done again.

The ledger charges every attempt, as all of it was spent. A saving, and a method's cost that is compared with another's,
must not depend on when a run was interrupted: they are computed from the uninterrupted costs.

- Work that goes on where it stopped (training, from its last checkpoint; scoring, from the shards on disk) names in
  each attempt what the earlier ones had spent by then (`CostRecord.kept`). What they spent after that is done again.
- Other work (`CostRecord.work`) is done again whole, unless its result was stored: the first attempt that finished it
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
from selectune.costs.ledger import read_ledger
from selectune.costs.record import AGAIN, CostRecord, Kept, Part, Stage, distinct
from selectune.costs.saving import TRAINING, Saving

DAMAGED = "run again into a new folder"
WHOLE: tuple[Stage, ...] = ("tune_scorer", "solve", "select")  # in old ledgers; scoring goes on where it was
FIGURES = ("wall_s", "device_s", "flops", "energy_j", "examples", "tokens", "padded_tokens")


@dataclass(frozen=True)
class SplitCosts:
    """The records of a ledger in two parts, which add up to it.

    Args:
        kept: what the run would have cost without its interruptions, avoided costs included.
        redone: what was spent on work that had to be done again, or that came to nothing.
    """

    kept: list[CostRecord]
    redone: list[CostRecord]


def split_costs(records: Iterable[CostRecord], rows_seen: Mapping[Part, float] | None = None) -> SplitCosts:
    """Tell what an uninterrupted run would have spent from what was done again.

    Args:
        records: of a ledger, all ranks and attempts.
        rows_seen: rows that each part trained on, over all epochs, where they are known; for ledgers of earlier
            versions, which do not say what was done again.
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
    again = [_beyond(record, counted.get(record.identity)) for record in known]
    return SplitCosts(
        kept=[counted[record.identity] for record in known if record.identity in counted],
        redone=[record for record in again if record is not None],
    )


def unbroken(run: Path) -> list[CostRecord]:
    """The records of a finished run, each cost once, without work that was done again.

    Args:
        run: its directory, with ``cost.jsonl``, ``saving.json`` and ``config.yaml``.

    Raises:
        UserError: one of them is damaged.
    """
    return split_costs(read_ledger(RunFiles(run).costs), rows_seen(run, Saving.read(run))).kept


def rows_seen(run: Path, saving: Saving | None) -> dict[Part, float]:
    """Rows that each part of a run trained on, over all its epochs, where they are known.

    Args:
        run: its directory.
        saving: as its ``saving.json`` has it.
    """
    found: dict[Part, float] = {}
    if saving is not None and saving.epochs is not None:
        found["fit"] = saving.kept_rows * saving.epochs
    manifest, config = RunFiles(run).warm_up.manifest, RunFiles(run).config
    if manifest.is_file() and config.is_file():
        asked = read_mapping(config, DAMAGED).get("warm_up") or {}
        if asked.get("max_steps", -1) == -1:  # else it may have ended within an epoch
            found["warm_up"] = read_mapping(manifest, DAMAGED, "n_rows")["n_rows"] * asked.get("max_epochs", 1)
    return found


def _done_once(group: list[CostRecord]) -> list[CostRecord]:
    """The records of one work, all ranks and attempts, as they would be had it been done in one go."""
    attempts = sorted({record.attempt for record in group})
    latest = [record for record in group if record.attempt == attempts[-1]]
    gone_on_from = next((record.kept for record in latest if record.kept is not None), None)
    if gone_on_from is None:
        by_attempt = {each: [record for record in group if record.attempt == each] for each in attempts}
        whole = (some for some in by_attempt.values() if all(record.finished for record in some))
        return next(whole, latest)
    kept = {(each.started_at, each.rank): each for each in gone_on_from}
    earlier = [record for record in group if record.attempt < attempts[-1]]
    went_on = [_until(record, kept[key]) for record in earlier if (key := (record.started_at, record.rank)) in kept]
    return went_on + latest


def _until(record: CostRecord, kept: Kept) -> CostRecord:
    """A record up to the moment at which its results were kept; whole where it ended without working on."""
    if record.finished and (record.examples, record.padded_tokens) == (kept.examples, kept.padded_tokens):
        return record
    return replace(record, **{name: getattr(kept, name) for name in FIGURES})


def _beyond(record: CostRecord, part: CostRecord | None) -> CostRecord | None:
    """What a record has beyond a part of it; None where that is all of it."""
    if part is None or part == record:
        return record if part is None else None
    rest: dict[str, Any] = {}
    for name in FIGURES:
        whole, mine = getattr(record, name), getattr(part, name)
        rest[name] = None if whole is None or mine is None else max(whole - mine, 0)
    return replace(record, **rest)


def _trains(record: CostRecord) -> bool:
    return record.stage == TRAINING[record.part]


# Ledgers of earlier versions.


def _of_old_ledger(records: list[CostRecord], rows: Mapping[Part, float]) -> list[CostRecord]:
    """The spent records of an old ledger without what a later attempt did again, by what they have in common."""
    last: dict[tuple[Any, ...], int] = {}
    for record in records:
        last[_alike(record)] = max(record.attempt, last.get(_alike(record), 0))

    def counts(record: CostRecord) -> bool:
        if record.stage == "select" and record.tokens:  # a proxy's training, which is stored and not done again
            return record.finished
        if record.stage in WHOLE:
            return record.finished and record.attempt == last[_alike(record)]
        return record.finished or record.stage != "score" or record.examples > 0

    left = [record for record in records if counts(record)]
    for part, expected in rows.items():
        training = [record for record in left if _trains(record) and record.part == part]
        seen = sum(record.examples for record in training)
        if expected and seen > expected and not all(record.finished for record in training):
            left = [_times(record, expected / seen) if record in training else record for record in left]
    return left


def _alike(record: CostRecord) -> tuple[Any, ...]:
    return record.stage, record.part, record.rank, record.examples, record.flops, record.flops_method


def _times(record: CostRecord, share: float) -> CostRecord:
    counts = {name: round(getattr(record, name) * share) for name in ("examples", "tokens", "padded_tokens")}
    return replace(record.times(share), **counts)
