"""Freed memory is kept where that spares the system from making every page anew, and given back when asked."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from selectune.common import memory

BLOCKS = """
import resource, sys
import torch
from lightning.pytorch import seed_everything
from selectune import Trainer
from selectune.common import memory
from selectune.common.memory import give_memory_back

memory.available_memory = lambda: 2**40  # whatever else runs here

def faults(blocks):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(blocks):
        torch.empty(36 * 2**20, dtype=torch.uint8).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 2**20

before = faults(5) / 5
Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
faults(1)
kept = resident()
after = faults(20) / 20
give_memory_back()
print(before, after, kept - resident())
"""


def measured(**environment: str) -> list[float]:
    """Page faults of a block of 36 MiB before and after a Trainer was made, and MiB that were given back at the end."""
    done = subprocess.run(
        [sys.executable, "-c", BLOCKS], env=os.environ | environment, check=True, capture_output=True, text=True
    )
    return [float(number) for number in done.stdout.split()[-3:]]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc alone is told so")
def test_a_trainer_on_a_cpu_has_no_page_made_twice_and_gives_all_back() -> None:
    before, after, given_back = measured()
    assert before > 100  # huge pages would be fewer
    assert after < before / 10
    assert given_back > 30


@pytest.mark.parametrize(
    ("available", "threads", "kept"),
    [
        (2**40, 4, 2**30),  # never more than a gibibyte
        (2**34, 4, 2**29),
        (2**34, 1, 2**27),  # one of four cores counts on a quarter
        (2**34, 8, 2**29),
        (2**28, 4, 2**25),  # no more than glibc keeps by itself, whatever an earlier Trainer had set
    ],
)
def test_how_large_blocks_may_be_goes_by_the_memory_that_is_available(
    available: int, threads: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[int, int] = {}
    libc = SimpleNamespace(mallopt=lambda option, value: told.update({option: value}))
    monkeypatch.setattr(memory, "ctypes", SimpleNamespace(CDLL=lambda name: libc))
    monkeypatch.setattr(memory, "available_memory", lambda: available)
    monkeypatch.setattr("torch.get_num_threads", lambda: threads)
    monkeypatch.setattr("psutil.cpu_count", lambda logical: 4)
    monkeypatch.delenv("MALLOC_MMAP_THRESHOLD_", raising=False)
    memory.keep_freed_memory()
    assert told == dict.fromkeys((memory.M_MMAP_THRESHOLD, memory.M_TRIM_THRESHOLD), kept)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc alone is told so")
def test_what_the_environment_says_of_blocks_holds() -> None:
    before, after, _ = measured(MALLOC_MMAP_THRESHOLD_=str(2**25))
    assert after > before / 2
