"""The typed record of what a stage costs, and sums of such records."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, get_args

from selectune.common.typed_json import from_json

Stage = Literal[
    "prepare", "tune_scorer", "warm_up", "score", "solve", "select", "diagnose", "pilot", "search", "train", "evaluate",
    "reference", "generate",
]  # fmt: skip
Part = Literal["fit", "warm_up", "diagnosis", "pilot"]
STAGES: tuple[Stage, ...] = get_args(Stage)
BESIDE: tuple[Part, ...] = ("diagnosis", "pilot")  # what they cost is no part of the saving of a fit in the same folder
TRAINING: dict[Part, Stage] = {"fit": "train", "warm_up": "warm_up"}
SCHEMA = 2
READABLE = (1, 2)  # schema 1 books the proxy trainings of a `Search` under `select`
AGAIN = ": starting again"  # ends the name of work that an uninterrupted run does not have at all
LATER = ("work", "kept")  # fields that records of earlier versions lack
QUANTITIES = ("wall_s", "device_s", "flops", "energy_j", "examples", "tokens", "padded_tokens")  # what adds up


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The part of an earlier record's cost whose results a later attempt went on from, instead of working again.

    `started_at` and `rank` are those of the earlier record; the other fields are its costs until the results were kept.
    """

    started_at: str
    rank: int
    wall_s: float
    device_s: float
    flops: float | None
    energy_j: float | None
    examples: int
    tokens: int
    padded_tokens: int

    @classmethod
    def of(cls, content: dict[str, Any]) -> Kept:
        """All costs of a record, or of an earlier `Kept`, given as JSON; raises as `CostRecord.from_json` does."""
        kept: Kept = from_json(cls, content, left_out=None)
        _check(kept)
        return kept


