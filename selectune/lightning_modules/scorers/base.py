"""Forward passes over a pool, as LightningModules: one pass gives every signal of a network that is asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn

from selectune.common.errors import CheckpointError
from selectune.costs.flops import FlopModel, measure_flops
from selectune.lightning_modules.heads import network_inputs, widest
from selectune.lightning_modules.scorers.settings import Embedding


class Scorer(pl.LightningModule):
    """Computes signals of batches of tokenised rows.

    Args:
        network: in evaluation mode from now on.
        wanted: names of the signals.
        embedding_layer: whose mean is the embedding; default the last, after its norm.
    """

    def __init__(self, network: Any, wanted: Sequence[str], embedding_layer: int | None = None) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.wanted, self.embedding_layer = list(wanted), embedding_layer

    stored = Embedding()  # how embeddings are stored

    @abstractmethod
    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Signals of a batch, each float32 of shape (rows,) or (rows, width)."""

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, np.ndarray]:
        """The signals of one planned batch, with its index and row ids, as arrays."""
        signals = {name: values.cpu().numpy() for name, values in self(batch).items()}
        return {"batches": np.array([batch["index"]]), "rows": batch["rows"], **signals}

    def flops(self) -> tuple[FlopModel, float]:
        """FLOPs of a padded row without what is done at tokens of the text alone, and those at each of these.

        Raises:
            UnfitFlopsError: they are not quadratic in the length.
        """
        whole, product = measure_flops(self.row_of), self.flops_per_token()
        a_row, a_token = self.analytic_flops()
        method = whole.method + ("; softmax and entropies (analytic)" if a_row or a_token else "")
        rest = FlopModel(whole.constant + a_row, whole.linear - product, whole.quadratic, method)
        return rest, product + a_token

    def embedding_flops(self) -> FlopModel | None:
        """FLOPs of a padded row in a pass for embeddings alone; None where they are not made beside other signals.

        Raises:
            UnfitFlopsError: they are not quadratic in the length.
        """
        layer = LAST if self.embedding_layer is None else self.embedding_layer

        def up_to_it(length: int) -> None:
            with torch.no_grad(), _ended_by(self.network, layer):
                self.network.base_model(**network_inputs(self.network, self.made_up(1, length)))

        return measure_flops(up_to_it)

    def flops_per_token(self) -> float:
        """FLOPs that padding and special tokens do not cost, such as those of a vocabulary product."""
        return 0.0

    def analytic_flops(self) -> tuple[float, float]:
        """FLOPs of a row, and of each token of its text, that are no matrix products, and so not counted by a trial."""
        return 0.0, 0.0

    def passes(self, batch: dict[str, Any]) -> int:
        """How often `flops` a batch takes."""
        return self.passes_of(int((~batch["special"]).sum(1).max()))

    def passes_of(self, longest: int) -> int:
        """The same for a batch whose longest text has so many tokens, special ones left out."""
        return 1

    def row_of(self, length: int) -> None:
        """One forward pass of a made-up row, for counting FLOPs."""
        with torch.no_grad():
            self(self.made_up(1, length))

    def made_up(self, n_rows: int, length: int) -> dict[str, Any]:
        """A batch of made-up rows of one length, without special tokens."""
        ids = torch.ones(n_rows, length, dtype=torch.long, device=self.device)
        nothing = torch.zeros_like(ids)
        batch = {"input_ids": ids, "attention_mask": ids, "token_type_ids": nothing, "special": nothing.bool()}
        return batch | {"labels": nothing[:, 0], "text_hash": np.arange(n_rows)}

    def embedding(self, states: dict[int, Tensor], batch: dict[str, Tensor]) -> Tensor:
        """Mean of a layer's states over the row, padding left out, as they are stored, shape (rows, width)."""
        hidden = states[LAST if self.embedding_layer is None else self.embedding_layer]
        weights = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        means = (hidden * weights).sum(1).float() / weights.sum(1).float()
        if self.stored.unit_norm:
            means = torch.nn.functional.normalize(means, dim=1)
        return means.half() if self.stored.dtype == "float16" else means

    def read_layers(self) -> set[int]:
        """Layers whose states the signals are made of."""
        return {LAST if self.embedding_layer is None else self.embedding_layer} if "embedding" in self.wanted else set()


LAST = -1  # the encoder's output, after its last norm


@contextmanager
def states_of(network: Any, layers: set[int]) -> Iterator[dict[int, Tensor]]:
    """Collect hidden states in the forward passes inside: layer k's output, 0 the embeddings, `LAST` the encoder's."""
    states: dict[int, Tensor] = {}

    def keep(layer: int, output: Any) -> None:
        states[layer] = output if isinstance(output, Tensor) else output[0]

    with ExitStack() as stack:
        for layer in layers:
            if layer == 0:
                first = layers_of(network)[0]
                hook = first.register_forward_pre_hook(
                    lambda module, args, kwargs: keep(0, args or kwargs["hidden_states"]), with_kwargs=True
                )
            else:
                module = network.base_model if layer == LAST else layers_of(network)[layer - 1]
                hook = module.register_forward_hook(lambda module, args, output, layer=layer: keep(layer, output))
            stack.callback(hook.remove)
        yield states


class _ReachedError(Exception):
    """A pass came to the layer that is read."""


@contextmanager
def _ended_by(network: Any, layer: int) -> Iterator[None]:
    """End the forward pass inside where `stop_after` would cut the network, and leave the network as it is."""

    def end(*_: Any) -> None:
        raise _ReachedError

    with ExitStack() as hooks:
        if layer != LAST and layer < len(layers_of(network)):
            hooks.callback(layers_of(network)[layer].register_forward_pre_hook(end).remove)
        with suppress(_ReachedError):
            yield


def layers_of(network: Any) -> nn.ModuleList:
    """The stack of a transformer's layers.

    Raises:
        CheckpointError: the network has no such stack.
    """
    depth = network.config.num_hidden_layers
    for module in network.base_model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth:
            return module
    raise CheckpointError(
        f"{type(network).__name__} has no stack of {depth} layers that can be read one by one; use "
        "scorer.generative.head: exact."
    )


def stop_after(network: Any, layer: int) -> None:
    """Take a network's layers above one out."""
    stack = layers_of(network)
    if layer < len(stack):
        del stack[layer:]
        network.config.num_hidden_layers = layer


def row_means(values: Tensor, at: Tensor) -> Tensor:
    """Means over each row of the values at some of its positions; 0 where there are none.

    Args:
        values: one a position, row by row, shape (n,).
        at: which positions they are of, bool, shape (rows, length).

    Returns:
        Float32, shape (rows,); summed in `widest`.
    """
    sums = torch.zeros(len(at), dtype=widest(values.device), device=values.device)
    sums.index_add_(0, at.nonzero()[:, 0], values.to(sums.dtype))
    return (sums / at.sum(1).clamp(min=1)).float()
