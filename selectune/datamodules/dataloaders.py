"""Batches of a data module's splits, the same on every number of processes."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import numpy as np
from torch.utils.data import ConcatDataset, DataLoader

from selectune.callbacks.preemption import outlive_sigterm
from selectune.common.errors import BudgetError, DataError, UserError
from selectune.common.ranks import world
from selectune.common.seeds import stage_seed
from selectune.data.batches import (
    EvalSampler,
    PlannedBatches,
    ResumableLoader,
    RowBatches,
    TrainSampler,
    batch_loader,
    plan_batches,
    split_batch,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from selectune.data.tokens import BatchRows


class Loaders(pl.LightningDataModule):
    """The loaders that Lightning asks for, over splits that are tokenised in `tokens`."""

    tokens: dict[str, BatchRows]
    tokenizer: PreTrainedTokenizerBase | None
    batch_size: int
    max_batch_tokens: int
    num_workers: int

    @property
    @abstractmethod
    def seed(self) -> int:
        """Of the shuffles."""

    @property
    @abstractmethod
    def held_out(self) -> tuple[str, ...]:
        """The splits that are evaluated in the end."""

    @property
    @abstractmethod
    def train_rows(self) -> np.ndarray:
        """Row ids that are trained on, ascending."""

    @abstractmethod
    def extras(self, split: str, rows: np.ndarray) -> dict[str, Any]:
        """What the task adds to a batch of rows of a split."""

    def warn_of_lost_classes(self, rows: np.ndarray) -> None:
        """Warn where the rows that are trained on lack a class; a task without classes has nothing to lose."""

    def train_dataloader(self) -> DataLoader:
        """Batches of the selected rows."""
        rows, lengths = self.train_rows, self.tokens["train"].lengths
        rank, size = world()
        self.check_shares(size)
        self._check_interval()
        self.warn_of_lost_classes(rows)

        def collate(batch: np.ndarray) -> dict[str, Any]:
            mine = rows[batch[rank::size]]
            micro = [self.collate("train", part) for part in split_batch(mine, lengths, self.max_batch_tokens)]
            return {"micro_batches": micro, "n_rows": len(mine)}

        loop: Any = self.trainer.fit_loop.epoch_loop.batch_progress if self.trainer else None
        return ResumableLoader(
            RowBatches(collate),
            sampler=self._train_sampler(),
            num_workers=self.num_workers,
            worker_init_fn=outlive_sigterm,
            batches_done=lambda: loop.current.processed if loop else 0,
        )

    def check_shares(self, size: int) -> None:
        """Refuse a training in which a process would be without a row.

        Args:
            size: number of processes.

        Raises:
            DataError: batches are smaller than that.
            BudgetError: fewer rows are trained on.
        """
        self.check_batch_size(size)
        if len(self.train_rows) < size:
            raise BudgetError(f"{len(self.train_rows)} row(s) are kept for {size} processes; keep more or use fewer.")

    def _check_interval(self) -> None:
        """Refuse validations that never come, before Lightning does so without a word on what to change."""
        trainer: Any = self.trainer
        if trainer is None or trainer.check_val_every_n_epoch is None or trainer.limit_val_batches == 0:
            return
        interval, limit, n_batches = trainer.val_check_interval, trainer.limit_train_batches, self.n_train_batches()
        n_batches = min(n_batches, limit) if isinstance(limit, int) else int(n_batches * limit)
        if isinstance(interval, int) and interval > n_batches:
            raise UserError(
                f"trainer.val_check_interval is {interval}, but an epoch has {n_batches} batches; lower it, or set "
                "trainer.check_val_every_n_epoch to null to count across epochs."
            )

    def check_batch_size(self, size: int) -> None:
        """Refuse batches in which a process would be without a row; known before any data is.

        Raises:
            DataError: they are smaller than the number of processes.
        """
        if self.batch_size < size:
            raise DataError(
                f"data.batch_size is {self.batch_size} over {size} processes; each needs a row of each batch."
            )

    def n_train_batches(self) -> int:
        """Training batches of an epoch."""
        return len(self._train_sampler())

    def val_dataloader(self) -> DataLoader:
        """Batches of ``dev``."""
        return self.eval_dataloader("dev")

    def test_dataloader(self) -> DataLoader:
        """Batches of the held-out split, and after it of each further one."""
        return self.eval_dataloader(*self.held_out)

    def predict_dataloader(self) -> DataLoader:
        """Batches of the held-out split."""
        plan = plan_batches(self.tokens["test"].lengths, self.max_batch_tokens, world()[1])
        return batch_loader(PlannedBatches(plan, lambda rows: self.collate("test", rows)))

    def eval_dataloader(self, *splits: str) -> DataLoader:
        """Every row of some splits once, over all ranks; no batch has rows of two, and each says which it is of."""
        rank, size = world()
        plans = {split: plan_batches(self.tokens[split].lengths, self.max_batch_tokens, size) for split in splits}
        data: ConcatDataset[Any] = ConcatDataset(
            [PlannedBatches(plan, partial(self.collate, split)) for split, plan in plans.items()]
        )
        sampler = EvalSampler(len(data), rank, size)
        return batch_loader(data, sampler=sampler, num_workers=self.num_workers, worker_init_fn=outlive_sigterm)

    def collate(self, split: str, rows: np.ndarray) -> dict[str, Any]:
        """The batch of some rows of a split: padded tensors, the task's extras, the row ids, token counts and split."""
        assert self.tokenizer is not None
        batch: dict[str, Any] = dict(self.tokens[split].padded(rows, int(self.tokenizer.pad_token_id or 0)))
        n_tokens = int(batch["attention_mask"].sum())
        return batch | self.extras(split, rows) | {"rows": rows, "n_tokens": n_tokens, "split": split}

    def _train_sampler(self) -> TrainSampler:
        lengths = self.tokens["train"].lengths[self.train_rows]
        return TrainSampler(lengths, self.batch_size, stage_seed(self.seed, "shuffle"), *world())
