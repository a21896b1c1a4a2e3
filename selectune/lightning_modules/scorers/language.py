"""Signals of a language model's predictions: generative entropy, loss, and embeddings of the same pass."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from selectune.common.errors import CheckpointError
from selectune.common.flop_formulas import entropy_flops
from selectune.costs.flops import FlopModel
from selectune.data.sources import ModelSource
from selectune.lightning_modules.heads import before_output, load_network, network_inputs
from selectune.lightning_modules.scorers.base import LAST, Scorer, row_means, states_of, stop_after
from selectune.lightning_modules.scorers.vocabulary import vocabulary_entropy

if TYPE_CHECKING:
    from selectune.lightning_modules.scorers.probe import EntropyProbe

HEADS = {
    "masked": ("AutoModelForMaskedLM", "masked-LM"),
    "masked_pseudo": ("AutoModelForMaskedLM", "masked-LM"),
    "causal": ("AutoModelForCausalLM", "causal-LM"),
}
Estimator = Literal["masked", "masked_pseudo", "causal"]


class LanguageScorer(Scorer):
    """``generative_entropy``, ``loss`` and ``embedding`` of rows, by a language model.

    ``masked`` reads the prediction at each token of the text, with nothing masked. ``masked_pseudo`` masks every k-th
    token in each of k passes and reads there (Salazar et al. 2020). ``causal`` reads the prediction of each token from
    those before it; a text's first token has none before it, unless the tokenizer puts one there, and is left out.
    The entropy is the mean over what is read, in nats; ``loss`` is the mean of -ln p of the text's own tokens.

    Args:
        network: a language model; its upper layers are taken out where nothing reads them.
        wanted: which of the signals.
        estimator: as above.
        k: passes of ``masked_pseudo``.
        mask_id: of the mask token, for ``masked_pseudo``.
        probe: predicts entropies from hidden states instead of the vocabulary product.
        probe_layers: whose states it reads; see `states_of`.
        embedding_layer: see `Scorer`.

    Raises:
        CheckpointError: ``masked_pseudo`` without a mask token.
    """

    def __init__(
        self,
        network: Any,
        wanted: Sequence[str],
        estimator: Estimator = "masked",
        k: int = 1,
        mask_id: int | None = None,
        probe: EntropyProbe | None = None,
        probe_layers: Sequence[int] = (),
        embedding_layer: int | None = None,
    ) -> None:
        super().__init__(network, wanted, embedding_layer)
        self.estimator, self.mask_id, self.probe, self.probe_layers = estimator, mask_id, probe, list(probe_layers)
        self.k = k if estimator == "masked_pseudo" else 1
        if estimator == "masked_pseudo" and mask_id is None:
            raise CheckpointError("masked_pseudo masks tokens, but the tokenizer has no mask token; use causal.")
        self.exact = "loss" in wanted or ("generative_entropy" in wanted and probe is None)
        if not self.exact and LAST not in self.read_layers():
            stop_after(network, max(self.read_layers()))

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Signals of a batch, each float32 of shape (rows,) or (rows, width)."""
        content = ~batch["special"]
        if self.estimator == "masked_pseudo":
            return self._masked_in_turns(batch, content)
        at = self._predicting(content)
        entropies, losses, states = self._read(batch, at, batch["input_ids"][self._predicted(content)])
        signals: dict[str, Tensor] = {}
        if "generative_entropy" in self.wanted:
            if self.probe is not None:
                entropies = self.probe(self._side_by_side(states, self.probe_layers, at))
            signals["generative_entropy"] = row_means(entropies, at)
        if "loss" in self.wanted:
            signals["loss"] = row_means(losses, at)
        if "embedding" in self.wanted:
            signals["embedding"] = self.embedding(states, batch)
        return signals

    def positions(self, batch: dict[str, Any], layers: Sequence[int]) -> tuple[Tensor, Tensor, list[int]]:
        """What a probe learns from: exact entropies (n,), states of some layers side by side (n, width), and how many
        positions each row has."""
        at = self._predicting(~batch["special"])
        with states_of(self.network, set(layers)) as states:
            entropies, _, _ = self._read(batch, at)
        return entropies, self._side_by_side(states, layers, at), at.sum(1).tolist()

    def read_layers(self) -> set[int]:
        """Layers of the embedding and of the probe."""
        return super().read_layers() | (set(self.probe_layers) if self.probe is not None else set())

    def passes_of(self, longest: int) -> int:
        """One for each turn of masking that finds something to mask."""
        return min(self.k, longest) if self.estimator == "masked_pseudo" else 1

    def row_of(self, length: int) -> None:
        """One forward pass of a made-up row, for counting FLOPs."""
        kept, self.k = self.k, 1
        super().row_of(length)
        self.k = kept

    def embedding_flops(self) -> FlopModel | None:
        """As of any scorer; None with ``masked_pseudo``, whose passes mask tokens."""
        return None if self.estimator == "masked_pseudo" else super().embedding_flops()

    def flops_per_token(self) -> float:
        """The vocabulary product, and the probe."""
        product = 2.0 * self.network.get_output_embeddings().weight.numel() if self.exact else 0.0
        return product + (self.probe.flops() if self.probe is not None else 0.0)

    def analytic_flops(self) -> tuple[float, float]:
        """The entropy over the vocabulary, and a logit of the token that stands there."""
        if not self.exact:
            return 0.0, 0.0
        entries, width = self.network.get_output_embeddings().weight.shape
        return 0.0, float(entropy_flops(1, entries) + 2 * width + 1)

    def _read(
        self, batch: dict[str, Any], at: Tensor | None = None, targets: Tensor | None = None
    ) -> tuple[Tensor, Tensor, dict[int, Tensor]]:
        """Entropies and losses at some positions of a pass, shape (n,), and the states that are read."""
        found: list[tuple[Tensor, Tensor]] = []

        def instead_of_logits(hidden: Tensor) -> Tensor:
            layer = self.network.get_output_embeddings()
            found.append(vocabulary_entropy(hidden[at], layer.weight, getattr(layer, "bias", None), targets))
            return hidden[:0]

        exact = self.exact and at is not None
        network = self.network if exact else self.network.base_model
        with (
            states_of(self.network, self.read_layers()) as states,
            before_output(self.network, instead_of_logits) if exact else nullcontext(),
        ):
            network(**network_inputs(self.network, batch))
        nothing = torch.zeros(0, device=batch["input_ids"].device)
        return *(found[0] if found else (nothing, nothing)), states

    def _predicting(self, content: Tensor) -> Tensor:
        """Positions whose outputs predict a token of the text, in the order of these tokens."""
        if self.estimator != "causal":
            return content
        at = torch.zeros_like(content)
        at[:, :-1] = content[:, 1:]
        return at

    def _predicted(self, content: Tensor) -> Tensor:
        """Positions of the tokens that are predicted: not of a causal model's first, which has none before it."""
        at = content.clone()
        if self.estimator == "causal":
            at[:, 0] = False
        return at

    @staticmethod
    def _side_by_side(states: dict[int, Tensor], layers: Sequence[int], at: Tensor) -> Tensor:
        return torch.cat([states[layer][at] for layer in layers], dim=-1)

    def _masked_in_turns(self, batch: dict[str, Any], content: Tensor) -> dict[str, Tensor]:
        """Entropy and loss at masked positions: the j-th of k passes masks the tokens j, j + k, ... of each text."""
        place = content.cumsum(1) - 1
        entropies = torch.zeros(content.shape, device=content.device)
        losses = torch.zeros(content.shape, device=content.device)
        for turn in range(self.k):
            masked = content & (place % self.k == turn)
            if masked.any():
                inputs = batch["input_ids"].masked_fill(masked, self.mask_id or 0)
                found = self._read(batch | {"input_ids": inputs}, masked, batch["input_ids"][masked])
                entropies[masked], losses[masked] = found[0], found[1]
        signals = {"generative_entropy": entropies, "loss": losses}
        return {name: row_means(values[content], content) for name, values in signals.items() if name in self.wanted}


def load_language_model(source: ModelSource, estimator: Estimator) -> Any:
    """A language model with float32 weights.

    Raises:
        CheckpointError: the checkpoint has no trained head, so a random one would be made up.
    """
    auto_class, kind = HEADS[estimator]
    mend = (
        f"generative_entropy and loss need one; name one that has it in scorer.checkpoint, or warm the model up with a "
        f"{kind} head (warm_up)."
    )
    try:
        network, missing = load_network(auto_class, source)
    except ValueError as error:
        raise CheckpointError(f"{source.described} is of a kind without a {kind} head, but {mend}") from error
    if missing:
        raise CheckpointError(f"{source.described} has no trained {kind} head, but {mend}")
    return network
