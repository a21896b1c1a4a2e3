"""Signals of a language model's predictions: generative entropy, loss, and embeddings of the same pass."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Literal

import torch
from torch import Tensor

from selectune.common.errors import CheckpointError
from selectune.common.flop_formulas import entropy_flops
from selectune.costs.flops import FlopModel
from selectune.data.sources import ModelSource
from selectune.lightning_modules.heads import before_output, network_inputs
from selectune.lightning_modules.scorers.base import LAST, Scorer, load_trained, row_means, states_of, stop_after
from selectune.lightning_modules.scorers.probe import EntropyProbe
from selectune.lightning_modules.scorers.vocabulary import vocabulary_entropy

HEADS = {
    "masked": ("AutoModelForMaskedLM", "masked-LM"),
    "masked_pseudo": ("AutoModelForMaskedLM", "masked-LM"),
    "causal": ("AutoModelForCausalLM", "causal-LM"),
}
Estimator = Literal["masked", "masked_pseudo", "causal"]
Where = Tensor | tuple[Tensor, ...]  # positions of a batch: a mask, or the row and the place of each


class LanguageScorer(Scorer):
    """``generative_entropy``, ``loss`` and the embeddings of rows, by a language model.

    ``masked`` reads the prediction at each token of the text, with nothing masked. ``masked_pseudo`` masks every k-th
    token in each of k passes and reads there (Salazar et al. 2020). ``causal`` reads the prediction of each token from
    those before it; a text's first token has none before it, unless the tokenizer puts one there, and is left out.
    The entropy is the mean over these predictions, in nats; ``loss`` is the mean of -ln p of the text's own tokens.

    Args:
        network: a language model; its upper layers are taken out where nothing reads them.
        wanted: which of the signals.
        estimator: see above.
        k: passes of ``masked_pseudo``.
        mask_id: of the mask token, for ``masked_pseudo``.
        probe: predicts entropies from the hidden states of its `probe_layers` instead of the vocabulary product.
        probe_layers: see `states_of`.
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

    def places(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Rows and places, (n, 2), of outputs that predict a token of the text, and of these tokens if not the same.

        Of ``masked_pseudo`` also those of each turn: the j-th of k masks the tokens j, j + k, ... of a text.
        """
        predicting, predicted = self._predicting(batch)
        found: dict[str, Any] = {"predicting": predicting.nonzero()}
        if predicted is not predicting:
            found["predicted"] = predicted.nonzero()
        if self.estimator == "masked_pseudo":
            number = predicting.cumsum(1) - 1
            turns = ((predicting & (number % self.k == turn)).nonzero() for turn in range(self.k))
            found["turns"] = [turn for turn in turns if len(turn)]
        return found

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Signals of a batch, each float32 of shape (rows,) or (rows, width)."""
        states: dict[int, Tensor] = {}
        if "predicting" not in batch:
            batch = batch | self.places(batch)
        at, predicted = (batch.get(name, batch["predicting"]).unbind(1) for name in ("predicting", "predicted"))
        if self.estimator == "masked_pseudo":
            entropies, losses = self._masked_in_turns(batch, at)
        else:
            entropies, losses, states = self._read(batch, at, batch["input_ids"][predicted])
            if self.probe is not None:
                entropies = self.probe(_concatenated(states, self.probe_layers, at))
        values = {"generative_entropy": entropies, "loss": losses}
        n_rows = len(batch["input_ids"])
        signals = {name: row_means(value, at[0], n_rows) for name, value in values.items() if name in self.wanted}
        return signals | self.embeddings(states, batch)

    def positions(self, batch: dict[str, Any], layers: Sequence[int]) -> tuple[Tensor, Tensor, list[int]]:
        """Examples for a probe: exact entropies (n,), states of some layers concatenated (n, width), and the number
        of positions of each row."""
        at, _ = self._predicting(batch)
        with states_of(self.network, set(layers)) as states:
            entropies, _, _ = self._read(batch, at)
        return entropies, _concatenated(states, layers, at), at.sum(1).tolist()

    def read_layers(self) -> set[int]:
        """Layers of the embedding and of the probe."""
        return super().read_layers() | (set(self.probe_layers) if self.probe is not None else set())

    @property
    def follows_length(self) -> bool:
        """Not of a decoder, which predicts one token less than it reads."""
        return self.estimator != "causal"

    def passes_of(self, longest: int) -> int:
        """One for each turn of masking that finds something to mask."""
        return min(self.k, longest) if self.estimator == "masked_pseudo" else 1

    def flops(self) -> tuple[FlopModel, float]:
        """As of any scorer, in one pass; see `passes_of`."""
        k, self.k = self.k, 1
        try:
            return super().flops()
        finally:
            self.k = k

    def embedding_flops(self) -> FlopModel | None:
        """As of any scorer; None with ``masked_pseudo``, whose passes mask tokens."""
        return None if self.estimator == "masked_pseudo" else super().embedding_flops()

    def own_flops(self) -> tuple[float, float, float]:
        """The vocabulary product and the probe; the entropy over the vocabulary, and the logit of the text's token."""
        product = self.probe.flops() if self.probe is not None else 0.0
        if not self.exact:
            return product, 0.0, 0.0
        entries, width = self.network.get_output_embeddings().weight.shape
        return product + 2.0 * entries * width, 0.0, float(entropy_flops(1, entries) + 2 * width + 1)

    def _predicting(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Which outputs predict a token of the text, and which tokens these are, in the same order."""
        content = ~batch["special"]
        if self.estimator != "causal":
            return content, content
        predicting, predicted = torch.zeros_like(content), content.clone()
        predicting[:, :-1] = content[:, 1:]
        predicted[:, 0] = False  # nothing is before it that could predict it
        return predicting, predicted

    def _read(
        self, batch: dict[str, Any], at: Where, targets: Tensor | None = None
    ) -> tuple[Tensor, Tensor, dict[int, Tensor]]:
        """Entropies and losses at some positions of a pass, shape (n,), and the states that are read."""
        entropies = losses = torch.zeros(0, device=batch["input_ids"].device)

        def instead_of_logits(hidden: Tensor) -> Tensor:
            nonlocal entropies, losses
            layer = self.network.get_output_embeddings()
            entropies, losses = vocabulary_entropy(hidden[at], layer.weight, getattr(layer, "bias", None), targets)
            return hidden[:0]

        network = self.network if self.exact else self.network.base_model
        with (
            states_of(self.network, self.read_layers()) as states,
            before_output(self.network, instead_of_logits) if self.exact else nullcontext(),
        ):
            network(**network_inputs(self.network, batch))
        return entropies, losses, states

    def _masked_in_turns(self, batch: dict[str, Any], at: Where) -> tuple[Tensor, Tensor]:
        """Entropies and losses at masked positions, each masked in one of the batch's turns, shape (n,)."""
        ids = batch["input_ids"]
        entropies, losses = (torch.zeros(ids.shape, device=ids.device) for _ in range(2))
        for turn in batch["turns"]:
            masked = turn.unbind(1)
            inputs = ids.index_put(masked, ids.new_full((len(turn),), self.mask_id or 0))
            entropies[masked], losses[masked], _ = self._read(batch | {"input_ids": inputs}, masked, ids[masked])
        return entropies[at], losses[at]


def _concatenated(states: dict[int, Tensor], layers: Sequence[int], at: Where) -> Tensor:
    return torch.cat([states[layer][at] for layer in layers], dim=-1)


def load_language_model(source: ModelSource, estimator: Estimator) -> Any:
    """A language model with float32 weights.

    Raises:
        CheckpointError: the checkpoint has no trained head of this kind.
    """
    auto_class, kind = HEADS[estimator]
    remedy = "generative_entropy and loss need one; name one that has it in scorer.checkpoint"
    return load_trained(auto_class, kind, source, remedy, f", or warm the model up with a {kind} head (warm_up)")
