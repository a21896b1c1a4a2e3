"""Small fits that do not depend on each other, as many at a time as there are threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from threadpoolctl import threadpool_limits

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(fit: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """The results of a function for each item, in their order.

    Each call has one thread of linear algebra, and torch's number of threads says how many run at a time: on products
    as small as a probe's, threads of one product wait for each other for longer than they work.

    Args:
        fit: that spends its time outside of Python; it must not filter warnings, which is the caller's to do, as the
            filters are shared.
        items: few, as all results are kept.
    """
    workers = torch.get_num_threads()  # before the limit, which torch may share
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        return list(pool.map(fit, items))
