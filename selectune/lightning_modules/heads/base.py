"""The base of all heads (a network, a loss and metrics), and how a network is loaded and called."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection

from selectune.common.errors import CheckpointError, UserError
from selectune.common.progress import transformers_quiet
from selectune.costs.flops import FlopModel, made_up_row, model_flops
from selectune.data.sources import ModelSource
from selectune.data.tokens import load_tokenizer

T = TypeVar("T")
CLASSIFIER = "AutoModelForSequenceClassification"
# model types that take a mask as attention reads it, and read it nowhere else
ENCODERS = ("albert", "bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta")
DECODERS = ("gpt2", "llama")  # that take one too


@dataclass(frozen=True)
class Output:
    """Loss and predictions of a batch."""

    loss_sum: Tensor  # summed over the items, a scalar with a gradient
    items: float | Tensor  # rows of a classifier, or their summed weights; predicted tokens of a language model
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
        self.new: list[str] = []  # names of the network's weights that its checkpoint lacked

    def build(self, source: ModelSource, trained: bool = False) -> Any:
        """The network of a checkpoint, with float32 weights; parts that the checkpoint lacks start at random.

        Raises:
            CheckpointError: it cannot be loaded, or it lacks parts and must be `trained`.
        """
        network, self.new = load_network(self.auto_class, source, **self.config())
        if trained and self.new:
            raise CheckpointError(
                f"{source.described} has no trained head for this task (it lacks {self.new[0]}), so it cannot be "
                "evaluated as it is; fit it first, or name a finished run in --output."
            )
        return network

    @property
    def reads_logits(self) -> bool:
        """Whether a classifier's logits are read, and no other state of the network."""
        return False

    def config(self) -> dict[str, Any]:
        """Settings of the task in the network's config."""
        return {}

    @abstractmethod
    def forward(self, network: nn.Module, batch: dict[str, Any]) -> Output:
        """Loss and predictions of a batch."""

    def flops(self, network: Any, backward: bool) -> FlopModel:
        """FLOPs of a row by its number of tokens, forward alone or with the backward pass."""
        return model_flops(network, partial(made_up_row, network), backward)

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

    try:
        with transformers_quiet():  # heads that start at random are expected here; `missing_keys` names them
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
    if set(loading["missing_keys"]) >= {name for name, _ in network.named_parameters()}:
        raise CheckpointError(
            f"{source.described} holds weights, but none of those of a {type(network).__name__}, which its config.json "
            "names; get the model again, or name another."
        )
    if auto_class == CLASSIFIER:
        _check_classifier(network, source, loading["missing_keys"])
    mismatched = [key if isinstance(key, str) else key[0] for key in loading["mismatched_keys"]]
    return network, sorted([*loading["missing_keys"], *mismatched])


def _check_classifier(network: Any, source: ModelSource, missing: Iterable[str]) -> None:
    """Let a classifier find the last token of a row, whose state it reads if it is a decoder.

    Raises:
        CheckpointError: it cannot be found, or the decoder that makes its state is missing.
    """
    try:
        tokenizer = load_tokenizer(source.folder)
    except CheckpointError:  # told where one is needed to make batches
        return
    # batches are padded with the tokenizer's token, which a decoder's config may not know, or have another one of
    network.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    if any("decoder." in name for name in missing):
        raise CheckpointError(
            f"{source.described} holds the encoder of a {type(network).__name__} alone, whose classifier reads its "
            "decoder; name the whole model."
        )
    if network.config.is_encoder_decoder and tokenizer("a")["input_ids"][-1] != network.config.eos_token_id:
        raise CheckpointError(
            f"{source.described} classifies a row by the state at its end-of-text token, but its tokenizer adds none; "
            "name another model."
        )


def body_class(source: ModelSource) -> str:
    """The transformers class of a network without a head; of an encoder with a decoder the encoder alone."""
    from transformers import MODEL_FOR_TEXT_ENCODING_MAPPING, AutoConfig

    known = type(AutoConfig.from_pretrained(str(source.folder))) in MODEL_FOR_TEXT_ENCODING_MAPPING
    return "AutoModelForTextEncoding" if known else "AutoModel"


def recompute_activations(
    network: Any, source: ModelSource, inside: Callable[[], AbstractContextManager[Any]] = nullcontext
) -> None:
    """Keep the activations between layers alone, and compute those inside of each again in the backward pass.

    Args:
        network: in place.
        source: its checkpoint, for the message.
        inside: makes the context in which they are computed, both times.

    Raises:
        UserError: this network cannot.
    """
    if not network.supports_gradient_checkpointing:
        raise UserError(
            f"transformers has no gradient checkpointing for the {type(network).__name__} of {source.described}; leave "
            "model.gradient_checkpointing out.",
            option="model.gradient_checkpointing",
        )
    # not reentrant, as frozen embeddings give that kind nothing to differentiate
    enable = getattr(network, "activation_checkpointing_enable", None) or network.gradient_checkpointing_enable
    # the second is its name in transformers 5.0; compiling takes no contexts
    contexts = {} if inside is nullcontext else {"context_fn": partial(_twice, inside)}
    enable({"use_reentrant": False, **contexts})


def _twice(make: Callable[[], T]) -> tuple[T, T]:
    return make(), make()


def compile_body(network: Any, backend: bool | str) -> None:
    """Compile a network below its head, in place, for rows of any number and length.

    Raises:
        UserError: torch has no such backend.
    """
    import torch._dynamo

    if backend is not True and backend not in torch._dynamo.list_backends(exclude_tags=()):
        raise UserError(
            f"There is no backend {backend} of torch.compile; model.compile may be true, or one of "
            f"{', '.join(sorted(torch._dynamo.list_backends()))}.",
            option="model.compile",
        )
    # heads stay as they are: hooks of `before_output` come and go, and masked positions are as many as they are
    network.base_model.compile(dynamic=True, backend="inductor" if backend is True else backend)


def network_inputs(network: nn.Module, batch: dict[str, Any]) -> dict[str, Tensor | None]:
    """The arguments of a network's forward pass; some architectures know no token types."""
    inputs = {"input_ids": batch["input_ids"], "attention_mask": _attention_mask(network, batch)}
    # a GPT-2 takes token types too, but would add the embedding of token 0 for type 0
    if getattr(network.config, "type_vocab_size", 0) > 1 and _takes_token_types(type(network).forward):
        inputs["token_type_ids"] = batch["token_type_ids"]
    return inputs


def _attention_mask(network: Any, batch: dict[str, Any]) -> Tensor | None:
    """The mask of a batch, on an accelerator in a form for which the host need not wait.

    transformers asks a mask of rows and positions at each pass whether it masks anything, and waits for the answer. So
    the encoders that are known to take one get it as their attention reads it, or none where nothing is padding, which
    is counted on the host. Decoders get it so where there is padding: without it their attention has a kernel of its
    own, which transformers takes by that answer.
    """
    mask: Tensor = batch["attention_mask"]
    config, whole = network.config, batch.get("n_tokens") == mask.numel()
    known = type(network).__module__.startswith("transformers.models.") and config._attn_implementation == "sdpa"
    if mask.device.type == "cpu" or not known:
        return mask
    read = mask.bool()[:, None, None].expand(-1, 1, mask.shape[1], -1)
    if config.model_type in ENCODERS and not getattr(config, "is_decoder", False):
        return None if whole else read
    if config.model_type in DECODERS and getattr(config, "is_causal", True) and not whole:
        return read & torch.ones(read.shape[2:], dtype=torch.bool, device=mask.device).tril()
    return mask


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
