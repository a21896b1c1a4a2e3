"""The file of a ledger: damaged lines, lines of earlier versions, and records that survive it."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest

from selectune.common.errors import UserError
from selectune.costs.ledger import Ledger, LedgerError, append, next_attempt, read_ledger
from selectune.costs.record import LATER, CostRecord
from tests.costs.records import record
from tests.mistakes import mistake, warned


def test_a_torn_last_line_is_left_out_and_does_not_spoil_the_next(tmp_path: Path):
    path = tmp_path / "cost.jsonl"
    first, second = record("score"), record("train")
    append(path, [first])
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:50])
    with warned(UserWarning, path):
        assert read_ledger(path) == [first]
    append(path, [second])
    assert read_ledger(path) == [first, second]
    path.write_bytes(whole.rstrip(b"\n"))  # only its end is missing
    append(path, [second])
    assert read_ledger(path) == [first, second]


@pytest.mark.parametrize(
    "change",
    [
        {"stage": "ponder"},
        {"wall_s": -1},
        {"wall_s": float("nan")},
        {"flops": "many"},
        {"examples": 1.5},
        {"cached": 0},
        {"started_at": "yesterday"},
        {"schema": 3},
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, change: dict[str, object]):
    path = tmp_path / "cost.jsonl"
    lines = [json.dumps(record("score").to_json()), json.dumps(record("train").to_json() | change)]
    path.write_text("\n".join(lines) + "\n")
    with mistake(LedgerError, path, 2, *change, next(iter(change.values()))):
        read_ledger(path)


def test_a_record_survives_its_file_and_knows_what_it_lacks():
    content = json.loads(json.dumps(record("train").to_json()))
    assert CostRecord.from_json(content | {"a_later_field": 1}).to_json() == content
    for field in fields(CostRecord):
        lacking = {name: value for name, value in content.items() if name != field.name}
        if field.name in LATER:
            assert CostRecord.from_json(lacking).to_json() == content, "ledgers of earlier versions stay readable"
            continue
        with mistake(UserError, field.name):
            CostRecord.from_json(lacking)


LINE = (  # as a run of schema 1 wrote it
    '{"schema": 1, "stage": "select", "part": "fit", "wall_s": 0.5, "device_s": 0.5, "flops": 7000000.0, '
    '"flops_method": "products counted at L=13, checked at 32 (0.0 %)", "energy_j": null, '
    '"energy_source": "not measured: no GPU", "peak_rss_bytes": 900000000, "peak_cuda_bytes": null, "examples": 30, '
    '"tokens": 300, "padded_tokens": 330, "world_size": 1, "rank": 0, "device": "cpu", "cached": false, "attempt": 1, '
    '"finished": true, "commit": "0000", "started_at": "2026-01-01T00:00:00.000001+00:00", "work": "proxy-a", '
    '"kept": []}\n'
)


def test_a_line_of_schema_1_is_read_and_a_new_one_goes_below_it(tmp_path: Path):
    path = tmp_path / "cost.jsonl"
    path.write_text(LINE)
    ledger = Ledger(path, attempt=next_attempt(tmp_path))
    with ledger.stage("search") as cost:
        cost.add(examples=30, flops=5.0, method="by hand")
    old, new = read_ledger(path)
    assert (old.schema, old.stage, old.flops, old.work, old.kept) == (1, "select", 7e6, "proxy-a", ())
    assert (new.schema, new.stage, new.attempt) == (2, "search", 2)
    assert path.read_text().startswith(LINE)
    ledger.avoided(old)  # a result from a cache of schema 1
    assert read_ledger(path)[2] == replace(old, cached=True, attempt=2, kept=None)


def test_a_ledger_that_is_not_there_is_a_sentence(tmp_path: Path):
    with mistake(LedgerError, tmp_path / "cost.jsonl"):
        read_ledger(tmp_path / "cost.jsonl")
