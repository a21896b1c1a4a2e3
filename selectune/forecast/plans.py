"""The batches that a fit will make, known beforehand: their rows, tokens, padding and FLOPs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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
    """Length of a fit, and its validations. As in Lightning, a limit or an interval is a number, or a float share."""

    epochs: int  # at most
    steps: int = -1  # of the optimizer, at most; -1 for no limit
    accumulate: int = 1  # batches of an optimizer step
    limit: int | float = 1.0  # batches of an epoch, at most
    validates: bool = True
    interval: int | float = 1.0  # batches between two validations
    every: int | None = 1  # epochs from one with validations to the next; None counts the interval across epochs
    eval_limit: int | float = 1.0  # batches of a validation on one process, at most


@dataclass(frozen=True)
class Work:
    """Counts of some work, each row as often as it is processed."""

    examples: int = 0
    tokens: int = 0  # padding left out
    padded_tokens: int = 0
    flops: float | None = 0.0  # None when unknown
    steps: int = 0  # of the optimizer

    def __add__(self, other: Work) -> Work:
        return Work(
            self.examples + other.examples,
            self.tokens + other.tokens,
            self.padded_tokens + other.padded_tokens,
            None if self.flops is None or other.flops is None else self.flops + other.flops,
            self.steps + other.steps,
        )

    def times(self, n: float) -> Work:
        """The same work n times."""
        flops = None if self.flops is None else self.flops * n
        examples, tokens, padded = (round(count * n) for count in (self.examples, self.tokens, self.padded_tokens))
        return Work(examples, tokens, padded, flops, round(self.steps * n))


@dataclass(frozen=True)
class Fit:
    """A planned fit."""

    work: Work  # of its training
    epochs: float  # a share of one where it ends within; an epoch that is limited is a whole one
    validations: int


def evaluating(
    splits: Sequence[BatchRows],
    max_batch_tokens: int,
    world_size: int,
    flops: FlopModel | None,
    limit: int | float = 1.0,
) -> Work:
    """One evaluation of some splits in turn; `flops` are those of a row, `limit` is of the batches of a process."""
    batches = [(split, rows) for split in splits for rows in plan_batches(split.lengths, max_batch_tokens, world_size)]
    total = Work()
    for rank in range(world_size):
        mine = batches[rank::world_size]
        for split, rows in mine[: _limited(len(mine), limit)]:
            total += _batch(split, rows, (flops,))
    return total


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
        passes_of: number of forward passes of a batch, by the tokens of its longest text.
    """
    content, total = tokens.n_tokens(), Work()
    for rows in plan_batches(tokens.lengths, max_batch_tokens):
        total += _batch(tokens, rows, (flops,) * passes_of(int(content[rows].max(initial=0))))
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

    `forward` and `both` (with the backward pass) are FLOPs of a row, `a_step` those of a step of the optimizer, which
    each process does.

    Raises:
        UserError: limits and intervals that Lightning refuses.
    """
    tokens = data.encoded("train")
    lengths, total = tokens.lengths, Work()
    sampler = TrainSampler(lengths[rows], data.batch_size, stage_seed(data.seed, "shuffle"), 0, world_size)
    per_epoch = _limited(len(sampler), schedule.limit)
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
                # Micro-batches but the last are computed forward, and once more with the backward pass.
                micro = [_batch(tokens, part, (forward, both)) for part in first]
                work += sum([*micro, _batch(tokens, last, (both,))], Work())
        steps = math.ceil(n_batches / schedule.accumulate)
        known = work + Work(flops=None if a_step is None else a_step * steps * world_size, steps=steps)
        total += known
    return Fit(total, sum(done) / max(1, per_epoch), _validations(schedule, done, per_epoch))


def _batch(tokens: BatchRows, rows: np.ndarray, passes: Sequence[FlopModel | None]) -> Work:
    """Some passes over a batch, whose rows count once; FLOPs are unknown as soon as those of a pass are."""
    n_rows, length = tokens.shape_of(rows)
    flops: float | None = 0.0
    for model in passes:
        flops = None if flops is None or model is None else flops + model.of_batch(n_rows, length)
    return Work(len(rows), tokens.tokens_of(rows), n_rows * length, flops)


def _limited(n_batches: int, limit: int | float) -> int:
    """Number of batches under a limit of Lightning's: a number, or as a float a share of them."""
    left = min(n_batches, limit) if isinstance(limit, int) else int(n_batches * limit)
    if n_batches and not left and limit:
        raise UserError(f"A limit of {limit:g} leaves none of {n_batches} batches; raise trainer.limit_..._batches.")
    return left


def _validations(schedule: Schedule, done: list[int], per_epoch: int) -> int:
    """Number of validations in epochs of so many batches; Lightning does none at the end of a fit alone."""
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
