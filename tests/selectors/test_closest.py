"""Plain distance to a target, and random rows of several data sets."""

from __future__ import annotations

import numpy as np
import pytest

from selectune.common.errors import DataError, UserError
from selectune.selectors import Budget, Closest, Random, Signals
from tests.mistakes import mistake
from tests.selectors.test_gotd import clouds, signals


@pytest.mark.parametrize("to", ["nearest", "mean"])
def test_scores_are_those_of_a_slow_loop(to: str) -> None:
    pool, target, _ = clouds()
    picked = Closest(to).select(signals(pool), signals(target, 500), Budget(rows=10), 0)
    d2 = ((pool[:, None] - target) ** 2).sum(-1)
    expected = d2.min(1) if to == "nearest" else d2.mean(1)
    shift = 0 if to == "nearest" else np.mean(expected - picked.scores)
    np.testing.assert_allclose(picked.scores + shift, expected, atol=1e-9)
    assert set(picked.rows) == set(np.argsort(expected)[:10])


def test_mistakes_are_told() -> None:
    pool, _, _ = clouds()
    with mistake(DataError, "Closest", option="data.target"):
        Closest().select(signals(pool), None, Budget(rows=3), 0)
    with mistake(UserError, "median", option="Closest's to"):
        Closest("median")  # type: ignore[arg-type]


def test_random_rows_can_be_even_over_data_sets() -> None:
    domain = np.repeat([0, 1, 2], [100, 10, 4]).astype(np.int32)
    pool = signals(np.ones((114, 2)), domain=domain)
    counts = [np.bincount(domain[Random(even=True).select(pool, None, Budget(rows=n), 0).rows]) for n in (9, 30)]
    assert counts[0].tolist() == [3, 3, 3]
    assert counts[1].tolist() == [16, 10, 4], "one that is exhausted gives all that it has"
    order = np.random.default_rng(0).permutation(114)
    permuted = Signals({name: values[order] for name, values in pool.items()})
    again = order[Random(even=True).select(permuted, None, Budget(rows=30), 0).rows]
    assert set(again) == set(Random(even=True).select(pool, None, Budget(rows=30), 0).rows)
    with mistake(DataError, "Random", option="data.dataset"):
        Random(even=True).select(signals(np.ones((4, 2))), None, Budget(rows=2), 0)
