"""Blocks so small that a made-up pool has several."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch  # noqa: F401  # else the first example of a law that sorts takes its import's time


@pytest.fixture(scope="module")
def small_blocks() -> Iterator[None]:
    """Blocks of four rows, where a pass takes as many at once as the cache holds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("selectune.selectors.blocks.IN_CACHE", 4)
        yield
