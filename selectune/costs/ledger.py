"""The cost ledger: one line of ``cost.jsonl`` a stage and process, failed and killed stages included.

    ledger = Ledger(run / "cost.jsonl", rank=0, world_size=1, device="cpu", attempt=1)
    with ledger.stage("score") as cost:
        for batch in batches:
            cost.add(examples=8, tokens=400, padded_tokens=512, flops=flops.of_batch(8, 64), method=flops.method)
    totals(read_ledger(run / "cost.jsonl")).spent["score"].device_s

An open stage writes a heartbeat to ``.open_costs/``. Those of a killed attempt become records of their own
(`collect_open`), at most ten seconds short.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from selectune.common.files import write_json
from selectune.common.run_files import RunFiles
from selectune.costs.ledger_file import LedgerError, append, collect_open, interrupted, next_attempt, read_ledger
from selectune.costs.meters import EnergyMeter, finish_kernels, peak_cuda, peak_rss
from selectune.costs.record import STAGES, CostRecord, Kept, Part, Stage, Total, add_up, code_version, totals

if TYPE_CHECKING:
    from torch import Tensor  # a ledger is read without torch

__all__ = [
    "Ledger", "LedgerError", "StageCost", "append", "collect_open", "interrupted", "next_attempt", "read_ledger",
    "totals",
]  # fmt: skip

HEARTBEAT_S = 10.0
SHORT_S = 1.0


class Ledger:
    """The costs of this process.

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
        self.resumed = False  # whether this attempt goes on with an interrupted one, and so repeats some work
        self.records: list[CostRecord] = []  # that this process wrote

    def begin_attempt(self) -> None:
        """Count a further attempt at the run, on all ranks; what earlier ones left open becomes records, by rank 0."""
        from selectune.common.ranks import on_rank_zero  # imports torch, which reading a ledger does without

        path = self.path

        def attempt_and_resumed() -> tuple[int, bool]:
            if path is None:
                return max((record.attempt for record in self.records), default=0) + 1, interrupted(self.records)
            attempt = next_attempt(path.parent)
            collect_open(path.parent, before_attempt=attempt)
            return attempt, path.exists() and interrupted(read_ledger(path))

        # rank 0 reads the disk, where a slower rank would find the records of this attempt already
        self.attempt, self.resumed = on_rank_zero(attempt_and_resumed)

    def stage(
        self,
        stage: Stage,
        part: Part = "fit",
        work: str = "",
        kept: Iterable[Kept] | None = None,
        tentative: bool = False,
    ) -> StageCost:
        """Begin a stage, which `StageCost.close` or the end of a ``with`` statement ends; see `CostRecord`.

        `work` must be the same in each attempt at the same work, and differ from that of other work in this run. An
        error inside ``with`` still leaves a record, with ``finished=False``. One that is `tentative` leaves nothing
        until `StageCost.confirm`, so that it may as well be forgotten.
        """
        return StageCost(self, stage, part, work, None if kept is None else tuple(kept), tentative)

    open = stage  # reads better without ``with``

    @property
    def spent(self) -> Total:
        """All that this process spent, without what cached results avoided."""
        return add_up(record for record in self.records if not record.cached)

    def avoided(self, record: CostRecord, part: Part | None = None) -> CostRecord:
        """Add what a cached result cost when it was made; let one rank do it. `part` is the one that it serves now."""
        return self.add(replace(record, cached=True, attempt=self.attempt, part=part or record.part, kept=None))

    def add(self, record: CostRecord) -> CostRecord:
        """Add a record."""
        if self.path is not None:
            append(self.path, [record])
        self.records.append(record)
        return record


class _Counted(NamedTuple):
    examples: int = 0
    tokens: int | Tensor = 0
    padded_tokens: int = 0
    flops: int | float | None = None
    methods: tuple[str, ...] = ()


