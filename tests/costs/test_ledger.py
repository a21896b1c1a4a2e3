"""Nothing that burnt power disappears: not by a kill, not by another process, not by a cache."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from selectune.costs import ledger as module
from selectune.costs.ledger import Ledger, collect_open, next_attempt, read_ledger
from selectune.costs.record import CostRecord, Total, code_version, distinct, totals
from tests.costs.records import an_honest_run, record
from tests.mistakes import mistake


def run_python(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE)


def test_a_stage_writes_what_it_did(tmp_path: Path):
    ledger = Ledger(tmp_path / "cost.jsonl", rank=1, world_size=2, device="cpu", attempt=3)
    with ledger.stage("score", part="warm_up") as cost:
        cost.add(examples=2, tokens=10, padded_tokens=12, flops=100, method="by hand")
        cost.add(examples=1, tokens=5, padded_tokens=6, flops=50.5, method="by hand")
        cost.add(flops=1, method="softmax")
    (written,) = read_ledger(tmp_path / "cost.jsonl")
    assert written == ledger.records[0]
    assert (written.stage, written.part, written.rank, written.world_size) == ("score", "warm_up", 1, 2)
    assert (written.examples, written.tokens, written.padded_tokens, written.flops) == (3, 15, 18, 151.5)
    assert written.flops_method == "by hand; softmax"
    assert (written.attempt, written.finished, written.cached) == (3, True, False)
    assert written.energy_j is None
    assert written.energy_source.startswith("not measured: ")
    assert written.peak_rss_bytes > 10e6
    assert written.commit == code_version() != ""
    assert not list((tmp_path / ".open_costs").iterdir())


def test_the_stages_add_up_to_the_total():
    run = an_honest_run()
    spent = totals(run).spent
    assert sum(spent.values(), Total()).flops == sum(each.flops or 0 for each in run)
    assert sum(total.device_s for total in spent.values()) == pytest.approx(sum(each.device_s for each in run))
    assert spent["train"].device_s == pytest.approx(1.2 + 0.8)


def test_ranks_run_side_by_side_and_attempts_one_after_another():
    run = [
        record("train", wall_s=3.0, rank=0),
        record("train", wall_s=2.0, rank=1),
        record("train", wall_s=1.5, rank=1),
        record("train", wall_s=10.0, rank=0, attempt=2),
    ]
    assert totals(run).spent["train"].wall_s == pytest.approx(2.0 + 1.5 + 10.0)


def test_unknown_flops_stay_unknown():
    ledger = Ledger()
    with ledger.stage("prepare"):
        pass
    with ledger.stage("select") as cost:
        cost.add(flops=0, method="no arithmetic")
    with ledger.stage("score") as cost:
        cost.add(flops=5, method="by hand")
        cost.add(flops=None, method="an unknown kernel")
        cost.add(flops=5, method="by hand")
    assert [each.flops for each in ledger.records] == [None, 0, None]
    assert totals(ledger.records).spent["score"].flops is None
    assert sum(totals(ledger.records).spent.values(), Total()).flops is None


def test_a_pause_is_not_on_the_clock(monkeypatch: pytest.MonkeyPatch):
    clock = SimpleNamespace(now=5.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    cost = Ledger().open("train")
    clock.now += 1.0
    cost.pause()
    cost.pause()
    clock.now += 20.0
    assert cost.seconds == 1.0
    cost.resume()
    clock.now += 0.5
    closed = cost.close()
    assert closed.wall_s == closed.device_s == 1.5
    assert cost.close() is closed


def test_a_failed_stage_leaves_a_record_too(tmp_path: Path):
    ledger = Ledger(tmp_path / "cost.jsonl")

    def interrupted() -> None:
        with ledger.stage("train") as cost:
            cost.add(examples=7)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    (written,) = read_ledger(tmp_path / "cost.jsonl")
    assert (written.finished, written.examples) == (False, 7)


def test_two_processes_lose_no_line(tmp_path: Path):
    code = """
import sys
from pathlib import Path
from selectune.costs.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]), rank=int(sys.argv[2]), world_size=2)
for i in range(100):
    with ledger.stage("evaluate") as cost:
        cost.add(examples=i, flops=i, method="m" * 3000)
"""
    path = tmp_path / "cost.jsonl"
    processes = [run_python(code, path, rank) for rank in (0, 1)]
    assert [process.wait(300) for process in processes] == [0, 0]
    records = read_ledger(path)
    for rank in (0, 1):
        assert [each.examples for each in records if each.rank == rank] == list(range(100))
    assert totals(records).spent["evaluate"].flops == 2 * sum(range(100))


def test_a_killed_attempt_stays_in_the_ledger(tmp_path: Path):
    code = """
