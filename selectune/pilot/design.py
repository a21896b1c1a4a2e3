"""Size of a pilot: how many rows its small trainings get within a hard limit of the cost."""

from __future__ import annotations

from dataclasses import dataclass

from selectune.common.errors import BudgetError

PARTS = (4, 2, 1)  # the nested subsets: a quarter and a half of the largest one, and itself
DIAGNOSIS_AT_MOST = 1 / 3  # of the limit
EVALUATION_AT_MOST = 0.3  # of what the diagnosis leaves
HELD_OUT_AT_LEAST, ROWS_AT_LEAST = 50, 16  # held-out rows, and rows of the smallest subset
ENOUGH = 1000  # rows of the largest subset: as long as they are fewer, one plan alone is tried beside random rows
RESERVE = 0.03  # of the limit is left, as a batch may be padded more than the mean of them


@dataclass(frozen=True)
class Prices:
    """Prices of the parts of a pilot, in FLOPs over all processes.

    Args:
        full: the training on all rows, evaluations left out.
        diagnosis: one pass of the scorer over the pool, and what follows from it.
        a_row: a training step, by row.
        a_held_out_row: reading a held-out row.
    """

    full: float
    diagnosis: float
    a_row: float
    a_held_out_row: float


@dataclass(frozen=True)
class Design:
    """The small trainings of a pilot.

    Args:
        sizes: rows of the nested random subsets, ascending, each trained for as many epochs as all rows would be.
        passes: rows that each arm sees in all: as many as the largest subset does.
        arms: number of plans beside random rows, of which the largest subset serves as the arm.
        held_out: rows that each training is judged on.
        limit: FLOPs that nothing may exceed.
    """

    sizes: tuple[int, ...]
    passes: int
    arms: int
    held_out: int
    limit: float


def designed(prices: Prices, share: float, epochs: float, held_out: int, arms: int, pool_rows: int) -> Design:
    """The largest pilot within a share of the full cost.

    A learner that has not left chance after its largest subset tells next to nothing, and rehearsals try every plan. So
    a second plan is tried only where the largest subset has its thousand rows all the same.

    Args:
        prices: of its parts.
        share: of the full training's cost, over 0 and at most 1.
        epochs: of the full training.
        held_out: rows that there are to judge on.
        arms: plans to try beside random rows, at most.
        pool_rows: rows of the pool.

    Raises:
        BudgetError: the diagnosis takes more than a third of the share, or too little is left for a training.
    """

    def sized(asked: float, tried: int = 1) -> tuple[int, int]:
        return _sized(prices, asked, epochs, held_out, tried, pool_rows)

    def suffices(asked: float) -> bool:
        judged, largest = sized(asked)
        affordable = prices.diagnosis <= DIAGNOSIS_AT_MOST * asked * prices.full
        return affordable and judged >= min(HELD_OUT_AT_LEAST, held_out) and largest >= ROWS_AT_LEAST * PARTS[0]

    limit = share * prices.full
    judged, largest = sized(share)
    if not suffices(share):
        enough = next((percent / 100 for percent in range(1, 101) if suffices(percent / 100)), None)
        would_do = "no share would do here, so use plan" if enough is None else f"--share {enough:g} would do"
        if prices.diagnosis > DIAGNOSIS_AT_MOST * limit:
            smaller = DIAGNOSIS_AT_MOST * limit / prices.diagnosis
            reason = f"the diagnosis alone is {prices.diagnosis / limit:.0%} of it, and may be a third"
            would_do += f"; or name a scorer.checkpoint that costs {smaller:.0%} of this one"
        else:
            reason = (
                f"it leaves {max(largest, 0)} rows for the largest of {len(PARTS) + 1} small trainings, which need "
                f"{ROWS_AT_LEAST * PARTS[0]}, and {max(judged, 0)} held-out rows to judge them by"
            )
        raise BudgetError(f"--share {share:g} is too little for a pilot: {reason}; {would_do}.", option="--share")
    tried = next((more for more in range(arms, 1, -1) if sized(share, more)[1] >= min(ENOUGH, pool_rows)), 1)
    judged, largest = sized(share, tried)
    return Design(tuple(largest // part for part in PARTS), int(largest * epochs), tried, judged, limit)


def _sized(prices: Prices, share: float, epochs: float, held_out: int, arms: int, pool_rows: int) -> tuple[int, int]:
    """Held-out rows to judge by, and rows of the largest subset, that a share pays for; below 0 where it pays none."""
    left = (1 - RESERVE) * share * prices.full - prices.diagnosis
    trainings = len(PARTS) + arms
    judged = min(held_out, int(EVALUATION_AT_MOST * left / (trainings * prices.a_held_out_row)))
    a_row = epochs * prices.a_row * (sum(1 / part for part in PARTS) + arms)
    return judged, min(int((left - trainings * judged * prices.a_held_out_row) / a_row), pool_rows)
