"""Costs of ranks that hold their devices while rank 0 works alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from selectune.common.ranks import on_rank_zero, world
from selectune.costs.ledger import Ledger, StageCost
from selectune.costs.record import Part, Stage

T = TypeVar("T")
WAITED = "no arithmetic: waited for rank 0"


@contextmanager
def waiting(ledger: Ledger, stage: Stage, part: Part, work: str) -> Iterator[StageCost | None]:
    """Charge this rank for the seconds of the block, where it is not rank 0, which charges its own work.

    Args:
        ledger: of this process.
        stage: that rank 0 is in.
        part: that it serves.
        work: its name there, see `Ledger.stage`.
    """
    if world()[0] == 0:
        yield None
        return
    with ledger.stage(stage, part, work) as cost:
        cost.add(method=WAITED)
        yield cost


def alone(decide: Callable[[], T], ledger: Ledger, stage: Stage, part: Part, work: str) -> T:
    """`on_rank_zero`, for which the other ranks are charged as `waiting` says."""
    with waiting(ledger, stage, part, work):
        return on_rank_zero(decide)
