"""The batches that a fit will make, known beforehand: their rows, tokens, padding and FLOPs."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import numpy as np

from selectune.common.errors import UserError
from selectune.common.seeds import stage_seed
from selectune.costs.flops import FlopModel
from selectune.costs.record import Total
from selectune.data.batches import EVALUATION_PADDING, TrainSampler, plan_batches, split_batch, tokens_at_once

if TYPE_CHECKING:
    from selectune.data.tokens import TokenizedRows
    from selectune.data.windows import BatchRows
    from selectune.datamodules.base import SelectionDataModule

ROWS_TO_PLAN = 2_000_000  # beyond it, further epochs are taken to be as the first


def work_of(tokens: BatchRows, batches: Iterable[tuple[np.ndarray, Sequence[FlopModel | None]]]) -> Total:
    """Counts of batches, each with the passes over it; FLOPs are unknown as soon as those of a pass are."""
    examples = content = padded = 0
    flops: float | None = 0.0
    for rows, passes in batches:
        n_rows, length = tokens.shape_of(rows)
        examples, content, padded = examples + len(rows), content + tokens.tokens_of(rows), padded + n_rows * length
        for model in passes:
            flops = None if flops is None or model is None else flops + model.of_batch(n_rows, length)
    return Total(examples=examples, tokens=content, padded_tokens=padded, flops=flops)


def evaluating(
    splits: Sequence[BatchRows],
    max_batch_tokens: int,
    world_size: int,
    flops: FlopModel | None,
    limit: int | float = 1.0,
) -> Total:
    """One evaluation of some splits in turn; `flops` are those of a row, `limit` is of the batches of a process."""
    planned = partial(plan_batches, max_tokens=max_batch_tokens, at_least=world_size, padding=EVALUATION_PADDING)
    batches = [(split, rows) for split in splits for rows in planned(split.padded_lengths)]
    of_ranks = [batches[rank::world_size] for rank in range(world_size)]
    done = [batch for mine in of_ranks for batch in mine[: _limited(len(mine), limit)]]
    return sum((work_of(split, [(rows, (flops,))]) for split, rows in done), Total(flops=0.0))


def scoring(
    tokens: TokenizedRows,
    batches: Iterable[np.ndarray],
    flops: FlopModel | None,
    product: float,
    passes_of: Callable[[int], int],
) -> Total:
    """One scoring of batches of rows.

    Args:
        tokens: of the whole pool.
        batches: the rows of each.
        flops: of a padded row.
        product: FLOPs at each token of a text.
        passes_of: number of forward passes of a batch, by the tokens of its longest text.
    """
    content, batches = tokens.n_tokens(), list(batches)
    work = work_of(tokens, ((rows, (flops,) * passes_of(int(content[rows].max(initial=0)))) for rows in batches))
    return work + Total(flops=None if flops is None else product * float(sum(content[rows].sum() for rows in batches)))


def training(
    data: SelectionDataModule,
    rows: np.ndarray,
    trainer: pl.Trainer,
    world_size: int,
    forward: FlopModel | None,
    both: FlopModel | None,
    a_step: float | None,
) -> tuple[Total, float, int]:
    """A whole fit on some rows of the pool, batch by batch as the data module and the Trainer will make them.

    `forward` and `both` (with the backward pass) are FLOPs of a row, `a_step` those of a step of the optimizer, which
    each process does.

    Returns:
        The training; its epochs, a share of one where it ends within (one that is limited is a whole one); and the
        number of validations.

    Raises:
        UserError: limits and intervals that Lightning refuses.
    """
    tokens, accumulated = data.encoded("train"), trainer.accumulate_grad_batches
    lengths, padded = tokens.lengths, tokens.padded_lengths
    at_once = tokens_at_once(data.max_batch_tokens, trainer.strategy.root_device)
    sampler = TrainSampler(lengths[rows], data.batch_size, stage_seed(data.seed, "shuffle"), 0, world_size)
    per_epoch = _limited(len(sampler), trainer.limit_train_batches)
    epochs = sys.maxsize if trainer.max_epochs in (None, -1) else int(trainer.max_epochs or 0)

    def epoch_of(n_batches: int) -> Total:
        batches: list[tuple[np.ndarray, tuple[FlopModel | None, ...]]] = []
        for batch in sampler.batches()[:n_batches]:
            for rank in range(world_size):
                recomputed, kept = split_batch(rows[batch[rank::world_size]], padded, data.max_batch_tokens, at_once)
                batches += [*((part, (forward, both)) for part in recomputed), *((part, (both,)) for part in kept)]
        return work_of(tokens, batches)

    total, steps, whole = Total(flops=0.0), 0, Total()
    done: list[int] = []  # batches of each epoch
    for epoch in range(epochs):
        left = math.inf if trainer.max_steps < 0 else (trainer.max_steps - steps) * accumulated
        n_batches = int(min(per_epoch, left))
        if n_batches <= 0:
            break
        done.append(n_batches)
        steps += math.ceil(n_batches / accumulated)
        sampler.set_epoch(epoch)
        as_before = epoch > 0 and n_batches == per_epoch and len(rows) * epochs > ROWS_TO_PLAN
        whole = whole if as_before else epoch_of(n_batches)
        total += whole
    total += Total(flops=None if a_step is None else a_step * steps * world_size)
    return total, sum(done) / max(1, per_epoch), _validations(trainer, done, per_epoch)


def _limited(n_batches: int, limit: int | float) -> int:
    """Number of batches under a limit of Lightning's: a number, or as a float a share of them."""
    left = min(n_batches, limit) if isinstance(limit, int) else int(n_batches * limit)
    if n_batches and not left and limit:
        raise UserError(f"A limit of {limit:g} leaves none of {n_batches} batches; raise trainer.limit_..._batches.")
    return left


def _validations(trainer: pl.Trainer, done: list[int], per_epoch: int) -> int:
    """Number of validations in epochs of so many batches; Lightning does none at the end of a fit alone."""
    if not trainer.limit_val_batches:
        return 0
    interval: Any = trainer.val_check_interval
    step = interval if isinstance(interval, int) else max(1, int(per_epoch * interval))
    every = trainer.check_val_every_n_epoch
    if every is None:  # counts across epochs
        return sum(done) // step
    if step > per_epoch:
        raise UserError(
            f"trainer.val_check_interval is {step}, but an epoch has {per_epoch} batches; lower it, or set "
            "trainer.check_val_every_n_epoch to null to count across epochs."
        )
    return sum(n_batches // step for epoch, n_batches in enumerate(done, 1) if epoch % every == 0)
