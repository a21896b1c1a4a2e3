"""Classify one text, or a pair of texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from selectune.datamodules.base import SelectionDataModule
from selectune.lightning_modules.heads import ClassificationHead
from selectune.splits import class_numbers, encode_labels

if TYPE_CHECKING:
    from datasets import Dataset


class TextClassification(SelectionDataModule):
    """Texts, or pairs of texts, and one label each.

    Args:
        dataset: see `SelectionDataModule`, as for all other arguments.
        text_column: of the text.
        pair_column: of the second text, for tasks on pairs.
        label_column: of the label: numbers 0..C-1 or class names.
    """

    head_class = ClassificationHead

    def __init__(
        self,
        dataset: str,
        text_column: str = "text",
        pair_column: str | None = None,
        label_column: str = "label",
        **kwargs: Any,
    ) -> None:
        self.text_column, self.pair_column, self._label_column = text_column, pair_column, label_column
        self.label_names: list[str] = []
        super().__init__(dataset, **kwargs)

    @property
    def text_columns(self) -> tuple[str, ...]:
        """One column, or two of a pair."""
        return (self.text_column, self.pair_column) if self.pair_column else (self.text_column,)

    @property
    def label_column(self) -> str:
        """The column of the label."""
        return self._label_column

    @property
    def num_labels(self) -> int:
        """Number of classes in the unselected train split."""
        return len(self.label_names)

    def read_labels(self, train: Dataset, others: dict[str, Dataset]) -> dict[str, np.ndarray]:
        """Numbers of the classes; which classes there are, the unselected train split says."""
        names = getattr(train.features[self.label_column], "names", None)
        where = f"the train split of {self.dataset}"
        numbers, self.label_names = class_numbers(list(train[self.label_column]), names, where)
        labels = {"train": numbers}
        for role, split in others.items():
            where = f"the {role} split of {self.dataset}"
            labels[role] = encode_labels(list(split[self.label_column]), self.label_names, where)
        return labels

    def head(self) -> ClassificationHead:
        """Softmax over the classes."""
        return ClassificationHead(self.label_names)

    def extras(self, split: str, rows: np.ndarray) -> dict[str, Any]:
        """The labels, int64, shape (rows,)."""
        return {"labels": torch.from_numpy(self.labels[split][rows])}

    def references(self) -> dict[str, float]:
        """Accuracy on the held-out split of always answering the largest class of the train split."""
        largest = np.bincount(self.labels["train"]).argmax()
        return {"majority_accuracy": float((self.labels["test"] == largest).mean())}
