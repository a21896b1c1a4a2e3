"""The Pareto front is what a slow comparison of all pairs says."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as some

from selectune.report.comparison_plots import pareto_front

POINTS = some.lists(some.tuples(some.integers(0, 6), some.integers(-6, 6)), max_size=14)


def slow_front(points: list[tuple[int, int]]) -> list[bool]:
    def beats(a: tuple[int, int], b: tuple[int, int]) -> bool:
        return a[0] <= b[0] and a[1] >= b[1] and a != b

    return [not any(beats(other, point) for other in points) for point in points]


def front(points: list[tuple[int, int]]) -> list[bool]:
    costs, figures = np.array(points, dtype=float).reshape(-1, 2).T
    return pareto_front(costs, figures).tolist()


@given(POINTS)
def test_the_front_is_that_of_all_pairs(points: list[tuple[int, int]]):
    assert front(points) == slow_front(points)


@given(POINTS, some.randoms())
def test_the_order_of_the_runs_does_not_matter(points: list[tuple[int, int]], random):
    order = list(range(len(points)))
    random.shuffle(order)
    expected = front(points)
    assert front([points[place] for place in order]) == [expected[place] for place in order]


@given(POINTS)
def test_someone_is_on_the_front_and_those_on_it_do_not_beat_each_other(points: list[tuple[int, int]]):
    kept = [point for point, on in zip(points, front(points)) if on]
    assert bool(kept) == bool(points)
    in_order = sorted(set(kept))
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(in_order))
