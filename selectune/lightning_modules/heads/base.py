"""The base of all heads (a network, a loss and metrics), and how a network is loaded and called."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection

from selectune.common.errors import CheckpointError, UserError
from selectune.costs.flops import FlopModel, model_flops
from selectune.data.sources import ModelSource


@dataclass(frozen=True)
class Output:
    """Loss and predictions of a batch."""

    loss_sum: Tensor  # summed over the items, a scalar with a gradient
    items: float  # rows of a classifier, or their summed weights; predicted tokens of a language model
    predictions: Tensor  # for the metrics, shape (rows, ...)
    targets: Tensor  # for the metrics, shape (rows, ...)


class Head(ABC):
    """A task of `FineTuner`, made by the data module whose batches it reads."""

    auto_class: str  # the transformers class that builds the network
    monitor: str  # the metric on ``dev`` that chooses the checkpoint
    mode: str  # ``max`` or ``min`` of it
    row_metrics: tuple[str, ...] = ()  # the columns that `of_rows` gives; none where metrics are not of rows

    def __init__(self) -> None:
        self.state: dict[str, float] = {}  # belongs to a checkpoint beside the network's weights

    def build(self, source: ModelSource, trained: bool = False) -> Any:
        """The network of a checkpoint, with float32 weights; parts that the checkpoint lacks start at random.

        Raises:
            CheckpointError: it cannot be loaded, or it lacks parts and must be `trained`.
        """
        network, missing = load_network(self.auto_class, source, **self.config())
        if trained and missing:
            raise CheckpointError(
                f"{source.described} has no trained head for this task (it lacks {missing[0]}), so it cannot be "
                "evaluated as it is; fit it first, or name a finished run in --output."
            )
        return network

    def config(self) -> dict[str, Any]:
        """Settings of the task in the network's config."""
        return {}

    @abstractmethod
    def forward(self, network: nn.Module, batch: dict[str, Any]) -> Output:
        """Loss and predictions of a batch."""

    def flops(self, network: Any, backward: bool) -> FlopModel:
        """FLOPs of a row by its number of tokens, forward alone or with the backward pass."""
        return model_flops(network, lambda length: {"input_ids": torch.ones(1, length, dtype=torch.long)}, backward)

    def predict(self, network: nn.Module, batch: dict[str, Any]) -> dict[str, Any]:
        """Predictions of a batch's rows as columns of ``predictions.parquet``, each of length (rows,).

        Raises:
            UserError: this head makes no prediction of a row.
        """
        raise UserError(f"{type(self).__name__} makes no prediction of a row; use `test` instead.")

    def of_rows(self, output: Output) -> dict[str, Any]:
        """The `row_metrics` of each evaluated row, each of shape (rows,)."""
        return {}

    def from_loss(self, loss: float) -> dict[str, float]:
        """Metrics that follow from the mean loss."""
        return {}

    def after_validation(self, metrics: Mapping[str, Any]) -> None:
        """Store what ``dev`` decides, such as a threshold, in `state`."""

    def finish(self, network: Any) -> None:
        """Write what the exported model must know, such as a threshold, into its config."""

    @abstractmethod
    def metrics(self) -> MetricCollection:
        """Fresh metrics, fed with ``(predictions, targets)``."""

    def metrics_for(self, split: str) -> MetricCollection:
        """Fresh metrics of ``val`` or of a held-out split, where they differ."""
        return self.metrics()


def load_network(auto_class: str, source: ModelSource, **config: Any) -> tuple[Any, list[str]]:
    """A network with float32 weights, and the names of those that its folder lacks or has in another shape.

    Raises:
        CheckpointError: the weights cannot be read, or are those of another model.
    """
    import transformers
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # heads that start at random are expected here; `missing_keys` names them
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
    if set(loading["missing_keys"]) >= {name for name, _ in network.named_parameters()}:
        raise CheckpointError(
            f"{source.described} holds weights, but none of those of a {type(network).__name__}, which its config.json "
            "names; get the model again, or name another."
        )
    mismatched = [key if isinstance(key, str) else key[0] for key in loading["mismatched_keys"]]
    return network, sorted([*loading["missing_keys"], *mismatched])


def network_inputs(network: nn.Module, batch: dict[str, Any]) -> dict[str, Tensor]:
    """The arguments of a network's forward pass; some architectures know no token types."""
    inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    # a GPT-2 takes token types too, but would add the embedding of token 0 for type 0
    if getattr(network.config, "type_vocab_size", 0) > 1 and _takes_token_types(type(network).forward):
        inputs["token_type_ids"] = batch["token_type_ids"]
    return inputs


@lru_cache
def _takes_token_types(forward: Any) -> bool:
    return "token_type_ids" in inspect.signature(forward).parameters


def widest(device: torch.device) -> torch.dtype:
    """The widest float of a device: float64, on Apple's GPUs float32."""
    try:
        return torch.empty(0, dtype=torch.float64, device=device).dtype
    except TypeError:
        return torch.float32


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
