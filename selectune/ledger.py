"""The cost ledger: one line of ``cost.jsonl`` a stage and process, and nothing that burnt power left out.

    ledger = Ledger(run / "cost.jsonl", rank=0, world_size=1, device="cpu", attempt=1)
    with ledger.stage("score") as cost:
        for batch in batches:
            cost.add(examples=8, tokens=400, padded_tokens=512, flops=flops.of_batch(8, 64), method=flops.method)
    totals(read_ledger(run / "cost.jsonl")).spent["score"].device_s

An open stage leaves a heartbeat in ``.open_costs/``. What a killed attempt leaves there becomes a record of its own
(`collect_open`), at most ten seconds short.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import resource
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from selectune.costs import STAGES, CostRecord, Part, Stage, Total, Totals, add_up, code_version, distinct, totals
from selectune.errors import UserError
from selectune.paths import write_json

__all__ = [
    "CostRecord",
    "Ledger",
    "LedgerError",
    "StageCost",
    "Total",
    "Totals",
    "add_up",
    "append",
    "code_version",
    "collect_open",
    "distinct",
    "next_attempt",
    "read_ledger",
    "totals",
]

HEARTBEAT_S = 10.0
OPEN = ".open_costs"
NO_METER = "not measured: this version reads no energy meter"


class LedgerError(UserError):
    """A ledger that cannot be read."""


class Ledger:
    """Where this process's costs go.

    Args:
        path: ``cost.jsonl`` of the run, which all ranks append to; None keeps records in memory alone.
        rank: of this process.
        world_size: number of processes.
        device: that this process holds.
        attempt: which attempt at the run, from 1; rank 0 knows it from `next_attempt`.
    """

    def __init__(
        self, path: Path | None = None, rank: int = 0, world_size: int = 1, device: str = "cpu", attempt: int = 1
    ) -> None:
        self.path, self.rank, self.world_size = path, rank, world_size
        self.device, self.attempt = device, attempt
        self.records: list[CostRecord] = []

    @contextlib.contextmanager
    def stage(self, stage: Stage, part: Part = "fit") -> Iterator[StageCost]:
        """Time a stage; an error inside it still leaves a record, with ``finished=False``."""
        cost = self.open(stage, part)
        try:
            yield cost
        except BaseException:
            cost.close(finished=False)
            raise
        cost.close()

    def open(self, stage: Stage, part: Part = "fit") -> StageCost:
        """Begin a stage that `StageCost.close` ends."""
        return StageCost(self, stage, part)

    def avoided(self, record: CostRecord, part: Part | None = None) -> CostRecord:
        """Add the cost of a result that was there already; let one rank do it for each of the stored records.

        Args:
            record: what the result cost when it was made. Its start and rank stay, so that it is known again.
            part: whose data it serves now, when that differs.
        """
        return self._add(replace(record, cached=True, attempt=self.attempt, part=part or record.part))

    def _add(self, record: CostRecord) -> CostRecord:
        if self.path is not None:
            append(self.path, [record])
        self.records.append(record)
        return record


class StageCost:
    """An open stage of a ledger: its clock runs from the start, `add` counts work, `close` writes the record."""

    def __init__(self, ledger: Ledger, stage: Stage, part: Part) -> None:
        _check_stage(stage)
        self.ledger, self.part = ledger, part
        self.stage: Stage = stage
        self.examples = self.tokens = self.padded_tokens = 0
        self._flops: int | float | None = None
        self._methods: list[str] = []
        self._record: CostRecord | None = None
        self._started_at = datetime.now(UTC).isoformat(timespec="microseconds")
        self._file = self._sidecar()
        self._beat = -math.inf
        self._seconds = 0.0
        self._since: float | None = None
        self.heartbeat()  # at once, so that a kill within the first seconds leaves a trace too
        self.resume()

    def add(
        self,
        examples: int = 0,
        tokens: int = 0,
        padded_tokens: int = 0,
        flops: int | float | None = 0,
        method: str = "",
    ) -> None:
        """Count work that was done.

        A stage that is never told any `flops` or a `method` has unknown FLOPs; one that does no arithmetic says so with
        ``add(method="no arithmetic")``. Unknown FLOPs (None) make the whole stage's unknown.
        """
        self.examples += int(examples)
        self.tokens += int(tokens)
        self.padded_tokens += int(padded_tokens)
        if flops is None or flops or method:
            known = not self._methods or self._flops is not None
            self._flops = (self._flops or 0) + flops if known and flops is not None else None
            if (method := method or "method not named") not in self._methods:
                self._methods.append(method)
        self.heartbeat()

    def pause(self) -> None:
        """Stop the clock; on a clock that stands it does nothing."""
        if self._since is not None:
            _finish_kernels()
            self._seconds += time.perf_counter() - self._since
            self._since = None
            self._beat = -math.inf  # what was done until a checkpoint that follows must not be lost with a kill
            self.heartbeat()

    def resume(self) -> None:
        """Let the clock run on."""
        if self._since is None and self._record is None:
            _finish_kernels()
            self._since = time.perf_counter()

    def move_to(self, stage: Stage) -> None:
        """Charge another stage, where only the work has shown which one it was; until `close`."""
        _check_stage(stage)
        before, self.stage = self._file, stage
        self._file, self._beat = self._sidecar(), -math.inf
        self.heartbeat()
        if before is not None and before != self._file:
            before.unlink(missing_ok=True)

    def heartbeat(self) -> None:
        """Note what was spent so far, where `collect_open` finds it; at most every ten seconds, so call it freely."""
        now = time.perf_counter()
        if self._file is not None and self._record is None and now - self._beat >= HEARTBEAT_S:
            write_json(self._file, self._as_record(finished=False).to_json())
            self._beat = now

    def close(self, finished: bool = True) -> CostRecord:
        """End the stage and write its record, once."""
        if self._record is None:
            self.pause()
            self._record = self.ledger._add(self._as_record(finished))
            if self._file is not None:
                self._file.unlink(missing_ok=True)
        return self._record

    @property
    def seconds(self) -> float:
        """On the clock so far."""
        return self._seconds + (0.0 if self._since is None else time.perf_counter() - self._since)

    def so_far(self) -> CostRecord:
        """What was spent until now, as the record of a stage that is not finished."""
        return self._as_record(finished=False)

    def _sidecar(self) -> Path | None:
        """Where the heartbeat lies."""
        ledger = self.ledger
        name = f"{ledger.attempt}-{ledger.rank}-{self.part}-{self.stage}.json"
        return ledger.path.parent / OPEN / name if ledger.path else None

    def _as_record(self, finished: bool) -> CostRecord:
        seconds = self.seconds
        idle = not self._methods and not self.examples and not finished  # killed before it did anything
        return CostRecord(
            stage=self.stage,
            part=self.part,
            wall_s=seconds,
            device_s=seconds,
            flops=0 if idle else self._flops,
            flops_method="nothing was done" if idle else "; ".join(self._methods) or "not counted",
            energy_j=None,
            energy_source=NO_METER,
            peak_rss_bytes=_peak_rss(),
            peak_cuda_bytes=_peak_cuda(),
            examples=self.examples,
            tokens=self.tokens,
            padded_tokens=self.padded_tokens,
            world_size=self.ledger.world_size,
            rank=self.ledger.rank,
            device=self.ledger.device,
            cached=False,
            attempt=self.ledger.attempt,
            finished=finished,
            commit=code_version(),
            started_at=self._started_at,
        )


def _check_stage(stage: Stage) -> None:
    if stage not in STAGES:
        raise ValueError(f"there is no stage {stage!r}, but {', '.join(STAGES)}")


def append(path: Path, records: Iterable[CostRecord]) -> None:
    """Append records to a ledger that other processes append to as well, each in one write, and wait for the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        _mend_end(file)
        for record in records:
            line = json.dumps(record.to_json(), ensure_ascii=False, allow_nan=False).encode() + b"\n"
            size = os.fstat(file.fileno()).st_size
            if os.write(file.fileno(), line) != len(line):
                os.ftruncate(file.fileno(), size)
                raise OSError(f"no room for a line of {path}")
        os.fsync(file.fileno())


