"""Ranks that wait while rank 0 works alone, in two processes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from selectune.common.errors import UserError
from selectune.costs.ledger import Ledger, read_ledger
from selectune.costs.waiting import WAITED, alone
from tests.processes import fork

SECONDS = 1.5


def joined(rank: int, folder: Path) -> Ledger:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    return Ledger(folder / "run" / "cost.jsonl", rank=rank, world_size=2)


def working(rank: int, folder: Path) -> None:
    ledger = joined(rank, folder)

    def solved() -> str:
        with ledger.stage("select", "fit", "a choice") as cost:
            time.sleep(SECONDS)
            cost.move_to("solve")
            cost.add(examples=7, flops=100, method="made up")
        return "all rows"

    assert alone(solved, ledger, "select", "fit", "a choice", lambda _: "solve") == "all rows"
    # what rank 0 reads now, it reads whole
    (folder / f"seen-{rank}").write_text(str(len(read_ledger(ledger.path or folder))))
    torch.distributed.destroy_process_group()


def mistaken(rank: int, folder: Path) -> None:
    ledger = joined(rank, folder)

    def refused() -> None:
        time.sleep(0.2)
        raise UserError("No row is left.")

    try:
        alone(refused, ledger, "select", "fit", "a choice")
    except UserError as error:
        (folder / f"told-{rank}").write_text(str(error))
    if rank == 0:
        shutil.rmtree(folder / "run")  # as a run is removed that never began
    torch.distributed.destroy_process_group()


def run(work: Callable[[int, Path], None], folder: Path) -> None:
    (folder / "run").mkdir()
    processes = [fork(work, rank, folder) for rank in range(2)]
    for process in processes:
        process.join(120)
        assert process.exitcode == 0


def test_a_rank_that_waits_is_charged_for_its_seconds_alone(tmp_path: Path) -> None:
    run(working, tmp_path)
    records = {record.rank: record for record in read_ledger(tmp_path / "run" / "cost.jsonl")}
    assert len(records) == 2
    assert {(record.stage, record.work) for record in records.values()} == {("solve", "a choice")}
    assert (records[0].flops, records[0].examples) == (100, 7)
    assert (records[1].flops, records[1].examples, records[1].flops_method) == (0, 0, WAITED)
    assert all(SECONDS * 0.8 < record.device_s < SECONDS + 5 for record in records.values())
    assert all(record.finished for record in records.values())
    assert [(tmp_path / f"seen-{rank}").read_text() for rank in range(2)] == ["2", "2"]


@pytest.mark.parametrize("again", range(3))
def test_a_mistake_of_rank_0_is_told_by_both_and_leaves_no_run(again: int, tmp_path: Path) -> None:
    run(mistaken, tmp_path)
    assert [(tmp_path / f"told-{rank}").read_text() for rank in range(2)] == ["No row is left."] * 2
    assert not (tmp_path / "run").exists()
