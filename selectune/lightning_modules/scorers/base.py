"""Forward passes over a pool, as LightningModules: one pass gives every signal of a network that is asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn

from selectune.common.errors import CheckpointError
from selectune.costs.flops import FlopModel, UnfitFlopsError, measure_flops, pass_flops
from selectune.data.sources import ModelSource
from selectune.lightning_modules.heads import load_network, network_inputs, widest
from selectune.lightning_modules.heads.first_position import stack_of
from selectune.lightning_modules.scorers.settings import Embedding

LAST = -1  # stands for the encoder's output, after its last norm


class Scorer(pl.LightningModule):
    """Computes signals of batches of tokenised rows.

    Args:
        network: in evaluation mode from now on.
        wanted: names of the signals.
        embedding_layer: whose mean is the embedding; default the last, after its norm.

    Attributes:
        middle_layer: whose mean is the middle embedding.
    """

    stored = Embedding()  # how embeddings are stored
    middle_layer = 1

    def __init__(self, network: Any, wanted: Sequence[str], embedding_layer: int | None = None) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.wanted = list(wanted)
        self.embedding_layer = LAST if embedding_layer is None else embedding_layer

    def places(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Answers about a batch's tokens that `forward` needs and the host finds beforehand, to add to the batch."""
        return {}

    @abstractmethod
    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Signals of a batch, each float32 of shape (rows,) or (rows, width)."""

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """The signals of one planned batch, as tensors where they were computed, with its index and row ids."""
        return {"batches": np.array([batch["index"]]), "rows": batch["rows"], **self(batch)}

    def flops(self) -> tuple[FlopModel, float]:
        """FLOPs of a padded row without the work at tokens of the text alone, and those at each of these tokens.

        Raises:
            UnfitFlopsError: they are not quadratic in the length.
        """

        def pass_of_row(length: int) -> None:
            with torch.no_grad():
                self(self.made_up(1, length))

        whole, (product, of_row, of_token) = self._by_length(pass_of_row), self.own_flops()
        method = whole.method + ("; softmax and entropies (analytic)" if of_row or of_token else "")
        rest = FlopModel(whole.constant + of_row, whole.linear - product, whole.quadratic, method)
        return rest, product + of_token

    def own_flops(self) -> tuple[float, float, float]:
        """FLOPs of matrix products that padding and special tokens do not cost, at a token, such as the vocabulary's;
        and those outside matrix products, which a trial does not count: of a row, and at a token of its text."""
        return 0.0, 0.0, 0.0

    def embedding_flops(self) -> FlopModel | None:
        """FLOPs of a padded row in a pass for embeddings alone; None where they are not made beside other signals.

        Raises:
            UnfitFlopsError: they are not quadratic in the length.
        """
        # such a pass ends below the first layer that `stop_after` would take out; here the network stays as it is
        above: Any = [] if self.embedding_layer == LAST else layers_of(self.network)[self.embedding_layer :]
        hooks = [layer.register_forward_pre_hook(_end_pass) for layer in above]

        def pass_to_layer(length: int) -> None:
            with torch.no_grad(), suppress(_PassEndedError):
                self.network.base_model(**network_inputs(self.network, self.made_up(1, length)))

        try:
            return self._by_length(pass_to_layer)
        finally:
            for hook in hooks:
                hook.remove()

    @property
    def follows_length(self) -> bool:
        """Whether all products of a pass are in proportion to the length of a row or independent of it."""
        return True

    def _by_length(self, work: Callable[[int], None]) -> FlopModel:
        """FLOPs of some work on a row of so many tokens."""
        if self.follows_length:
            with suppress(UnfitFlopsError):
                return pass_flops(self, work)
        return measure_flops(work)

    def passes_of(self, longest: int) -> int:
        """Passes of a batch, each of which takes `flops`, by the tokens of its longest text, special ones left out."""
        return 1

    def made_up(self, n_rows: int, length: int) -> dict[str, Any]:
        """A batch of made-up rows of one length, without special tokens."""
        ids = torch.ones(n_rows, length, dtype=torch.long, device=self.device)
        zeros = torch.zeros_like(ids)
        batch = {"input_ids": ids, "attention_mask": ids, "token_type_ids": zeros, "special": zeros.bool()}
        return batch | {"labels": zeros[:, 0], "text_hash": np.arange(n_rows)}

    def embeddings(self, states: dict[int, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Those of ``embedding`` and ``middle_embedding`` that are wanted, each of shape (rows, width)."""
        return {name: self.mean_of(states[layer], batch) for name, layer in self._embedding_layers().items()}

    def mean_of(self, hidden: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Mean of a layer's states over the row, padding left out, as they are stored, shape (rows, width)."""
        weights = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        means = (hidden * weights).sum(1).float() / weights.sum(1).float()
        if self.stored.unit_norm:
            means = nn.functional.normalize(means, dim=1)
        return means.half() if self.stored.dtype == "float16" else means

    def read_layers(self) -> set[int]:
        """Layers whose states the signals are made of."""
        return set(self._embedding_layers().values())

    def _embedding_layers(self) -> dict[str, int]:
        layers = {"embedding": self.embedding_layer, "middle_embedding": self.middle_layer}
        return {name: layer for name, layer in layers.items() if name in self.wanted}


class _PassEndedError(Exception):
    """Ends a forward pass below a layer."""


def _end_pass(*_: Any) -> None:
    raise _PassEndedError


@contextmanager
def states_of(network: Any, layers: set[int]) -> Iterator[dict[int, Tensor]]:
    """Collect hidden states in the forward passes inside: layer k's output, 0 the embeddings, `LAST` the encoder's."""
    states: dict[int, Tensor] = {}

    def store(layer: int, output: Any) -> None:
        states[layer] = output if isinstance(output, Tensor) else output[0]

    with ExitStack() as stack:
        for layer in layers:
            if layer == 0:
                first = layers_of(network)[0]
                hook = first.register_forward_pre_hook(
                    lambda module, args, kwargs: store(0, args or kwargs["hidden_states"]), with_kwargs=True
                )
            else:
                module = network.base_model if layer == LAST else layers_of(network)[layer - 1]
                hook = module.register_forward_hook(lambda module, args, output, layer=layer: store(layer, output))
            stack.callback(hook.remove)
        yield states


def layers_of(network: Any) -> nn.ModuleList:
    """The stack of a transformer's layers.

    Raises:
        CheckpointError: the network has no such stack.
    """
    stack = stack_of(network)
    if stack is None:
        raise CheckpointError(
            f"{type(network).__name__} has no stack of {network.config.num_hidden_layers} layers that can be read one "
            "by one; use scorer.generative.head: exact."
        )
    return stack


def stop_after(network: Any, layer: int) -> None:
    """Take a network's layers above one out."""
    stack = layers_of(network)
    if layer < len(stack):
        del stack[layer:]
        network.config.num_hidden_layers = layer


def row_means(values: Tensor, rows: Tensor, n_rows: int) -> Tensor:
    """Means over each row of values, float32, shape (n_rows,); 0 where there are none.

    Args:
        values: shape (n,).
        rows: the row of each, int64, shape (n,).
        n_rows: of the batch.
    """
    # float64 where the device has it, as the order of the additions depends on the batch
    sums, counts = torch.zeros(2, n_rows, dtype=widest(values.device), device=values.device)
    sums.index_add_(0, rows, values.to(sums.dtype))
    counts.index_add_(0, rows, torch.ones_like(values, dtype=counts.dtype))
    return (sums / counts.clamp(min=1)).float()


def load_trained(
    auto_class: str, kind: str, source: ModelSource, remedy: str, training: str = "", least_labels: int = 0
) -> Any:
    """A network with float32 weights and a trained head of some kind.

    Raises:
        CheckpointError: the checkpoint has no such head, or one of fewer labels; the message ends with the remedy, and
            where such a head can be trained, with how.
    """
    try:
        network, missing = load_network(auto_class, source)
    except CheckpointError:
        raise
    except ValueError as error:
        raise CheckpointError(f"{source.described} is of a kind without a {kind} head, but {remedy}.") from error
    if missing or network.config.num_labels < least_labels:
        raise CheckpointError(f"{source.described} has no trained {kind} head, but {remedy}{training}.")
    return network