class StageCost:
    """An open stage of a ledger: its clock runs from the start, `add` counts work, `close` writes the record."""

    def __init__(
        self,
        ledger: Ledger,
        stage: Stage,
        part: Part,
        work: str = "",
        kept: tuple[Kept, ...] | None = None,
        tentative: bool = False,
    ) -> None:
        self.stage: Stage = stage
        self.confirmed = False
        self.ledger, self.part, self.work, self.kept = ledger, part, work, kept
        # Each is replaced as a whole: a heartbeat's thread, or a signal handler amid `add`, sees all or nothing of it.
        self._counted = _Counted()
        self._clock: tuple[float, float | None] = 0.0, None  # seconds before it last began to run, and when that was
        self._counting, self._writing = threading.RLock(), threading.RLock()
        self._closed = threading.Event()
        self._record: CostRecord | None = None
        self._started_at = datetime.now(UTC).isoformat(timespec="microseconds")
        self._beat = -math.inf
        self._meter = EnergyMeter(ledger.device)
        self._file: Path | None = None
        if not tentative:
            self.confirm()
        self.resume()

    def confirm(self) -> None:
        """Write heartbeats from now on."""
        self.confirmed = True
        self.move_to(self.stage)  # at once, so that a kill within the first seconds leaves a trace too
        if self._file is not None:  # a solve may compute for hours between two calls of `add`
            threading.Thread(target=self._pulse, name=f"ledger-{self.stage}", daemon=True).start()

    def add(
        self,
        examples: int = 0,
        tokens: int | Tensor = 0,
        padded_tokens: int = 0,
        flops: int | float | None = 0,
        method: str | Iterable[str] = "",
    ) -> None:
        """Count work that was done, all of it at once, so that no record holds the rows of a batch without its FLOPs.

        `tokens` may be a number on a device, which is read when something is written, and not waited for before.

        FLOPs are unknown as long as neither `flops` nor a `method` was given; a stage without arithmetic passes
        ``add(method="no arithmetic")``. Unknown FLOPs (None) make the whole stage's unknown. Work whose FLOPs are
        counted in several ways names all its methods.
        """
        named = tuple(filter(None, [method] if isinstance(method, str) else method))
        with self._counting:
            now = self._counted
            total, methods = now.flops, now.methods
            if flops is None or flops or named:
                known = not methods or total is not None
                total = (total or 0) + flops if known and flops is not None else None
                methods = tuple(dict.fromkeys([*methods, *(named or ("method not named",))]))
            counts = (now.examples + int(examples), now.tokens + tokens, now.padded_tokens + int(padded_tokens))
            self._counted = _Counted(*counts, total, methods)
        self.heartbeat()

    def __enter__(self) -> StageCost:
        return self

    def __exit__(self, error: type[BaseException] | None, *more: object) -> None:
        self.close(finished=error is None)

    def pause(self) -> None:
        """Stop the clock, if it runs."""
        if self._clock[1] is not None:
            finish_kernels()
            self._clock = self.seconds, None
            self._meter.stop()
            self.heartbeat(at_once=True)  # a checkpoint may follow

    def resume(self) -> None:
        """Let the clock run on."""
        if self._clock[1] is None and self._record is None:
            finish_kernels()
            self._meter.start()
            self._clock = self._clock[0], time.perf_counter()

    def move_to(self, stage: Stage) -> None:
        """Charge another stage, where only the work has shown which one it was; until `close`."""
        if stage not in STAGES:
            raise ValueError(f"no stage {stage!r}; the stages are {', '.join(STAGES)}")
        ledger = self.ledger
        with self._writing:
            before, self.stage = self._file, stage
            if ledger.path is not None:
                name = f"{ledger.attempt}-{ledger.rank}-{self.part}-{stage}.json"
                self._file = RunFiles(ledger.path.parent).open_costs / name
            self.heartbeat(at_once=True)
            if before is not None and before != self._file:
                before.unlink(missing_ok=True)

    def heartbeat(self, at_once: bool = False) -> None:
        """Write down what was spent so far, for `collect_open`; at most every ten seconds, so call it freely.

        `at_once` does it now, as results are about to be stored whose cost must not be lost with a kill.
        """
        now = time.perf_counter()
        if self._file is not None and (at_once or now - self._beat >= HEARTBEAT_S):
            with self._writing:
                if self._record is None:
                    write_json(self._file, self.so_far().to_json())
                    self._beat = now

    def close(self, finished: bool = True) -> CostRecord:
        """End the stage and write its record, once."""
        if self._record is None:
            self.pause()
            self._closed.set()
            with self._writing:
                self._record = self.ledger.add(self.so_far(finished))
                if self._file is not None:
                    self._file.unlink(missing_ok=True)
        return self._record

    @property
    def seconds(self) -> float:
        """On the clock so far."""
        before, since = self._clock
        return before if since is None else before + time.perf_counter() - since

    def so_far(self, finished: bool = False) -> CostRecord:
        """The record of what was spent until now."""
        seconds, counted = self.seconds, self._counted
        # Killed before it did anything; what computed for longer and counted nothing is unknown.
        idle = not counted.methods and not counted.examples and not finished and seconds < SHORT_S
        return CostRecord(
            stage=self.stage,
            part=self.part,
            wall_s=seconds,
            device_s=seconds,
            flops=0 if idle else counted.flops,
            flops_method="nothing was done" if idle else "; ".join(counted.methods) or "not counted",
            energy_j=self._meter.joules,
            energy_source=self._meter.source,
            peak_rss_bytes=peak_rss(),
            peak_cuda_bytes=peak_cuda(),
            examples=counted.examples,
            tokens=int(counted.tokens),
            padded_tokens=counted.padded_tokens,
            world_size=self.ledger.world_size,
            rank=self.ledger.rank,
            device=self.ledger.device,
            cached=False,
            attempt=self.ledger.attempt,
            finished=finished,
            commit=code_version(),
            started_at=self._started_at,
            work=self.work,
            kept=self.kept,
        )

    def _pulse(self) -> None:
        """Heartbeats from a thread, until the stage is closed."""
        while not self._closed.wait(HEARTBEAT_S):
            with contextlib.suppress(OSError):  # a run directory that was removed
                self.heartbeat()
