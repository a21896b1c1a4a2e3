"""Batches of a data module's splits, the same on every number of processes."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from torch.utils.data import ConcatDataset, DataLoader

from selectune.callbacks.preemption import outlive_sigterm
from selectune.common.errors import BudgetError, DataError, UserError
from selectune.common.ranks import world
from selectune.common.seeds import stage_seed
from selectune.data.batches import (
    EVALUATION_PADDING,
    EvalSampler,
    PlannedBatches,
    ResumableLoader,
    RowBatches,
    TrainSampler,
    batch_loader,
    limited,
    plan_batches,
    split_batch,
    tokens_at_once,
)
from selectune.datamodules.task import TaskData


class Loaders(TaskData):
    """The loaders that Lightning asks for, over splits that are tokenised in `tokens`."""

    @property
    def train_rows(self) -> np.ndarray:
        """Row ids that are trained on, ascending."""
        if self._only is not None:
            return self._only
        return self.selected.rows if self.selected is not None else np.arange(len(self.pool))

    def train_dataloader(self) -> DataLoader:
        """Batches of the selected rows."""
        rows, lengths = self.train_rows, self.tokens["train"].padded_lengths
        rank, size = world()
        self.check_shares(size)
        self._check_interval()
        self.warn_of_lost_classes(rows)

        def collate(batch: np.ndarray) -> dict[str, Any]:
            mine = rows[batch[rank::size]]
            recomputed, kept = split_batch(mine, lengths, self.max_batch_tokens, self._at_once)
            micro = [self.collate("train", part) for part in (*recomputed, *kept)]
            return {"micro_batches": micro, "recomputed": len(recomputed), "n_rows": len(mine)}

        loop: Any = self.trainer.fit_loop.epoch_loop.batch_progress if self.trainer else None
        return ResumableLoader(
            RowBatches(collate),
            sampler=self._train_sampler(),
            num_workers=self.num_workers,
            worker_init_fn=outlive_sigterm,
            pin_memory=self._pinned,
            batches_done=lambda: loop.current.processed if loop else 0,
        )

    def check_shares(self, size: int) -> None:
        """Raise DataError or BudgetError where batches, or rows to train on, are fewer than `size` processes."""
        self.check_batch_size(size)
        if len(self.train_rows) < size:
            raise BudgetError(f"{len(self.train_rows)} row(s) are kept for {size} processes; keep more or use fewer.")

    def check_batch_size(self, size: int) -> None:
        """Raise DataError where a batch has no row for one of `size` processes; known before data is read."""
        if self.batch_size < size:
            raise DataError(
                f"data.batch_size is {self.batch_size} over {size} processes; each needs a row of each batch."
            )

    def _check_interval(self) -> None:
        """Refuse validations that never come, before Lightning does so without a word on what to change."""
        trainer: Any = self.trainer
        if trainer is None or trainer.check_val_every_n_epoch is None or trainer.limit_val_batches == 0:
            return
        interval, n_batches = trainer.val_check_interval, limited(self.n_train_batches(), trainer.limit_train_batches)
        if isinstance(interval, int) and interval > n_batches:
            raise UserError(
                f"trainer.val_check_interval is {interval}, but an epoch has {n_batches} batches; lower it, or set "
                "trainer.check_val_every_n_epoch to null to count across epochs."
            )

    def n_train_batches(self) -> int:
        """Training batches of an epoch."""
        return len(self._train_sampler())

    def _train_sampler(self) -> TrainSampler:
        lengths = self.tokens["train"].lengths[self.train_rows]
        return TrainSampler(lengths, self.batch_size, stage_seed(self.seed, "shuffle"), *world())

    def val_dataloader(self) -> DataLoader:
        """Batches of ``dev``."""
        return self._eval_dataloader("dev")

    def test_dataloader(self) -> DataLoader:
        """Batches of the held-out split, and after it of each further one."""
        return self._eval_dataloader(*self.held_out)

    def predict_dataloader(self) -> DataLoader:
        """Batches of the held-out split."""
        return batch_loader(self._planned("test"), pin_memory=self._pinned)

    def _eval_dataloader(self, *splits: str) -> DataLoader:
        """Every row of some splits once, over all ranks; a batch has rows of one split and names it."""
        batches: ConcatDataset[Any] = ConcatDataset([self._planned(split) for split in splits])
        sampler = EvalSampler(len(batches), *world())
        return batch_loader(
            batches, sampler=sampler, num_workers=self.num_workers, worker_init_fn=outlive_sigterm,
            pin_memory=self._pinned,
        )  # fmt: skip

    @property
    def _pinned(self) -> bool:
        """Whether tensors lie where a CUDA device copies them from while it computes."""
        trainer: Any = self.trainer
        return trainer is not None and trainer.strategy.root_device.type == "cuda"

    @property
    def _at_once(self) -> int:
        """Padded tokens of one pass of the network."""
        trainer: Any = self.trainer
        return tokens_at_once(self.max_batch_tokens, trainer.strategy.root_device) if trainer else self.max_batch_tokens

    def _planned(self, split: str) -> PlannedBatches:
        plan = plan_batches(self.tokens[split].padded_lengths, self._at_once, world()[1], EVALUATION_PADDING)
        return PlannedBatches(plan, partial(self.collate, split))

    def collate(self, split: str, rows: np.ndarray) -> dict[str, Any]:
        """The batch of some rows of a split: padded tensors, the task's extras, the row ids, token counts and split."""
        assert self.tokenizer is not None
        batch: dict[str, Any] = dict(self.tokens[split].padded(rows, int(self.tokenizer.pad_token_id or 0)))
        n_tokens = int(batch["attention_mask"].sum())
        return batch | self.extras(split, rows) | {"rows": rows, "n_tokens": n_tokens, "split": split}
