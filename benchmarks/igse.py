"""Seconds of a selection by `IGSE` alone, by the size of its pool, on both sides of what a processor's cache holds.

    python benchmarks/igse.py --csv results/igse.csv            # a minute
    python benchmarks/igse.py --csv results/igse.csv --check    # exits with 1 where an exponent is over 1.05

Made-up entropies, of which the information entropy has few values, so that most of its rows tie, and no model. Each
size is selected from seven times, a tenth of its rows; numbers are medians. `IGSE by tokens` keeps a tenth of the
tokens, for which all ties are put in an order. `exponent` is that of the growth from a tenth of a size to it, without
any constant, which is a millisecond.
"""

from __future__ import annotations

import math
import statistics
import time
import warnings

import numpy as np
from _table import Row, finish, parser

from selectune.common.errors import ConcentratedScores
from selectune.common.memory import keep_freed_memory
from selectune.selectors import IGSE, Budget, Signals

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
TIMES, BAR = 7, 1.05


def main() -> None:
    options = parser(__doc__ or "").parse_args()
    keep_freed_memory()  # as a run on a CPU has it
    seconds = {n_rows: measured(n_rows, Budget(rows=n_rows // 10)) for n_rows in SIZES}
    rows = [Row("IGSE", f"{n_rows} rows", "wall_s", taken) for n_rows, taken in seconds.items()]
    for n_rows in SIZES[:-1]:  # of 3 to 8 tokens
        rows.append(Row("IGSE by tokens", f"{n_rows} rows", "wall_s", measured(n_rows, Budget(tokens=n_rows // 2))))
    exponents = {n_rows: math.log10(seconds[n_rows] / seconds[n_rows // 10]) for n_rows in SIZES[1:]}
    rows += [Row("IGSE", f"{size // 10} to {size} rows", "exponent", value) for size, value in exponents.items()]
    missed = [f"up to {n:,} rows it grows with exponent {one:.2f}, and may with {BAR}" for n, one in exponents.items()]
    finish(rows, [told for told, one in zip(missed, exponents.values(), strict=True) if one > BAR], options)


def measured(n_rows: int, budget: Budget) -> float:
    """Median seconds of a selection."""
    random = np.random.default_rng(0)
    pool = Signals(
        {
            "information_entropy": random.integers(0, 40, n_rows) * 0.037,
            "generative_entropy": random.normal(3, 1, n_rows),
            "semantic_entropy": random.normal(2, 0.3, n_rows),
            "n_tokens": random.integers(3, 9, n_rows),
            "text_hash": random.integers(0, 2**64, n_rows, dtype=np.uint64),
        }
    )
    taken = []
    for _ in range(TIMES):
        began = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConcentratedScores)
            IGSE().select(pool, None, budget, seed=0)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


if __name__ == "__main__":
    main()
