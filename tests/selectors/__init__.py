"""Made-up pools, for the tests of selectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from selectune.selectors import Budget, IntervalRule, Signals
from selectune.selectors.interval_rules import Band

THREE = ("information_entropy", "generative_entropy", "semantic_entropy")


def pool_of(n_rows: int, seed: int = 0, **scores: np.ndarray) -> Signals:
    """A pool of distinct texts of 1 to 29 tokens; unless given, one entropy has few values and two are continuous."""
    random = np.random.default_rng(seed)
    n_tokens = random.integers(1, 30, n_rows)
    arrays = {
        "n_tokens": n_tokens,
        "input_tokens": n_tokens + 2,
        "text_hash": random.choice(2**62, n_rows, replace=False).astype(np.uint64),
        THREE[0]: np.log(random.integers(1, 9, n_rows)),
        THREE[1]: random.gamma(4.0, 0.7, n_rows),
        THREE[2]: random.normal(3.0, 0.5, n_rows) + random.gamma(1.0, 0.5, n_rows),
    }
    return Signals(arrays | scores)


def band_of(rule: IntervalRule, scores: np.ndarray, budget: Budget, keys: np.ndarray, *given: Any) -> Band:
    """The band of a rule, where each row has a key; then the rows' tokens, and the scores of a target."""
    return rule.band(scores, budget, keys.__getitem__, *given)


def rows_of(rule: IntervalRule, *given: Any) -> np.ndarray:
    """The rows of `band_of`."""
    return band_of(rule, *given).rows


def permuted(pool: Signals, order: np.ndarray) -> Signals:
    """The same pool with its rows in another order."""
    return Signals({name: values[order] for name, values in pool.items()})
