"""A run acted by hand on a machine made up for tests: stages, kills, a disk, and a clock that moves by work alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selectune.costs.ledger import Ledger, StageCost, collect_open, next_attempt
from selectune.costs.record import AGAIN, Kept, Part, Stage

RANKS = (0, 1)
BATCHES, EPOCHS, KEPT, POOL = 5, 3, 100, 1000


class Killed(BaseException):
    """The end of an attempt; whoever catches it closes no stage, as after SIGKILL."""


class Machine:
    """State that outlives an attempt: the disk, with a cache and checkpoints, and a clock that moves by work alone."""

    def __init__(self, run: Path) -> None:
        self.run, self.now, self.finished = run, 0.0, False
        self.cache: dict[str, Any] = {}
        self.checkpoint: dict[str, Any] = {}
        self.left: float = float("inf")
        self.open: list[StageCost] = []

    def moment(self) -> None:
        """A place where a kill may come."""
        self.left -= 1
        if self.left < 0:
            raise Killed

    def attempt(self, moments: float, fit: Callable[[Machine, list[Ledger]], None]) -> bool:
        """Whether an attempt came to its end within so many moments."""
        self.left = moments
        number = next_attempt(self.run)
        collect_open(self.run, before_attempt=number)
        path = self.run / "cost.jsonl"
        ledgers = [Ledger(path, rank, len(RANKS), attempt=number) for rank in RANKS]
        for ledger in ledgers:
            ledger.resumed = number > 1 and not self.finished
        self.finished = False
        try:
            fit(self, ledgers)
        except Killed:
            return False
        finally:
            for cost in self.open:
                cost._closed.set()  # its thread ends with its process
            self.open = []
        self.finished = True
        return True


@contextmanager
def stages(
    machine: Machine, ledgers: list[Ledger], stage: Stage, work: str, part: Part = "fit", kept: Any = None
) -> Iterator[list[StageCost]]:
    """A stage on some ranks, whose end may be missed by all of them or by some."""
    costs = [ledger.open(stage, part, work, kept) for ledger in ledgers]
    machine.open += costs
    machine.moment()
    yield costs
    for cost in costs:
        machine.moment()
        cost.close()


def do(machine: Machine, costs: list[StageCost], flops: float, rows: int = 8) -> None:
    """A batch on each rank, of other FLOPs and seconds."""
    for cost in costs:
        machine.moment()
        machine.now += 0.5
        machine.moment()
        cost.add(rows, 10 * rows, 11 * rows, flops + cost.ledger.rank, ["by hand", "step"])


def train(machine: Machine, ledgers: list[Ledger], stage: Stage, part: Part, epochs: int, limit: int = 10**9) -> None:
    """From the last checkpoint on, which is made every third batch and after each epoch's validation."""
    state = machine.checkpoint.get(part, {"batches": 0, "kept": []})
    end = min(epochs * BATCHES, limit)
    if state["batches"] >= end:
        return
    kept = [Kept.of(one) for one in state["kept"]]
    if kept and ledgers[0].resumed:
        with stages(machine, ledgers, stage, f"{stage}{AGAIN}", part, kept=()) as costs:
            machine.now += 0.3
            for cost in costs:
                cost.add(method="no arithmetic")
    with stages(machine, ledgers, stage, stage, part, kept) as costs:

        def save(batches: int) -> None:
            mine = [Kept.of(cost.so_far().to_json()) for cost in costs]
            for cost in costs:
                machine.moment()
                cost.heartbeat(at_once=True)
            machine.moment()
            content = json.dumps({"batches": batches, "kept": [vars(one) for one in (*kept, *mine)]})
            machine.checkpoint[part] = json.loads(content)

        for batch in range(state["batches"] + 1, end + 1):
            do(machine, costs, 1000.25 + batch)
            if batch % 3 == 0 and batch % BATCHES:
                save(batch)
            if batch % BATCHES == 0 or batch == end:
                for cost in costs:
                    cost.pause()
                with stages(machine, ledgers, "evaluate", f"{stage}: validate after {batch}", part) as evaluation:
                    do(machine, evaluation, 70)
                for cost in costs:
                    cost.resume()
                save(batch)


def stored(machine: Machine, key: str, work: Callable[[], None]) -> None:
    """Work whose result is kept, and which is done again until it is."""
    if key not in machine.cache:
        work()
        machine.moment()
        machine.cache[key] = True


def select(machine: Machine, ledgers: list[Ledger]) -> None:
    first = ledgers[:1]

    def tune() -> None:
        with stages(machine, ledgers, "tune_scorer", "tuning", kept=()) as costs:
            for batch in range(2):
                do(machine, costs, 300 + batch)

    def score() -> None:
        shards: list[dict[str, Any]] = machine.cache.setdefault("shards", [])
        latest = {(cost["started_at"], cost["rank"]): cost for shard in shards for cost in shard["costs"]}
        done = {batch for shard in shards for batch in shard["batches"]}
        with stages(machine, ledgers, "score", "pass", kept=map(Kept.of, latest.values())) as costs:
            waiting: list[int] = []
            for cost in costs:
                cost.add(method="no arithmetic" if len(done) == 7 else "")
            for batch in range(7):
                if batch not in done:
                    waiting.append(batch)
                    machine.moment()
                if len(waiting) == 2 or (batch == 6 and waiting):  # charged when they are written
                    for _ in waiting:
                        do(machine, costs, 40.5)
                    for cost in costs:
                        cost.heartbeat(at_once=True)
                    spent = [cost.so_far().to_json() for cost in costs]
                    machine.moment()
                    shards.append({"batches": waiting, "costs": spent})
                    waiting = []

    def solve() -> None:
        with stages(machine, first, "solve", "semantic_entropy") as costs:
            do(machine, costs, 20)

    def choose(name: str) -> None:
        with stages(machine, first, "select", f"choice-{name}") as costs:
            costs[0].move_to("solve")
            do(machine, costs, 9)

    def proxy(name: str) -> None:
        with stages(machine, ledgers, "search", f"proxy-{name}", kept=()) as costs:
            do(machine, costs, 200)
        with stages(machine, ledgers, "search", f"proxy-{name}: validate after 0") as costs:
            do(machine, costs, 60)

    stored(machine, "tuned", tune)
    stored(machine, "signals", score)
    stored(machine, "solved", solve)
    for band in "abc":
        choose(band)
        stored(machine, f"proxy {band}", lambda: proxy(band))  # noqa: B023


def prepare(machine: Machine, ledgers: list[Ledger], work: str, part: Part) -> None:
    with stages(machine, ledgers, "prepare", work, part) as costs:
        for cost in costs:
            cost.add(method="no arithmetic")
            machine.now += 1.0


def fit(machine: Machine, ledgers: list[Ledger], epochs: int = EPOCHS) -> None:
    """As the pipeline does it: warm up on chosen rows for so many steps, select, train, test."""
    if "exported" not in machine.cache:
        prepare(machine, ledgers, "prepare", "warm_up")
        train(machine, ledgers, "warm_up", "warm_up", 10, limit=BATCHES + 2)  # by max_steps, within an epoch
        machine.moment()
        machine.cache["exported"] = True
    again = ledgers[0].attempt == 1 or ledgers[0].resumed
    prepare(machine, ledgers, "prepare" if again else "", "fit")
    stored(machine, "selection", lambda: select(machine, ledgers))
    train(machine, ledgers, "train", "fit", epochs)
    with stages(machine, ledgers, "evaluate", f"train: test after {epochs * BATCHES}") as costs:
        do(machine, costs, 90)
    machine.moment()
