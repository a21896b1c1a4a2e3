"""Interruptions change what a run spends, and neither its uninterrupted costs nor its saving: a run acted by hand."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from selectune.costs import ledger as module
from selectune.costs.compute_saving import compute_saving
from selectune.costs.ledger import Ledger, StageCost, append, read_ledger
from selectune.costs.record import CostRecord, Kept, add_up
from selectune.costs.saving import Saving
from selectune.costs.uninterrupted import split_costs
from tests.costs.acted_run import EPOCHS, KEPT, POOL, Machine, fit
from tests.costs.records import record


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

    from selectune.report import print_summary, write_report
    from tests.report.pages import Page, a_run

    for run, some in ((interrupted_run(tmp_path / "resumed"), True), (a_run(tmp_path / "whole"), False)):
        page = write_report(run).read_text(encoding="utf-8")
        console = Console(record=True, width=100)
        print_summary(run, console)
        output = console.export_text().replace("\N{NO-BREAK SPACE}", " ")
        assert ("redone after an interruption" in page, "redone after an interruption" in output) == (some, some)
        if some:
            assert "redone after an interruption: 1.50 TFLOP, 3.50 s" in output
            assert {1.5e12, 3.5} <= set(Page(page).figures)
            assert Saving.read(run).flops.training == pytest.approx(9.2e12)
