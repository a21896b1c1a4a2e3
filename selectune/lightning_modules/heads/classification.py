"""Heads of texts and of pairs of texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from selectune.lightning_modules.heads.base import Head, Output, network_inputs

if TYPE_CHECKING:
    from torchmetrics import Metric, MetricCollection


class ClassificationHead(Head):
    """One of C classes.

    Args:
        labels: names of the classes, in the order of their numbers.
    """

    auto_class = "AutoModelForSequenceClassification"
    monitor, mode = "val/accuracy", "max"

    def __init__(self, labels: list[str]) -> None:
        super().__init__()
        self.labels = labels

    def config(self) -> dict[str, Any]:
        """Number and names of the classes."""
        return {
            "num_labels": len(self.labels),
            "id2label": dict(enumerate(self.labels)),
            "label2id": {label: i for i, label in enumerate(self.labels)},
        }

    def forward(self, network: nn.Module, batch: dict[str, Any]) -> Output:
        """Cross-entropy, in nats; predictions are logits, shape (rows, C)."""
        logits = network(**network_inputs(network, batch)).logits.float()
        loss = nn.functional.cross_entropy(logits, batch["labels"], reduction="sum")
        return Output(loss, len(logits), logits.detach(), batch["labels"])

    def predict(self, network: nn.Module, batch: dict[str, Any]) -> dict[str, Any]:
        """``prediction``, a class name, and the probability of each class."""
        shares = network(**network_inputs(network, batch)).logits.float().softmax(-1).cpu().numpy()
        names = [self.labels[i] for i in shares.argmax(1)]
        return {"prediction": names} | {f"probability_{name}": shares[:, i] for i, name in enumerate(self.labels)}

    def metrics(self) -> MetricCollection:
        """Accuracy and macro-F1."""
        from torchmetrics import MetricCollection
        from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

        n = max(2, len(self.labels))
        made: dict[str, Metric | MetricCollection] = {
            "accuracy": MulticlassAccuracy(n, average="micro"),
            "macro_f1": MulticlassF1Score(n, average="macro"),
        }
        return MetricCollection(made)
