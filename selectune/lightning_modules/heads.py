"""What a model is fine-tuned to do: its network, its loss and its metrics, one class a task."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from selectune.errors import CheckpointError, UserError
from selectune.flops import FlopModel, model_flops
from selectune.sources import ModelSource

if TYPE_CHECKING:
    from torchmetrics import Metric, MetricCollection

IGNORED = -100


@dataclass(frozen=True)
class Output:
    """What a head makes of a batch.

    Args:
        loss_sum: summed over the items, a scalar with a gradient.
        items: what the loss is a mean over: rows of a classifier, predicted tokens of a language model.
        predictions: for the metrics and for `predict`, shape (rows, ...).
        targets: for the metrics, shape (rows, ...).
    """

    loss_sum: Tensor
    items: int
    predictions: Tensor
    targets: Tensor


class Head(ABC):
    """A task of `FineTuner`. Its data module makes it, and it knows the batches of that data module.

    Attributes:
        auto_class: the transformers class that builds the network.
        monitor: the metric on ``dev`` that chooses the checkpoint.
        mode: ``max`` or ``min`` of it.
    """

    auto_class: str
    monitor: str
    mode: str

    def build(self, source: ModelSource, trained: bool = False) -> Any:
        """The network, with float32 weights; parts that the checkpoint lacks start at random.

        Args:
            source: the checkpoint.
            trained: refuse a checkpoint that lacks parts.

        Raises:
            CheckpointError: it cannot be loaded, or lacks what `trained` demands.
        """
        network, missing = load_network(self.auto_class, source, **self.config())
        if trained and missing:
            raise CheckpointError(
                f"{source.described} has no trained head for this task (it lacks {missing[0]}), so it cannot be "
                "evaluated as it is; fit it first, or name a finished run in --output."
            )
        return network

    def config(self) -> dict[str, Any]:
        """What the network's config must say of the task."""
        return {}

    @abstractmethod
    def forward(self, network: nn.Module, batch: dict[str, Any]) -> Output:
        """Loss and predictions of a batch."""

    def flops(self, network: Any, backward: bool) -> FlopModel:
        """FLOPs of a row of so many tokens, forward alone or with the backward pass."""
        return model_flops(network, _made_up_row, backward)

    def columns(self, predictions: np.ndarray) -> dict[str, Any]:
        """Predictions of rows as columns of ``predictions.parquet``.

        Raises:
            UserError: this head makes no prediction of a row.
        """
        raise UserError(f"{type(self).__name__} makes no prediction of a row; use `test` instead.")

    @abstractmethod
    def metrics(self) -> MetricCollection:
        """Fresh metrics, fed with ``(predictions, targets)``."""


class ClassificationHead(Head):
    """One of C classes.

    Args:
        labels: names of the classes, in the order of their numbers.
    """

    auto_class = "AutoModelForSequenceClassification"
    monitor, mode = "val/accuracy", "max"

    def __init__(self, labels: list[str]) -> None:
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

    def columns(self, predictions: np.ndarray) -> dict[str, Any]:
        """``prediction``, a class name, and the probability of each class."""
        shifted = np.exp(predictions - predictions.max(1, keepdims=True))
        shares = shifted / shifted.sum(1, keepdims=True)
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


