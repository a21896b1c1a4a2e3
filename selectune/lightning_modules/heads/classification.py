"""Heads that give a text, or a pair of texts, one of C classes or a number."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torchmetrics import MetricCollection, PearsonCorrCoef, SpearmanCorrCoef
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score, MulticlassMatthewsCorrCoef

from selectune.common.errors import CheckpointError, DataError, first_few
from selectune.data.sources import ModelSource
from selectune.lightning_modules.heads.base import Head, Output, network_inputs

CLASS_METRICS = ("accuracy", "macro_f1", "micro_f1", "matthews")
NUMBER_METRICS = ("pearson", "spearman")


class ClassificationHead(Head):
    """Gives each row one of C classes.

    Args:
        labels: names of the classes, in the order of their numbers.
        metrics: of ``accuracy``, ``macro_f1`` (over the classes that occur), ``micro_f1`` and ``matthews``; the first
            one chooses the checkpoint.
        weights: of each class in the loss, in the order of their numbers; default all alike.
    """

    auto_class = "AutoModelForSequenceClassification"
    monitor, mode = "val/accuracy", "max"
    row_metrics = ("label", "prediction")

    def __init__(
        self, labels: list[str], metrics: Sequence[str] = ("accuracy", "macro_f1"), weights: list[float] | None = None
    ) -> None:
        super().__init__()
        self.labels, self.names = labels, check_metrics(metrics, CLASS_METRICS, "classes")
        self.weights = None if weights is None else torch.tensor(weights)
        self.monitor = f"val/{self.names[0]}"

    def build(self, source: ModelSource, trained: bool = False) -> Any:
        """As for all heads; CheckpointError where a `trained` one knows other classes by name, or in another order."""
        network = super().build(source, trained)
        if trained:
            known = known_classes(source)
            unnamed = all(name.startswith("LABEL_") for name in known) or all(name.isdigit() for name in self.labels)
            if not unnamed and [name.casefold() for name in known] != [name.casefold() for name in self.labels]:
                raise CheckpointError(
                    f"{source.described} knows the classes {first_few(known, 20)}, but the rows have "
                    f"{first_few(self.labels, 20)}; evaluate it on rows of its own classes, or predict without labels."
                )
        return network

    def config(self) -> dict[str, Any]:
        """Number and names of the classes."""
        return {
            "num_labels": len(self.labels),
            "id2label": dict(enumerate(self.labels)),
            "label2id": {label: i for i, label in enumerate(self.labels)},
            "problem_type": "single_label_classification",
        }

    @property
    def reads_logits(self) -> bool:
        """Not known of a subclass that builds or calls its network by itself."""
        return _as_in(self, ClassificationHead)

    def forward(self, network: nn.Module, batch: dict[str, Any]) -> Output:
        """Cross-entropy, in nats; predictions are logits, shape (rows, C).

        With weights it is the weighted mean: the sum of weighted losses over the sum of weights.
        """
        logits = network(**network_inputs(network, batch)).logits.float()
        labels = batch["labels"]
        if self.weights is not None:
            self.weights = self.weights.to(logits.device)
        loss = nn.functional.cross_entropy(logits, labels, self.weights, reduction="sum")
        items = len(logits) if self.weights is None else self.weights[labels].sum()
        return Output(loss, items, logits.detach(), labels)

    def predict(self, network: nn.Module, batch: dict[str, Any]) -> dict[str, Any]:
        """``prediction``, a class name, and the probability of each class."""
        probabilities = network(**network_inputs(network, batch)).logits.float().softmax(-1).cpu().numpy()
        columns: dict[str, Any] = {"prediction": [self.labels[i] for i in probabilities.argmax(1)]}
        return columns | {f"probability_{name}": probabilities[:, i] for i, name in enumerate(self.labels)}

    def of_rows(self, output: Output) -> dict[str, Any]:
        """Numbers of the correct and of the predicted class."""
        return {"label": output.targets.cpu().numpy(), "prediction": output.predictions.argmax(-1).cpu().numpy()}

    def metrics(self) -> MetricCollection:
        """Fresh metrics, in the order asked for."""
        # unvalidated: a look at the labels of every batch would wait for the device
        n: dict[str, Any] = {"num_classes": max(2, len(self.labels)), "validate_args": False}
        known: dict[str, Any] = {
            "accuracy": MulticlassAccuracy(average="micro", **n),
            "macro_f1": MulticlassF1Score(average="macro", **n),
            "micro_f1": MulticlassF1Score(average="micro", **n),
            "matthews": MulticlassMatthewsCorrCoef(**n),
        }
        return MetricCollection({name: known[name] for name in self.names})


class RegressionHead(Head):
    """Gives each row a number.

    Args:
        metrics: of ``pearson`` and ``spearman``; the first one chooses the checkpoint.
    """

    auto_class = "AutoModelForSequenceClassification"
    monitor, mode = "val/pearson", "max"

    def __init__(self, metrics: Sequence[str] = NUMBER_METRICS) -> None:
        super().__init__()
        self.names = check_metrics(metrics, NUMBER_METRICS, "numbers")
        self.monitor = f"val/{self.names[0]}"

    def config(self) -> dict[str, Any]:
        """One output."""
        return {"num_labels": 1, "problem_type": "regression"}

    @property
    def reads_logits(self) -> bool:
        """Not known of a subclass that builds or calls its network by itself."""
        return _as_in(self, RegressionHead)

    def forward(self, network: nn.Module, batch: dict[str, Any]) -> Output:
        """Squared error; predictions are numbers, shape (rows,)."""
        numbers = network(**network_inputs(network, batch)).logits.float().squeeze(-1)
        loss = nn.functional.mse_loss(numbers, batch["labels"], reduction="sum")
        return Output(loss, len(numbers), numbers.detach(), batch["labels"])

    def predict(self, network: nn.Module, batch: dict[str, Any]) -> dict[str, Any]:
        """``prediction``, a number."""
        return {"prediction": network(**network_inputs(network, batch)).logits.float().squeeze(-1).cpu().numpy()}

    def metrics(self) -> MetricCollection:
        """Fresh metrics, in the order asked for."""
        with warnings.catch_warnings():  # they keep all predictions, and warn of it: a number a row is little
            warnings.simplefilter("ignore")
            known: dict[str, Any] = {"pearson": PearsonCorrCoef(), "spearman": SpearmanCorrCoef()}
        return MetricCollection({name: known[name] for name in self.names})


def _as_in(head: Head, known: type[Head]) -> bool:
    """Whether a head builds and calls its network as a class does."""
    return all(getattr(type(head), name) is getattr(known, name) for name in ("build", "forward", "predict"))


def known_classes(source: ModelSource) -> list[str]:
    """Names of the classes of a trained classifier, in the order of their numbers."""
    from transformers import AutoConfig

    names = AutoConfig.from_pretrained(str(source.folder)).id2label
    return [str(names[number]) for number in sorted(names)]


def check_metrics(names: Sequence[str], known: Sequence[str], kind: str) -> list[str]:
    """Metrics by name, at least one and none twice.

    Raises:
        DataError: a name is not one of `known`, those of labels of this kind.
    """
    if unknown := [name for name in names if name not in known]:
        raise DataError(
            f"There is no metric '{unknown[0]}' of labels that are {kind}; data.metrics may name {', '.join(known)}."
        )
    if not names or len(set(names)) < len(names):
        raise DataError("data.metrics must name at least one metric, and none twice.")
    return list(names)
