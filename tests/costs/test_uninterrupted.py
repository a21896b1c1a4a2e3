"""The uninterrupted costs of a run do not depend on where it was interrupted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from selectune.common.files import write_json
from selectune.costs.compute_saving import compute_saving
from selectune.costs.ledger import append
from selectune.costs.record import CostRecord, add_up
from selectune.costs.uninterrupted import uninterrupted
from selectune.selection.matched_budget import flops_of
from tests.costs.records import record

ROWS, WARM_UP_ROWS = 100, 40


def whole() -> list[CostRecord]:
    """Two epochs on 100 rows, after a warm-up of one epoch on 40 rows that were chosen."""
    return [
        record("score", part="warm_up", flops=50),
        record("solve", part="warm_up", flops=5),
        record("warm_up", part="warm_up", flops=400, examples=WARM_UP_ROWS, tokens=4000),
        record("score", flops=30),
        record("solve", flops=7),
        record("select", flops=0),
        record("train", flops=200, examples=2 * ROWS, tokens=2000),
    ]


def run_of(folder: Path, records: list[CostRecord]) -> Path:
    append(folder / "cost.jsonl", records)
    compute_saving(records, ROWS, 1000, 1000, 10_000, epochs=2.0).write(folder)
    write_json(folder / "warm_up" / "selection" / "manifest.json", {"n_rows": WARM_UP_ROWS})
    (folder / "config.yaml").write_text(yaml.safe_dump({"warm_up": {"max_epochs": 1, "max_steps": -1}}))
    return folder


def total(records: list[CostRecord]) -> tuple[float | None, float, int, int]:
    found = add_up(records)
    return found.flops, found.device_s, found.tokens, found.examples


def interrupted(records: list[CostRecord], place: int) -> list[CostRecord]:
    """The ledger of a run that was stopped in a stage and went on, each part of which took as long as what it did."""
    first = records[place]
    stopped = record(first.stage, part=first.part, flops=None, examples=0, tokens=0, finished=False)
    if first.stage in ("train", "warm_up"):  # the half that came after the last checkpoint is done twice
        half = {"flops": first.flops // 2, "examples": first.examples // 2, "tokens": first.tokens // 2}
        stopped = record(first.stage, part=first.part, **half, device_s=0.5, wall_s=0.5, finished=False)
    return [*records[:place], stopped, *(replace(one, attempt=2) for one in records[place:])]


def test_an_uninterrupted_run_is_as_its_ledger_says(tmp_path: Path) -> None:
    records = whole()
    assert total(uninterrupted(run_of(tmp_path, records))) == total(records)


@pytest.mark.parametrize("place", range(7), ids=lambda place: f"{whole()[place].part}-{whole()[place].stage}")
def test_where_a_run_was_interrupted_changes_nothing(place: int, tmp_path: Path) -> None:
    records = whole()
    found = uninterrupted(run_of(tmp_path, interrupted(records, place)))
    assert total(found) == pytest.approx(total(records))
    assert flops_of(tmp_path) == pytest.approx((37, 200)), "random rows of the same cost are as many"


def test_proxies_of_two_attempts_all_count(tmp_path: Path) -> None:
    """A search that was stopped goes on with the bands that have no result yet; each trains on as many rows."""
    proxies = [record("select", flops=20, examples=10, tokens=100, attempt=attempt) for attempt in (1, 1, 1, 2, 2)]
    stopped = record("select", flops=11, examples=5, tokens=50, finished=False)
    training = record("train", flops=200, examples=2 * ROWS, attempt=2)
    found = uninterrupted(run_of(tmp_path, [*proxies[:3], stopped, *proxies[3:], training]))
    assert add_up(found).flops == 5 * 20 + 200


def test_stages_that_ended_and_were_gone_through_again_count_once(tmp_path: Path) -> None:
    """As with two selectors in a chain, the second of which was stopped while it scored."""
    first, second = record("solve", flops=7), record("solve", flops=9)
    stopped = record("score", flops=None, examples=0, tokens=0, finished=False)
    again = record("solve", flops=7, attempt=2)
    training = record("train", flops=200, examples=2 * ROWS, attempt=2)
    later = [again, record("score", flops=40, attempt=2), replace(second, attempt=2), training]
    found = uninterrupted(run_of(tmp_path, [first, stopped, *later]))
    assert add_up(found).flops == 7 + 40 + 9 + 200


def test_what_is_unknown_stays_unknown(tmp_path: Path) -> None:
    stored = record("score", flops=None, cached=True, finished=False)
    found = uninterrupted(run_of(tmp_path, [stored, record("train", examples=2 * ROWS)]))
    assert add_up(found).flops is None
    assert add_up(found).device_s == 2.0


def test_training_that_nobody_interrupted_is_not_scaled(tmp_path: Path) -> None:
    """Epochs are counted in batches, of which the last may be short."""
    records = [record("train", examples=2 * ROWS + 10)]
    assert uninterrupted(run_of(tmp_path, records)) == records


def test_a_part_of_scoring_that_was_kept_is_charged(tmp_path: Path) -> None:
    records = whole()
    half = replace(records[3], flops=15, device_s=0.5, wall_s=0.5)
    first = record("score", flops=15, device_s=0.5, wall_s=0.5, finished=False)
    found = uninterrupted(run_of(tmp_path, [*records[:3], first, half, *records[4:]]))
    assert add_up(found).flops == add_up(records).flops
    assert add_up(found).device_s == add_up(records).device_s
