"""What a task says of itself to the data module that all tasks share."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from selectune.data.pool import check_texts
from selectune.datamodules.dataloaders import Loaders

if TYPE_CHECKING:
    from datasets import Dataset

    from selectune.lightning_modules.heads import Head


class TaskData(Loaders):
    """A task's columns, labels, rows and head; each has its own, or what suits most as it stands here."""

    head_class: type[Head]
    has_classes: bool = True  # labels are classes, so that samples are stratified and lost ones warned of
    labels: dict[str, np.ndarray]  # by split

    @property
    @abstractmethod
    def text_columns(self) -> tuple[str, ...]:
        """The column of the text, or the two of a pair."""

    @property
    def label_column(self) -> str | None:
        """The column of the label, if the task has one."""
        return None

    @property
    def side_columns(self) -> tuple[str, ...]:
        """Columns that are kept where a split has them."""
        return ()

    @property
    def monitor(self) -> tuple[str, str]:
        """The metric on ``dev`` that chooses the checkpoint, and ``max`` or ``min`` of it; known before any data is."""
        return self.head_class.monitor, self.head_class.mode

    def clean(self, split: Dataset, where: str) -> tuple[Dataset, np.ndarray]:
        """The rows of a split that the task takes, checked, and their positions in it.

        Raises:
            DataError: a column is missing, or a row is without a text.
        """
        check_texts(split, self.text_columns, where)
        return split, np.arange(len(split))

    def with_labels(self, split: Dataset, where: str) -> Dataset:
        """The split, its labels in the form in which they are compared and belong to a pool's fingerprint.

        Raises:
            DataError: a row is without a label, or a label is not of the task's kind.
        """
        return split

    @abstractmethod
    def head(self) -> Head:
        """The head that learns this task."""

    def read_labels(self, train: Dataset, others: dict[str, Dataset]) -> dict[str, np.ndarray]:
        """Labels of all splits as numbers, by split name; nothing for a task without labels."""
        return {}

    def cut(
        self, split: Dataset, groups: list[np.ndarray], limit: int | None
    ) -> tuple[Dataset, np.ndarray, np.ndarray] | None:
        """Rows of a split cut anew into rows of a pool, each with the first and last source row; None leaves them."""
        return None

    def extras(self, split: str, rows: np.ndarray) -> dict[str, Any]:
        """What the task adds to a batch of rows of a split."""
        return {}

    def references(self) -> dict[str, float]:
        """Figures of the held-out split that a reader compares with, by metric name."""
        return {}

    def constant_metrics(self) -> dict[str, float]:
        """Metrics of the best constant answer on the held-out split, by name; those where more is better."""
        return {}

    def warn_of_lost_classes(self, rows: np.ndarray) -> None:
        """Warn where the rows that are trained on lack a class."""
        if self.has_classes and "train" in self.labels:
            lost = sorted(set(self.labels["train"].tolist()) - set(self.labels["train"][rows].tolist()))
            if lost:
                names = getattr(self, "label_names", None)
                told = ", ".join(names[number] if names else str(number) for number in lost)
                warnings.warn(f"The selection has no row of class(es) {told}.", stacklevel=2)
