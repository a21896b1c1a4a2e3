"""Size of a scoring batch in padded tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from selectune.data.batches import CPU_TOKENS
from selectune.signals.batch_size import batch_size, largest_that_fits


def attempts(fits: int) -> tuple[list[int], object]:
    tried: list[int] = []

    def attempt(tokens: int) -> None:
        tried.append(tokens)
        if tokens > fits:
            raise torch.OutOfMemoryError("made up")

    return tried, attempt


@pytest.mark.parametrize(("fits", "expected"), [(100, 64), (64, 64), (7, 8), (10**9, 1024)])
def test_it_is_the_largest_doubling_that_fits(fits: int, expected: int) -> None:
    tried, attempt = attempts(fits)
    assert largest_that_fits(attempt, 8, 1024) == expected
    assert tried == sorted(tried)
    assert sum(tokens > fits for tokens in tried) <= 1, "memory is run out of once at most"


def test_it_is_a_constant_on_a_cpu() -> None:
    tried, attempt = attempts(0)
    assert batch_size(torch.device("cpu"), "key", attempt) == CPU_TOKENS
    assert tried == []


def test_on_a_gpu_it_is_found_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Properties:
        name, total_memory = "Made Up 3000", 24 << 30

    monkeypatch.setenv("SELECTUNE_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Properties)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    tried, attempt = attempts(100_000)
    device = torch.device("cuda", 0)
    assert batch_size(device, "key", attempt) == 32_768, "half of what fits, for longer rows' sake"
    before = len(tried)
    assert batch_size(device, "key", attempt) == 32_768
    assert len(tried) == before
    assert batch_size(device, "other", attempt) == 32_768
    assert len(tried) > before
