"""Interruptions change what a run spends, and neither its uninterrupted costs nor its saving: a run acted by hand."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from selectune.costs import ledger as module
from selectune.costs.compute_saving import compute_saving
from selectune.costs.ledger import Ledger, StageCost, append, collect_open, next_attempt, read_ledger
from selectune.costs.record import AGAIN, CostRecord, Kept, Part, Stage, add_up
from selectune.costs.uninterrupted import split_costs
from selectune.report.html_tables import cost_table
from selectune.report.run_data import RunData
from selectune.report.terms import terms_table
from tests.costs.records import record

RANKS = (0, 1)
BATCHES, EPOCHS, KEPT, POOL = 5, 3, 100, 1000


class Killed(BaseException):
    """The end of an attempt; whoever catches it closes no stage, as after SIGKILL."""


class Machine:
    """What outlives an attempt: the disk, with a cache and checkpoints, and a clock that moves by work alone."""

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


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Machine]:
    """Machines by name, of which the last one's clock is the ledger's."""

    def make(name: str) -> Machine:
        made = Machine(tmp_path / name)
        made.run.mkdir()
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: made.now))
        return made

    # Neither takes part here, and both wait for the disk.
    monkeypatch.setattr("os.fsync", lambda _: None)
    monkeypatch.setattr(threading.Thread, "start", lambda _: None)
    return make


def sums_of(records: list[CostRecord]) -> dict[tuple[str, str], tuple[Any, ...]]:
    """FLOPs, device seconds and counts of each stage, by part."""
    found = {}
    for key in {(one.part, one.stage) for one in records}:
        total = add_up(one for one in records if (one.part, one.stage) == key)
        found[key] = total.flops, total.device_s, total.examples, total.tokens, total.padded_tokens
    return found


def saving_of(records: list[CostRecord]) -> Any:
    saving = compute_saving(records, KEPT, POOL, KEPT * 10, POOL * 10, epochs=float(EPOCHS))
    warm_up = compute_saving(records, KEPT, POOL, KEPT * 10, POOL * 10, part="warm_up")
    return [replace(terms, redone=0) for one in (saving, warm_up) for terms in (one.flops, one.device_s)]


def alike(ours: Any, theirs: Any) -> None:
    for mine, their in zip(ours, theirs, strict=True):
        assert vars(mine) == pytest.approx(vars(their), rel=1e-12, abs=1e-9)


def test_wherever_a_run_is_killed_its_saving_is_that_of_the_uninterrupted_one(
    machine: Callable[[str], Machine],
) -> None:
    whole = machine("whole")
    assert whole.attempt(10**9, fit)
    moments = round(10**9 - whole.left)
    records = read_ledger(whole.run / "cost.jsonl")
    expected, saving = sums_of(records), saving_of(records)
    assert split_costs(records).kept == records, "nothing was done again"
    assert saving[0].saving is not None
    assert len(expected) == 10
    generator = np.random.default_rng(0)
    for case in range(30):
        one = machine(f"run{case}")
        # one kill at an even place, so that every stage is met; or several, some of them soon after the start
        places = [moments * case // 18] if case < 18 else generator.integers(1, moments // 2, size=4)
        assert any(one.attempt(place, fit) for place in (*places, 10**9))
        records = read_ledger(one.run / "cost.jsonl")
        costs = split_costs(records)
        found = sums_of(costs.kept)
        assert found.keys() == expected.keys()
        for key, values in expected.items():
            assert found[key] == pytest.approx(values, rel=1e-12, abs=1e-9), (case, key)
        alike(saving_of(records), saving)
        spent, kept, again = (add_up(some) for some in (records, costs.kept, costs.redone))
        assert kept.device_s + again.device_s == pytest.approx(spent.device_s), "both parts are all that was spent"
        known = None not in (kept.flops, again.flops)
        assert spent.flops == (pytest.approx(kept.flops + again.flops) if known else None)
        assert split_costs(costs.kept).redone == [], "what is uninterrupted stays so"


def of_schema_1(run: Path) -> None:
    """Rewrite what a run's attempts left, as schema 1 had it: proxy trainings are booked under `select`."""

    def older(content: dict[str, Any]) -> dict[str, Any]:
        return content | {"schema": 1, "stage": content["stage"].replace("search", "select")}

    path = run / "cost.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    path.write_text("".join(json.dumps(older(json.loads(line))) + "\n" for line in lines))
    for file in list((run / ".open_costs").glob("*.json")):
        content = json.dumps(older(json.loads(file.read_text())))
        file.unlink()
        file.with_name(file.name.replace("search", "select")).write_text(content)


