"""Read and append to ``cost.jsonl``, and collect the heartbeats that killed attempts left beside it."""

from __future__ import annotations

import contextlib
import json
import math
import os
import warnings
from collections.abc import Iterable
from pathlib import Path

from selectune.common.errors import UserError
from selectune.common.locks import take_lock
from selectune.common.run_files import RunFiles
from selectune.costs.record import CostRecord


class LedgerError(UserError):
    """A ledger that cannot be read."""


def append(path: Path, records: Iterable[CostRecord]) -> None:
    """Append records to a ledger that other processes append to as well, each in one write, and wait for the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+", buffering=0) as file:
        take_lock(file, wait_s=math.inf)
        # A torn last line has no writer left, as nobody holds the lock; its costs are in a heartbeat.
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - 2**16))
        torn = file.read().rpartition(b"\n")[2]
        if torn and _parsed(torn) is None:
            os.ftruncate(file.fileno(), end - len(torn))
        elif torn:
            os.write(file.fileno(), b"\n")
        for record in records:
            line = json.dumps(record.to_json(), ensure_ascii=False, allow_nan=False).encode() + b"\n"
            size = os.fstat(file.fileno()).st_size
            if os.write(file.fileno(), line) != len(line):
                os.ftruncate(file.fileno(), size)
                raise OSError(f"no room for a line of {path}")
        os.fsync(file.fileno())


def _parsed(line: bytes) -> CostRecord | None:
    with contextlib.suppress(ValueError):
        return CostRecord.from_json(json.loads(line))
    return None


def read_ledger(path: Path) -> list[CostRecord]:
    """All records of a ledger. A last line that was torn by a kill is left out, with a warning.

    Raises:
        LedgerError: there is no such file, or another line is damaged; the message names the line.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise LedgerError(f"The ledger {path} cannot be read ({error.strerror}); name a run that has one.") from None
    records = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            records.append(CostRecord.from_json(json.loads(line)))
        except ValueError as error:
            if number == len(lines):
                warnings.warn(f"The last line of {path} was torn by a kill and is left out.", stacklevel=2)
                continue
            reason = str(error).rstrip(".")
            raise LedgerError(
                f"Line {number} of the ledger {path} is damaged: {reason}; correct it, or remove it and lose its cost."
            ) from None
    return records


def next_attempt(run_dir: Path) -> int:
    """One more than the attempts that left anything in a run's ledger; for rank 0, before other ranks start."""
    files = RunFiles(run_dir)
    attempts = [record.attempt for record in read_ledger(files.costs)] if files.costs.exists() else []
    numbers = [file.name.split("-")[0] for file in files.open_costs.glob("*.json")]
    return max([*attempts, *(int(number) for number in numbers if number.isdigit())], default=0) + 1


def interrupted(records: Iterable[CostRecord]) -> bool:
    """Whether the last attempt that left any record left one of a stage that it did not finish."""
    spent = [record for record in records if not record.cached]
    last = max((record.attempt for record in spent), default=0)
    return any(not record.finished for record in spent if record.attempt == last)


def collect_open(run_dir: Path, before_attempt: int | None = None) -> list[CostRecord]:
    """Turn the heartbeats of attempts before this one, or of all, into records with ``finished=False``; for rank 0."""
    path, collected = RunFiles(run_dir).costs, []
    known = {record.identity for record in read_ledger(path)} if path.exists() else set()
    for file in sorted(RunFiles(run_dir).open_costs.glob("*.json")):
        record = _parsed(file.read_bytes())
        if record is None:
            warnings.warn(f"{file} is damaged, so what its stage spent is not in the ledger.", stacklevel=2)
        elif before_attempt is None or record.attempt < before_attempt:
            if record.identity not in known:  # else the kill came between the record and the end of its heartbeat
                append(path, [record])
                collected.append(record)
            file.unlink()
    return collected
