"""Small fits run side by side, each with a thread of linear algebra, and leave the threads as they were."""

from __future__ import annotations

import threading

import pytest
import torch
from threadpoolctl import threadpool_info

from selectune.common.side_by_side import side_by_side


def test_as_many_calls_as_torch_has_threads_are_at_work_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.ones(8, 8) @ torch.ones(8, 8)  # so that torch has taken its threads
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    both = threading.Barrier(2, timeout=20)  # broken where one call waits for the end of the other

    def fit(item: int) -> tuple[int, list[int]]:
        both.wait()
        return item, [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    before = threadpool_info()
    results = side_by_side(fit, range(4))
    assert [item for item, _ in results] == [0, 1, 2, 3]
    assert {n for _, threads in results for n in threads} <= {1}
    assert threadpool_info() == before


def test_torchs_threads_are_read_before_the_limit() -> None:
    earlier = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        both = threading.Barrier(2, timeout=20)
        side_by_side(lambda _: both.wait(), range(2))
    finally:
        torch.set_num_threads(earlier)


def test_an_error_of_one_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        side_by_side(lambda item: 1 // item, [1, 0])