@dataclass(frozen=True, kw_only=True)
class CostRecord:
    """Costs of one process for one stage in one attempt; docs/ledger.md explains the stages."""

    schema: int = SCHEMA  # version of this format
    stage: Stage
    # What it served: the top-level ``data`` ("fit"), ``warm_up.data`` ("warm_up"), or what is `BESIDE` a fit.
    part: Part
    wall_s: float  # seconds from start to end, pauses left out
    device_s: float  # seconds that this process held its device; they add up over ranks, while `wall_s` does not
    flops: float | None  # floating-point operations, a multiply-add being two; None when unknown, which is not 0
    flops_method: str  # how they were counted, or why they were not
    energy_j: float | None  # joules, None when not measured
    energy_source: str  # the meter, or "not measured: " and why
    peak_rss_bytes: int  # most memory that the process had held by the end of the stage, since its own start
    peak_cuda_bytes: int | None  # the same of its CUDA device's allocator; None where CUDA was not used
    examples: int  # rows processed, each as often as it was processed
    tokens: int  # of those rows, padding left out
    padded_tokens: int  # of those rows, padding included
    world_size: int  # number of processes
    rank: int  # of this process
    device: str  # that it held, such as "cpu" or "cuda:0"
    cached: bool  # whether this cost was avoided, by results from earlier, and so was not spent in this run
    attempt: int  # which attempt at the run, from 1
    finished: bool  # False for what a killed or failed stage had spent
    commit: str  # of the code that ran, see `code_version`
    started_at: str  # UTC, ISO 8601
    # Name of the work, by which a later attempt that repeats it is recognised; "" for what is never repeated; None in
    # ledgers of earlier versions.
    work: str | None = None
    # Of work that goes on where an earlier attempt stopped, the costs up to there, of all ranks; empty for work that
    # began from nothing; None where that is not known, and for work that is repeated whole.
    kept: tuple[Kept, ...] | None = None

    @property
    def identity(self) -> tuple[str, str, str, int]:
        """Key that a cost keeps when it is copied: no process begins one stage twice in a microsecond."""
        return self.stage, self.part, self.started_at, self.rank

    def times(self, share: float) -> CostRecord:
        """The record of a share of the work: seconds, FLOPs and joules are scaled, counts stay."""
        costs = {name: getattr(self, name) for name in ("wall_s", "device_s", "flops", "energy_j")}
        scaled: dict[str, Any] = {name: None if cost is None else cost * share for name, cost in costs.items()}
        return replace(self, **scaled)

    def to_json(self) -> dict[str, Any]:
        """The record as JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Any) -> CostRecord:
        """The record that `to_json` gave; fields of later versions are left out.

        Raises:
            ValueError: a field is missing or has a value that it cannot have; the message names it.
        """
        record: CostRecord = from_json(cls, content, later=LATER, left_out=None)
        _check(record)
        for kept in record.kept or ():
            _check(kept)
        return record


def _check(costs: CostRecord | Kept) -> None:
    """Refuse values out of their range, as a damaged file holds them."""
    given = asdict(costs)
    wrong = [name for name, value in given.items() if isinstance(value, int | float) and value < 0]
    wrong += [name for name in ("world_size", "attempt") if given.get(name) == 0]
    wrong += ["schema"] if given.get("schema", SCHEMA) not in READABLE else []
    try:
        zone = datetime.fromisoformat(costs.started_at).tzinfo
    except ValueError:
        zone = None
    wrong += ["started_at"] if zone is None else []
    if wrong:
        raise ValueError(f"{wrong[0]} is {given[wrong[0]]!r}")


def distinct(records: Iterable[CostRecord]) -> list[CostRecord]:
    """Each cost once, spent ones first: what a later attempt found cached was still spent by the earlier one."""
    by_identity: dict[tuple[str, str, str, int], CostRecord] = {}
    for record in sorted(records, key=lambda record: record.cached):
        by_identity.setdefault(record.identity, record)
    return list(by_identity.values())


@dataclass(frozen=True)
class Total:
    """Costs added up: device seconds, FLOPs and counts over ranks and attempts, wall seconds over attempts alone.

    `flops` and `energy_j` are None as soon as one of them is unknown; peaks are those of the largest process.
    """

    wall_s: float = 0.0
    device_s: float = 0.0
    flops: float | None = 0
    examples: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    peak_rss_bytes: int = 0
    peak_cuda_bytes: int | None = None
    energy_j: float | None = 0.0

    def __add__(self, other: Total) -> Total:
        pairs: dict[str, Any] = {name: (getattr(self, name), getattr(other, name)) for name in QUANTITIES}
        sums: dict[str, Any] = {name: None if None in pair else sum(pair) for name, pair in pairs.items()}
        cuda = [peak for peak in (self.peak_cuda_bytes, other.peak_cuda_bytes) if peak is not None]
        peak_rss = max(self.peak_rss_bytes, other.peak_rss_bytes)
        return Total(**sums, peak_rss_bytes=peak_rss, peak_cuda_bytes=max(cuda, default=None))


@dataclass(frozen=True)
class Totals:
    """The total of each stage that has any cost, in the order of `STAGES`: what was spent, and what was avoided."""

    spent: dict[Stage, Total]
    avoided: dict[Stage, Total]


def totals(records: Iterable[CostRecord]) -> Totals:
    """Add up a ledger, each cost once."""
    by_stage: dict[tuple[Stage, bool], list[CostRecord]] = {}
    for record in distinct(records):
        by_stage.setdefault((record.stage, record.cached), []).append(record)
    spent, avoided = (
        {stage: add_up(by_stage[stage, cached]) for stage in STAGES if (stage, cached) in by_stage}
        for cached in (False, True)
    )
    return Totals(spent, avoided)


def add_up(records: Iterable[CostRecord]) -> Total:
    """Add up records of one stage; ranks run side by side, so the slowest gives an attempt's wall time."""
    total, walls = Total(), dict[tuple[str, str, bool, int], dict[int, float]]()
    for record in records:
        shared = {field.name: getattr(record, field.name) for field in fields(Total)}
        total += Total(**shared | {"wall_s": 0.0})
        of_ranks = walls.setdefault((record.stage, record.part, record.cached, record.attempt), {})
        of_ranks[record.rank] = of_ranks.get(record.rank, 0.0) + record.wall_s
    return replace(total, wall_s=sum(max(of_ranks.values()) for of_ranks in walls.values()))


def rows_evaluated(records: Iterable[CostRecord], kind: str, unnamed: bool = False) -> int | None:
    """Rows of a fit's last evaluation of a kind, over all processes; None where there was none.

    Args:
        records: of the ledger, without repeated work.
        kind: ``validate`` or ``test``.
        unnamed: count an evaluation that no fit began, too, whose kind the ledger does not say.
    """
    known = [one for one in records if one.stage == "evaluate" and one.part == "fit"]
    of_kind = [one for one in known if f": {kind} after" in (one.work or "")]
    of_kind = of_kind or [one for one in known if one.work == "" and unnamed]
    last = [one for one in of_kind if (one.work, one.attempt) == (of_kind[-1].work, of_kind[-1].attempt)]
    return sum(one.examples for one in last) or None


@cache
def code_version() -> str:
    """The git commit of the code that runs, with ``-dirty`` when tracked files differ; else the package's version."""
    package = Path(__file__).resolve().parent
    # A hook's GIT_DIR, or a repository that merely surrounds an installed package, would name somebody else's commit.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    git = ["git", "-C", str(package)]
    options: dict[str, Any] = {"env": clean, "capture_output": True, "text": True, "check": True, "timeout": 10}
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", "__init__.py"], **options)
        described = [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(described, **options).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        with contextlib.suppress(PackageNotFoundError):
            return f"selectune {version('selectune')}"
        return "unknown"