class MaskedLMHead(Head):
    """Masked language modelling (Devlin et al. 2019): of the masked positions 80 % become ``[MASK]``, 10 % a random
    token, 10 % stay.

    Args:
        mask_id: of the mask token.
        vocabulary: number of tokens, for the random ones.
        probability: share of the positions that are predicted.
    """

    auto_class = "AutoModelForMaskedLM"
    monitor, mode = "val/loss", "min"

    def __init__(self, mask_id: int, vocabulary: int, probability: float = 0.15) -> None:
        self.mask_id, self.vocabulary, self.probability = mask_id, vocabulary, probability

    def forward(self, network: nn.Module, batch: dict[str, Any]) -> Output:
        """Cross-entropy at the masked positions, in nats.

        Masks are drawn anew at every training step; in evaluation from the batch's row ids, so that every evaluation
        sees the same ones.
        """
        ids = batch["input_ids"]
        generator = None
        if not network.training:
            generator = torch.Generator(ids.device).manual_seed(int(batch["rows"][0]))
        draw = torch.rand(ids.shape, generator=generator, device=ids.device)
        kind = torch.rand(ids.shape, generator=generator, device=ids.device)
        words = torch.randint(self.vocabulary, ids.shape, generator=generator, device=ids.device)
        masked = (draw < self.probability) & ~batch["special"]
        inputs = torch.where(masked & (kind < 0.8), self.mask_id, ids)
        inputs = torch.where(masked & (kind >= 0.9), words, inputs)
        with before_output(network, lambda hidden: hidden[masked]):
            logits = network(**network_inputs(network, batch | {"input_ids": inputs})).logits.float()
        targets = ids[masked]
        loss = nn.functional.cross_entropy(logits, targets, reduction="sum")
        return Output(loss, len(targets), logits.detach().argmax(-1), targets)

    def flops(self, network: Any, backward: bool) -> FlopModel:
        """As for all heads, but the vocabulary product is made at the masked positions only, in expectation."""
        whole = super().flops(network, backward)
        layer = network.get_output_embeddings()
        product = 2 * layer.weight.numel() * (3 if backward else 1)
        method = f"{whole.method}; vocabulary product at {self.probability:.0%} of the positions".replace("%", " %")
        return FlopModel(whole.constant, whole.linear - (1 - self.probability) * product, whole.quadratic, method)

    def metrics(self) -> MetricCollection:
        """Accuracy over the masked positions."""
        from torchmetrics import MetricCollection
        from torchmetrics.classification import MulticlassAccuracy

        return MetricCollection({"accuracy": MulticlassAccuracy(self.vocabulary, average="micro")})


def _made_up_row(length: int) -> dict[str, Tensor]:
    return {"input_ids": torch.ones(1, length, dtype=torch.long)}


def load_network(auto_class: str, source: ModelSource, **config: Any) -> tuple[Any, list[str]]:
    """A network from a model folder, its weights as float32, and the names of those that the folder lacks or has in
    another shape.

    Raises:
        CheckpointError: the weights do not fit the config.
    """
    import transformers
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # heads that start at random are expected here, and told by `missing_keys`
    logging.disable_progress_bar()
    try:
        network, loading = getattr(transformers, auto_class).from_pretrained(
            str(source.folder),
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **config,
        )
    except OSError as error:
        raise CheckpointError(f"{source.described} cannot be loaded: {str(error).splitlines()[0]}") from error
    finally:
        logging.set_verbosity(verbosity)
    mismatched = [key if isinstance(key, str) else key[0] for key in loading["mismatched_keys"]]
    return network, sorted([*loading["missing_keys"], *mismatched])


def network_inputs(network: nn.Module, batch: dict[str, Any]) -> dict[str, Tensor]:
    """What a network's forward takes of a batch; some architectures know no token types."""
    inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    if _takes_token_types(type(network).forward):
        inputs["token_type_ids"] = batch["token_type_ids"]
    return inputs


@lru_cache
def _takes_token_types(forward: Any) -> bool:
    return "token_type_ids" in inspect.signature(forward).parameters


@contextmanager
def before_output(network: Any, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Change what reaches a language model's output layer, e.g. to fewer positions.

    The vocabulary product is most of a small model's work and its logits most of the memory, so they are made only
    where they are read; all before that layer stays the model's own, whatever its architecture.
    """
    layer = network.get_output_embeddings()
    hook = layer.register_forward_pre_hook(lambda module, inputs: (change(inputs[0]), *inputs[1:]))
    try:
        yield
    finally:
        hook.remove()
