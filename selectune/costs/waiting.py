"""Costs of ranks that hold their devices while rank 0 works alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from selectune.common.ranks import barrier, lost_process, on_rank_zero, world
from selectune.costs.ledger import Ledger
from selectune.costs.record import Part, Stage

T = TypeVar("T")
WAITED = "no arithmetic: waited for rank 0"


def alone(
    decide: Callable[[], T], ledger: Ledger, stage: Stage, part: Part, work: str,
    stage_of: Callable[[T], Stage] | None = None,
) -> T:  # fmt: skip
    """`on_rank_zero`, where the other ranks are charged for the seconds that they wait; rank 0 charges its own work.

    Rank 0 goes on, or clears away what a mistake began, once all have written what they waited.

    Args:
        decide: see `on_rank_zero`.
        ledger: of this process.
        stage: that rank 0 is in.
        part: that it serves.
        work: its name there, see `Ledger.stage`.
        stage_of: the stage that the result shows to have been another.

    Raises:
        UserError: on every rank, when rank 0 met one.
        RuntimeError: on the other ranks, when rank 0 met anything else.
    """
    rank, size = world()
    if size == 1:
        return decide()
    wait = None if rank == 0 else ledger.stage(stage, part, work)
    result, failure = None, None
    try:
        if wait is not None:
            wait.add(method=WAITED)
        result = on_rank_zero(decide)
        if wait is not None and stage_of is not None:
            wait.move_to(stage_of(result))
    except Exception as error:
        failure = error
    except BaseException:
        if wait is not None:
            wait.close(finished=False)
        raise
    if wait is not None:
        wait.close(finished=failure is None)
    if failure is None or lost_process(failure) is None:
        barrier()
    if failure is not None:
        raise failure
    return result  # type: ignore[return-value]