def test_a_run_that_goes_on_from_schema_1_has_the_same_saving(machine: Callable[[str], Machine]) -> None:
    whole = machine("whole")
    assert whole.attempt(10**9, fit)
    moments = round(10**9 - whole.left)
    expected = saving_of(read_ledger(whole.run / "cost.jsonl"))
    for case in range(1, 12):
        one = machine(f"run{case}")
        assert not one.attempt(moments * case // 12, fit)
        of_schema_1(one.run)
        assert one.attempt(10**9, fit)
        records = read_ledger(one.run / "cost.jsonl")
        assert {record.schema for record in records} == {1, 2}
        for mine, theirs in zip(saving_of(records), expected, strict=True):
            assert mine.select + mine.search == pytest.approx(theirs.select + theirs.search)
            alike([replace(mine, select=0, search=0)], [replace(theirs, select=0, search=0)])


def test_a_run_that_is_trained_for_longer_did_nothing_again(machine: Callable[[str], Machine]) -> None:
    longer, whole = machine("longer"), machine("whole")
    assert whole.attempt(10**9, lambda *given: fit(*given, epochs=5))
    assert longer.attempt(10**9, fit)
    assert longer.attempt(10**9, lambda *given: fit(*given, epochs=5))
    records = read_ledger(longer.run / "cost.jsonl")
    assert split_costs(records).redone == []
    expected = sums_of(read_ledger(whole.run / "cost.jsonl"))
    assert sums_of(records)["fit", "train"][0] == pytest.approx(expected["fit", "train"][0])


def test_a_heartbeat_never_sees_half_a_batch(tmp_path: Path) -> None:
    """Read from another thread all the while, and from a signal's handler, which comes between two instructions."""
    cost = Ledger(tmp_path / "cost.jsonl").open("train")
    ended, torn, read = threading.Event(), [], [0]

    def look() -> None:
        seen = cost.so_far()
        read[0] += 1
        if not seen.examples * 10 == seen.tokens == seen.padded_tokens - seen.examples == (seen.flops or 0) / 100:
            torn.append(seen)

    def watch() -> None:
        while not ended.is_set():
            look()

    def within(frame: Any, event: str, _: Any) -> Any:
        if frame.f_code is StageCost.add.__code__:
            frame.f_trace_opcodes = True
            look()
            return within
        return None

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for number in range(300):
            sys.settrace(within if number < 10 else None)
            cost.add(examples=8, tokens=80, padded_tokens=88, flops=8000, method=["forward and backward", "step"])
    finally:
        sys.settrace(None)
        ended.set()
        watcher.join()
    assert read[0] > 100
    assert not torn
    assert cost.close().flops == 300 * 8000


def test_the_clock_of_a_heartbeat_never_runs_ahead(tmp_path: Path) -> None:
    """A pause adds to the seconds before and stops the clock; who reads in between must not count them twice."""
    began, ahead = time.perf_counter(), []
    cost = Ledger(tmp_path / "cost.jsonl").open("train")

    def within(frame: Any, event: str, _: Any) -> Any:
        frame.f_trace_opcodes = True
        if cost.seconds > time.perf_counter() - began:
            ahead.append(cost.seconds)
        return within

    time.sleep(0.05)
    sys.settrace(lambda frame, *given: within(frame, *given) if frame.f_code is StageCost.pause.__code__ else None)
    cost.pause()
    sys.settrace(None)
    assert not ahead


def interrupted_run(folder: Path) -> Path:
    from tests.report.pages import a_run

    run = a_run(folder)
    kept = Kept.of(record("train", flops=4e12, device_s=11.0, wall_s=11.0).to_json())
    ledger = [one for one in read_ledger(run / "cost.jsonl") if one.stage != "train"]
    first = record("train", flops=5.5e12, device_s=14.5, wall_s=14.5, examples=9000, finished=False, work="train")
    second = record("train", flops=5.2e12, device_s=20.3, wall_s=20.3, examples=10200, attempt=2, work="train")
    kept = replace(kept, started_at=first.started_at)
    (run / "cost.jsonl").unlink()
    append(run / "cost.jsonl", [*ledger, replace(first, kept=()), replace(second, kept=(kept,))])
    compute_saving(read_ledger(run / "cost.jsonl"), 6_400, 40_000, 650_000, 4_100_000, epochs=3).write(run)
    return run


def test_the_report_and_the_terminal_tell_of_redone_work_where_there_was_some(tmp_path: Path) -> None:
    from rich.console import Console

    from selectune.report import print_summary
    from tests.report.pages import Page, a_run

    for run, some in ((interrupted_run(tmp_path / "resumed"), True), (a_run(tmp_path / "whole"), False)):
        facts = RunData.read(run)
        page = cost_table(facts) + terms_table(facts.saving)
        console = Console(record=True, width=100)
        print_summary(run, console)
        output = console.export_text().replace("\N{NO-BREAK SPACE}", " ")
        assert ("redone after an interruption" in page, "redone after an interruption" in output) == (some, some)
        if some:
            assert "redone after an interruption: 1.50 TFLOP, 3.50 s" in output
            assert {1.5e12, 3.5} <= set(Page(page).figures)
            assert facts.saving.flops.training == pytest.approx(9.2e12)  # type: ignore[union-attr]
