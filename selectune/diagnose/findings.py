"""Findings of a diagnosis: which rows, how many, how sure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

# In the order in which they are shown. ``findings.parquet`` names rows by these.
NAMES = (
    "empty", "exact_copy", "near_copy", "leakage", "truncated", "not_language", "off_topic", "label_issue",
    "rare_class",
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """Rows of a pool that have something wrong with them.

    Args:
        name: one of `NAMES`.
        scores: of every row, higher is worse, float64, shape (n_rows,).
        rows: that are named, row ids, ascending.
        share: of the pool that has it, estimated where rows overlap with good ones.
        low: of a 95 % interval of the share, for the source that the pool was drawn from.
        high: of it.
        details: numbers that say more, as JSON types.
    """

    name: str
    scores: np.ndarray
    rows: np.ndarray
    share: float
    low: float
    high: float
    details: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def counted(cls, name: str, scores: np.ndarray, rows: np.ndarray, **details: Any) -> Finding:
        """A finding whose rows are known one by one: its share is counted, its interval is Wilson's."""
        n, share = len(scores), len(rows) / len(scores)
        low, high = wilson(len(rows), n)
        return cls(name, scores, np.asarray(rows, dtype=np.int64), share, low, high, details)


def wilson(count: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Bounds of the 95 % interval of a share (Wilson 1927)."""
    share = count / n
    centre, spread = share + z**2 / (2 * n), z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low, high = (centre - spread) / (1 + z**2 / n), (centre + spread) / (1 + z**2 / n)
    return (0.0 if count == 0 else float(low)), (1.0 if count == n else float(high))