import sys, time
from pathlib import Path
from selectune.costs import ledger
ledger.HEARTBEAT_S = 0.0
cost = ledger.Ledger(Path(sys.argv[1])).open("train")
cost.add(examples=64, tokens=500, flops=1000, method="by hand")
print("working", flush=True)
time.sleep(60)
"""
    process = run_python(code, tmp_path / "cost.jsonl")
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    process.send_signal(signal.SIGKILL)
    process.wait(300)
    assert not (tmp_path / "cost.jsonl").exists()
    assert next_attempt(tmp_path) == 2
    (collected,) = collect_open(tmp_path, before_attempt=2)
    assert (collected.stage, collected.attempt, collected.finished) == ("train", 1, False)
    assert (collected.examples, collected.flops) == (64, 1000)
    assert read_ledger(tmp_path / "cost.jsonl") == [collected]
    assert collect_open(tmp_path) == []


def test_a_kill_between_the_record_and_its_sidecar_counts_once(tmp_path: Path):
    path = tmp_path / "cost.jsonl"
    cost = Ledger(path).open("score")
    sidecar = next((tmp_path / ".open_costs").iterdir())
    left = sidecar.read_bytes()
    cost.close()
    sidecar.write_bytes(left)
    assert collect_open(tmp_path) == []
    assert len(read_ledger(path)) == 1
    assert not sidecar.exists()


def test_stages_of_this_attempt_are_not_collected(tmp_path: Path):
    cost = Ledger(tmp_path / "cost.jsonl", attempt=2).open("score")
    assert collect_open(tmp_path, before_attempt=2) == []
    cost.close()
    assert [each.finished for each in read_ledger(tmp_path / "cost.jsonl")] == [True]


def test_a_stage_that_turns_out_to_be_another_is_charged_once(tmp_path: Path):
    ledger = Ledger(tmp_path / "cost.jsonl")
    with mistake(ValueError, "'ponder'"):
        ledger.open("select").move_to("ponder")  # type: ignore[arg-type]
    with ledger.stage("select") as cost:
        cost.add(examples=3, flops=7, method="by hand")
        cost.move_to("solve")
        (sidecar,) = (tmp_path / ".open_costs").iterdir()
        assert json.loads(sidecar.read_text())["stage"] == "solve"
        left = sidecar.read_bytes()
    sidecar.write_bytes(left)  # as if it was killed just after its record
    assert collect_open(tmp_path) == []
    assert [(each.stage, each.examples, each.flops) for each in read_ledger(ledger.path)] == [("solve", 3, 7)]


def test_heartbeats_are_rare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    beats = []
    monkeypatch.setattr(module, "write_json", lambda path, content: beats.append(content))
    monkeypatch.setattr(module, "HEARTBEAT_S", 1000.0)
    cost = Ledger(tmp_path / "cost.jsonl").open("train")
    for _ in range(1000):
        cost.add(examples=1)
        cost.heartbeat()
    assert len(beats) == 1  # at once; the next one is far away


def test_avoided_costs_stand_apart(tmp_path: Path):
    ledger = Ledger(tmp_path / "cost.jsonl", attempt=4)
    stored = CostRecord.from_json(record("score", flops=77, attempt=1).to_json())
    ledger.avoided(stored, part="warm_up")
    sums = totals(read_ledger(tmp_path / "cost.jsonl"))
    assert sums.spent == {}
    assert sums.avoided["score"].flops == 77
    assert ledger.records == [replace(stored, cached=True, attempt=4, part="warm_up")]


def test_a_cost_that_was_spent_here_is_not_avoided_here():
    spent = record("score")
    again = replace(spent, cached=True, attempt=2)
    assert distinct([again, spent, again]) == [spent]


def test_importing_the_ledger_does_not_import_torch():
    code = "import sys, selectune.costs.ledger, selectune.costs.saving; print('torch' in sys.modules)"
    process = run_python(code)
    assert process.communicate(timeout=300)[0] == "False\n"


def test_a_stage_that_tells_nothing_is_still_known_when_it_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selectune.costs.ledger.HEARTBEAT_S", 0.05)
    cost = Ledger(tmp_path / "cost.jsonl").open("solve")
    (beat,) = (tmp_path / ".open_costs").glob("*.json")
    while json.loads(beat.read_text())["wall_s"] <= 1.0:  # a solve, between two calls of `add`
        time.sleep(0.05)
    (record,) = collect_open(tmp_path)
    assert record.stage == "solve"
    assert 1.0 < record.wall_s <= cost.seconds
    assert record.flops is None, "what it did is not known, which is not nothing"
    cost.close()
    assert not list((tmp_path / ".open_costs").glob("*.json"))
    time.sleep(0.2)
    assert not list((tmp_path / ".open_costs").glob("*.json")), "no heartbeat after the end"
