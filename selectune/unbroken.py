"""What a finished run would have cost without its interruptions.

Its ledger charges every attempt, as all of it was spent. A method's cost, which is compared with another's, must not
depend on when somebody pressed Ctrl-C.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from selectune.costs import CostRecord, Part, Stage, distinct
from selectune.ledger import read_ledger
from selectune.paths import read_mapping
from selectune.savings import TRAINING, Saving

DAMAGED = "run again into a new folder"
REDONE: tuple[Stage, ...] = ("tune_scorer", "solve", "select")  # whole; scoring goes on where it was


def unbroken(run: Path) -> list[CostRecord]:
    """The records of a finished run, each cost once, without work that was done again.

    Of a stage that was done again whole, the last attempt counts. Training that was interrupted, whose rows are seen
    again from its last checkpoint on, is scaled down to the rows of its epochs.

    Args:
        run: its directory, with ``cost.jsonl``, ``saving.json`` and ``config.yaml``.

    Raises:
        UserError: one of them is damaged.
    """
    saving = Saving.read(run)
    records = _once(distinct(read_ledger(run / "cost.jsonl")))
    expected = {"fit": _rows_seen(saving.kept_rows, saving.epochs), "warm_up": _warmed_up_on(run)}
    return [
        scaled
        for part in expected
        for scaled in _scaled([record for record in records if record.part == part], part, expected[part])  # type: ignore[arg-type]
    ]


def _once(records: list[CostRecord]) -> list[CostRecord]:
    """Without what a later attempt did again, and what came to nothing."""
    last: dict[tuple[Any, ...], int] = {}
    for record in records:
        last[_work(record)] = max(record.attempt, last.get(_work(record), 0))

    def counts(record: CostRecord) -> bool:
        if record.cached:
            return True
        if record.stage == "select" and record.tokens:  # a proxy's training, which is stored and not done again
            return record.finished
        if record.stage in REDONE:
            return record.finished and record.attempt == last[_work(record)]
        return record.finished or record.stage != "score" or record.examples > 0

    return [record for record in records if counts(record)]


def _work(record: CostRecord) -> tuple[Any, ...]:
    return record.stage, record.part, record.rank, record.examples, record.flops, record.flops_method


def _scaled(records: list[CostRecord], part: Part, expected: float | None) -> list[CostRecord]:
    """The same with as many rows trained on as expected."""
    training = [record for record in records if record.stage == TRAINING[part] and not record.cached]
    seen = sum(record.examples for record in training)
    if not expected or seen <= expected or all(record.finished for record in training):
        return records
    return [_times(record, expected / seen) if record in training else record for record in records]


def _times(record: CostRecord, share: float) -> CostRecord:
    counts = {name: round(getattr(record, name) * share) for name in ("examples", "tokens", "padded_tokens")}
    return replace(record.times(share), **counts)


def _rows_seen(rows: int, epochs: float | None) -> float | None:
    return None if epochs is None else rows * epochs


def _warmed_up_on(run: Path) -> float | None:
    """Rows that a warm-up saw, where they were chosen and it went for whole epochs; else unknown."""
    manifest, config = run / "warm_up" / "selection" / "manifest.json", run / "config.yaml"
    if not manifest.is_file() or not config.is_file():
        return None
    asked = read_mapping(config, DAMAGED).get("warm_up") or {}
    if asked.get("max_steps", -1) != -1:
        return None
    return _rows_seen(read_mapping(manifest, DAMAGED, "n_rows")["n_rows"], asked.get("max_epochs", 1))
