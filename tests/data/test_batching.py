"""Plans of batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selectune.data.batches import (
    CPU_TOKENS,
    SMALLEST,
    EvalSampler,
    TrainSampler,
    plan_batches,
    split_batch,
    tokens_at_once,
)

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=60).map(np.array)


@given(LENGTHS, st.integers(1, 200), st.integers(1, 4))
def test_a_plan_holds_every_row_once_within_the_budget(lengths: np.ndarray, budget: int, at_least: int) -> None:
    plan = plan_batches(lengths, budget, at_least)
    assert sorted(np.concatenate(plan).tolist()) == list(range(len(lengths)))
    assert all(len(rows) == 1 or len(rows) * lengths[rows].max() <= budget for rows in plan)
    assert len(plan) >= min(at_least, len(lengths))


@given(LENGTHS, st.integers(1, 400), st.floats(0, 1))
def test_a_batch_ends_before_too_much_of_it_is_padding(lengths: np.ndarray, budget: int, most: float) -> None:
    plan = plan_batches(lengths, budget, padding=most)
    assert sorted(np.concatenate(plan).tolist()) == list(range(len(lengths)))
    for rows, after in zip(plan, [*plan[1:], None]):
        size = len(rows) * lengths[rows].max()
        assert len(rows) <= SMALLEST or 1 - lengths[rows].sum() / size <= most + 1e-9
        if after is not None and len(rows) >= SMALLEST:
            more = lengths[np.append(rows, after[0])]
            full = len(more) * more.max() > budget
            assert full or 1 - more.sum() / (len(more) * more.max()) > most - 1e-9, "it was ended too early"


@given(LENGTHS, st.integers(1, 4))
def test_evaluation_gives_every_batch_to_one_rank(lengths: np.ndarray, world: int) -> None:
    n = len(plan_batches(lengths, 64, world))
    parts = [list(EvalSampler(n, rank, world)) for rank in range(world)]
    assert sorted(index for part in parts for index in part) == list(range(n))
    assert [len(EvalSampler(n, rank, world)) for rank in range(world)] == [len(part) for part in parts]


@given(LENGTHS, st.integers(1, 16), st.integers(1, 3), st.integers(0, 3))
def test_training_gives_every_row_once_an_epoch(lengths: np.ndarray, size: int, world: int, epoch: int) -> None:
    sampler = TrainSampler(lengths, size, seed=5, world_size=world)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    if len(lengths) >= world and size >= world:
        assert all(len(batch[rank::world]) >= 1 for batch in batches for rank in range(world)), "ranks stay in step"


def test_the_number_of_processes_does_not_change_the_batches() -> None:
    lengths = np.random.default_rng(0).integers(3, 30, 100)
    one, two = (TrainSampler(lengths, 8, seed=1, world_size=world) for world in (1, 2))
    assert [sorted(batch) for batch in one] == [sorted(batch) for batch in two]


def test_epochs_differ_and_a_seed_repeats_them() -> None:
    sampler = TrainSampler(np.full(50, 7), 8, seed=1)
    first = [batch.tolist() for batch in sampler.batches()]
    sampler.set_epoch(1)
    assert [batch.tolist() for batch in sampler.batches()] != first
    assert [batch.tolist() for batch in TrainSampler(np.full(50, 7), 8, seed=1)] == first


def test_a_start_in_mid_epoch_holds_for_one_epoch() -> None:
    sampler = TrainSampler(np.full(50, 7), 8, seed=1)
    whole = [batch.tolist() for batch in sampler]
    sampler.start = 3
    assert [batch.tolist() for batch in sampler] == whole[3:]
    assert [batch.tolist() for batch in sampler] == whole


def test_rows_of_one_batch_are_of_like_length() -> None:
    lengths = np.random.default_rng(0).integers(3, 100, 2000)
    batches = TrainSampler(lengths, 32, seed=0).batches()
    padding = sum(len(rows) * lengths[rows].max() for rows in batches) / lengths.sum()
    shuffled = np.random.default_rng(1).permutation(2000).reshape(-1, 25)
    plain = sum(len(rows) * lengths[rows].max() for rows in shuffled) / lengths.sum()
    assert padding < 1.1 < 1.5 < plain


def padded(parts: list[np.ndarray], lengths: np.ndarray) -> list[int]:
    return [len(part) * int(lengths[part].max()) for part in parts]


@pytest.mark.parametrize("at_once", [1, 40, 10_000])
@pytest.mark.parametrize("budget", [1, 64, 10_000])
def test_micro_batches_are_the_batch_and_what_fits_into_memory_is_computed_once(budget: int, at_once: int) -> None:
    lengths = np.arange(1, 41)
    rows = np.array([3, 17, 39, 8, 20])
    recomputed, kept = split_batch(rows, lengths, budget, at_once)
    assert sorted(np.concatenate(recomputed + kept).tolist()) == sorted(rows.tolist())
    assert all(size <= min(budget, at_once) for size in padded(recomputed + kept, lengths) if size > 40)
    assert sum(padded(kept, lengths)) <= max(budget, 40)
    assert (recomputed == []) == (budget == 10_000)
    assert (len(kept) == 1) == (at_once == 10_000 or budget < 10_000)


def test_a_pass_on_a_cpu_is_what_its_cache_holds() -> None:
    for most, on_cpu in ((16_384, CPU_TOKENS), (64, 64)):
        assert tokens_at_once(most, torch.device("cpu")) == on_cpu
        assert tokens_at_once(most, torch.device("cuda")) == most
