"""The batches that a fit will make, known beforehand: their rows, tokens, padding and FLOPs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from selectune.common.errors import UserError
from selectune.common.seeds import stage_seed
from selectune.costs.flops import FlopModel
from selectune.data.batches import TrainSampler, plan_batches, split_batch

if TYPE_CHECKING:
    from selectune.data.tokens import TokenizedRows
    from selectune.data.windows import BatchRows
    from selectune.datamodules.base import SelectionDataModule

ROWS_TO_PLAN = 2_000_000  # beyond it, further epochs are taken to be as the first


@dataclass(frozen=True)
class Schedule:
    """How long a fit goes on.

    Args:
        epochs: at most.
        steps: of the optimizer, at most; -1 for no limit.
        accumulate: batches of an optimizer step.
        limit: batches of an epoch, at most: a number, or a share of them.
        validates: whether it is validated at all.
        interval: batches between two validations: a number, or a share of an epoch's.
        every: epochs from one with validations to the next; None counts the interval across epochs.
        eval_limit: batches of a validation on one process, at most: a number, or a share of them.
    """

    epochs: int
    steps: int = -1
    accumulate: int = 1
    limit: int | float = 1.0
    validates: bool = True
    interval: int | float = 1.0
    every: int | None = 1
    eval_limit: int | float = 1.0


@dataclass(frozen=True)
class Work:
    """What is done to some rows.

    Args:
        examples: rows, each as often as it is processed.
        tokens: of these, padding left out.
        padded_tokens: padding included.
        flops: None when unknown.
        steps: of the optimizer.
    """

    examples: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    flops: float | None = 0.0
    steps: int = 0

    def __add__(self, other: Work) -> Work:
        known = None if self.flops is None or other.flops is None else self.flops + other.flops
        return Work(
            self.examples + other.examples,
            self.tokens + other.tokens,
            self.padded_tokens + other.padded_tokens,
            known,
            self.steps + other.steps,
        )

    def times(self, n: float) -> Work:
        """So much of it."""
        flops = None if self.flops is None else self.flops * n
        examples, tokens, padded = (round(count * n) for count in (self.examples, self.tokens, self.padded_tokens))
        return Work(examples, tokens, padded, flops, round(self.steps * n))


@dataclass(frozen=True)
class Fit:
    """A fit that is planned.

    Args:
        work: of its training.
        epochs: in which it trains, a share of one where it ends within; an epoch that is limited is a whole one.
        validations: that it makes.
    """

    work: Work
    epochs: float
    validations: int


def evaluating(
    splits: Sequence[BatchRows],
    max_batch_tokens: int,
    world_size: int,
    flops: FlopModel | None,
    limit: int | float = 1.0,
) -> Work:
    """One evaluation of some splits, one after the other.

    Args:
        splits: their tokens.
        max_batch_tokens: padded tokens of a batch.
        world_size: number of processes.
        flops: of a row's forward pass.
        limit: batches on one process, at most: a number, or a share of them.
    """
    batches = [(split, rows) for split in splits for rows in plan_batches(split.lengths, max_batch_tokens, world_size)]
    total = Work()
    for rank in range(world_size):
        mine = batches[rank::world_size]
        for split, rows in mine[: limited(len(mine), limit)]:
            total += _passes(split, [rows], (flops,))
    return total


def limited(n_batches: int, limit: int | float) -> int:
    """How many batches are left under a limit of Lightning's: a number, or as a float a share of them.

    Raises:
        UserError: a share that leaves none.
    """
    left = min(n_batches, limit) if isinstance(limit, int) else int(n_batches * limit)
    if n_batches and not left and limit:
        raise UserError(f"A limit of {limit:g} leaves none of {n_batches} batches; raise trainer.limit_..._batches.")
    return left


def scoring(
    tokens: TokenizedRows,
    max_batch_tokens: int,
    flops: FlopModel | None,
    product: float,
    passes_of: Callable[[int], int],
) -> Work:
    """One scoring of all rows.

    Args:
        tokens: of the rows.
        max_batch_tokens: padded tokens of a batch.
        flops: of a padded row.
        product: FLOPs at each token of a text.
        passes_of: how often the row's FLOPs a batch takes whose longest text has so many tokens.
    """
    content, total = tokens.n_tokens(), Work()
    for rows in plan_batches(tokens.lengths, max_batch_tokens):
        total += _passes(tokens, [rows], (flops,) * passes_of(int(content[rows].max(initial=0))))
    return total + Work(flops=None if flops is None else product * float(content.sum()))


def training(
    data: SelectionDataModule,
    rows: np.ndarray,
    schedule: Schedule,
    world_size: int,
    forward: FlopModel | None,
    both: FlopModel | None,
    a_step: float | None,
) -> Fit:
    """A whole fit on some rows of the pool, batch by batch as the data module will make them.

    Args:
        data: its tokens, batch size and seed are used.
        rows: row ids, ascending.
        schedule: how long.
        world_size: number of processes, each of which does every step of the optimizer.
        forward: FLOPs of the forward pass of a row.
        both: with the backward pass.
        a_step: FLOPs of a step of the optimizer.

    Raises:
        UserError: limits and intervals that Lightning refuses.
    """
    tokens = data.encoded("train")
    lengths, total = tokens.lengths, Work()
    sampler = TrainSampler(lengths[rows], data.batch_size, stage_seed(data.seed, "shuffle"), 0, world_size)
    per_epoch = limited(len(sampler), schedule.limit)
    known: Work | None = None
    done: list[int] = []  # batches of each epoch
    for epoch in range(schedule.epochs):
        left = math.inf if schedule.steps < 0 else (schedule.steps - total.steps) * schedule.accumulate
        n_batches = int(min(per_epoch, left))
        if n_batches <= 0:
            break
        done.append(n_batches)
        if known is not None and n_batches == per_epoch and len(rows) * schedule.epochs > ROWS_TO_PLAN:
            total += known
            continue
        sampler.set_epoch(epoch)
        work = Work()
        for batch in sampler.batches()[:n_batches]:
            for rank in range(world_size):
                *first, last = split_batch(rows[batch[rank::world_size]], lengths, data.max_batch_tokens)
                recomputed = _passes(tokens, first, (forward, both))  # all but the last: forward, and once more
                work += recomputed + _passes(tokens, [last], (both,))
        steps = math.ceil(n_batches / schedule.accumulate)
        known = work + Work(flops=None if a_step is None else a_step * steps * world_size, steps=steps)
        total += known
    return Fit(total, sum(done) / max(1, per_epoch), _validations(schedule, done, per_epoch))


def _validations(schedule: Schedule, done: list[int], per_epoch: int) -> int:
    """How often Lightning validates in epochs of so many batches; the end of a fit alone is no occasion."""
    if not schedule.validates:
        return 0
    every, interval = schedule.every, schedule.interval
    step = interval if isinstance(interval, int) else max(1, int(per_epoch * interval))
    if every is None:
        return sum(done) // step
    if step > per_epoch:
        raise UserError(
            f"trainer.val_check_interval is {step}, but an epoch has {per_epoch} batches; lower it, or set "
            "trainer.check_val_every_n_epoch to null to count across epochs."
        )
    return sum(n_batches // step for epoch, n_batches in enumerate(done, 1) if epoch % every == 0)


def _passes(tokens: BatchRows, batches: Iterable[np.ndarray], passes: tuple[FlopModel | None, ...]) -> Work:
    """What some passes over some batches come to; rows are counted once."""
    total = Work()
    for rows, (n_rows, length) in _shapes(tokens, batches):
        flops: float | None = 0.0
        for model in passes:
            flops = None if flops is None or model is None else flops + model.of_batch(n_rows, length)
        total += Work(len(rows), tokens.tokens_of(rows), n_rows * length, flops)
    return total


def _shapes(tokens: BatchRows, batches: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, tuple[int, int]]]:
    for rows in batches:
        yield rows, tokens.shape_of(rows)
