"""Size of a pilot: how many rows its small trainings get within a hard limit of the cost."""

from __future__ import annotations

from dataclasses import dataclass

from selectune.common.errors import BudgetError

PARTS = (4, 2, 1)  # the nested subsets: a quarter and a half of the largest one, and itself
DIAGNOSIS_AT_MOST = 1 / 3  # of the limit
EVALUATION_AT_MOST = 0.3  # of what the diagnosis leaves
HELD_OUT_AT_LEAST, ROWS_AT_LEAST = 50, 16  # held-out rows, and rows of the smallest subset
RESERVE = 0.03  # of the limit is left, as a batch may be padded more than the mean of them


@dataclass(frozen=True)
class Prices:
    """What a pilot is paid in, FLOPs over all processes.

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

    Args:
        prices: of its parts.
        share: of the full training's cost, over 0 and at most 1.
        epochs: of the full training.
        held_out: rows that there are to judge on.
        arms: plans to try beside random rows.
        pool_rows: rows of the pool.

    Raises:
        BudgetError: the diagnosis takes more than a third of the share, or too little is left for a training.
    """
    limit = share * prices.full
    if prices.diagnosis > DIAGNOSIS_AT_MOST * limit:
        needed = prices.diagnosis / DIAGNOSIS_AT_MOST / prices.full
        smaller = limit * DIAGNOSIS_AT_MOST / prices.diagnosis
        share_would_do = f"--share {_up(needed):g} would do, or" if needed <= 1 else "No share would do; take"
        raise BudgetError(
            f"The diagnosis alone is {prices.diagnosis / limit:.0%} of the share {share:g}, of which it may be a third;"
            f" {share_would_do} a scorer.checkpoint of {smaller:.0%} of the weights that run now.",
            option="--share",
        )
    left = (1 - RESERVE) * limit - prices.diagnosis
    trainings = len(PARTS) + arms
    judged = min(held_out, int(EVALUATION_AT_MOST * left / (trainings * prices.a_held_out_row)))
    a_row = epochs * prices.a_row * (sum(1 / part for part in PARTS) + arms)
    largest = min(int((left - trainings * judged * prices.a_held_out_row) / a_row), pool_rows)
    if judged < min(HELD_OUT_AT_LEAST, held_out) or largest // PARTS[0] < ROWS_AT_LEAST:
        least = ROWS_AT_LEAST * PARTS[0] * a_row + trainings * HELD_OUT_AT_LEAST * prices.a_held_out_row
        needed = (least + prices.diagnosis) / (1 - RESERVE) / prices.full
        hint = f"--share {_up(needed):g} would do" if needed <= 1 else "the pool is too small for a pilot; use plan"
        raise BudgetError(
            f"The share {share:g} leaves {max(largest, 0)} rows for the largest of {trainings} small trainings, but "
            f"{ROWS_AT_LEAST * PARTS[0]} are needed; {hint}.",
            option="--share",
        )
    sizes = tuple(largest // part for part in PARTS)
    return Design(sizes, int(largest * epochs), arms, judged, limit)


def _up(share: float) -> float:
    """A share rounded up to two digits after the point."""
    return float(-(-share * 100 // 1) / 100)