def _mend_end(file: Any) -> None:
    """Take away a torn last line, which its writer cannot end any more, as it holds no lock; its sidecar is there."""
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - 2**16))
    torn = file.read().rpartition(b"\n")[2]
    if torn and _parsed(torn) is None:
        os.ftruncate(file.fileno(), end - len(torn))
    elif torn:
        os.write(file.fileno(), b"\n")


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
            raise LedgerError(
                f"Line {number} of the ledger {path} is damaged: {error}; mend it, or take it out and lose its cost."
            ) from None
    return records


def next_attempt(run_dir: Path) -> int:
    """One more than the attempts that left anything in a run's ledger; for rank 0, before other ranks start."""
    path = run_dir / "cost.jsonl"
    known = [record.attempt for record in read_ledger(path)] if path.exists() else []
    known += [int(number) for file in (run_dir / OPEN).glob("*.json") if (number := file.name.split("-")[0]).isdigit()]
    return max(known, default=0) + 1


def collect_open(run_dir: Path, before_attempt: int | None = None) -> list[CostRecord]:
    """Turn what killed attempts left open into records with ``finished=False``; for rank 0 of the next attempt.

    Args:
        run_dir: of the run.
        before_attempt: leave out what this and later attempts hold open; None collects everything.
    """
    path, collected = run_dir / "cost.jsonl", []
    known = {record.identity for record in read_ledger(path)} if path.exists() else set()
    for file in sorted((run_dir / OPEN).glob("*.json")):
        record = _parsed(file.read_bytes())
        if record is None:
            warnings.warn(f"{file} is damaged, so what its stage spent is not in the ledger.", stacklevel=2)
        elif before_attempt is None or record.attempt < before_attempt:
            if record.identity not in known:  # else the kill came between the record and the end of its sidecar
                append(path, [record])
                collected.append(record)
            file.unlink()
    return collected


def _finish_kernels() -> None:
    """CUDA runs behind the program: wait, so that the clock sees its work. torch is not imported for this."""
    if (torch := sys.modules.get("torch")) and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _peak_cuda() -> int | None:
    if (torch := sys.modules.get("torch")) and torch.cuda.is_available() and torch.cuda.is_initialized():
        return int(torch.cuda.max_memory_allocated())
    return None


def _peak_rss() -> int:
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts KiB on Linux and bytes on macOS
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
