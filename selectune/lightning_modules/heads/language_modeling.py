"""Heads that predict text itself, masked or causal."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from selectune.costs.flops import FlopModel
from selectune.lightning_modules.heads.base import Head, Output, before_output, network_inputs


class LanguageModelHead(Head):
    """Predicts tokens; the loss is the mean over the predicted ones of all ranks and micro-batches."""

    monitor, mode = "val/loss", "min"

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary

    def metrics(self) -> MetricCollection:
        """Accuracy over the predicted tokens."""
        # unvalidated: a look at the tokens of every batch would wait for the device
        return MetricCollection({"accuracy": MulticlassAccuracy(self.vocabulary, average="micro", validate_args=False)})

    def from_loss(self, loss: float) -> dict[str, float]:
        """Perplexity: exp of the mean loss in nats over the predicted tokens, padding and special tokens left out."""
        return {"perplexity": math.exp(min(loss, 700.0))}

    def output(self, network: Any, batch: dict[str, Any], predicts: Any, targets: Tensor) -> Output:
        """Loss and predictions where outputs predict a token, an index of (rows, length), and these tokens in order."""
        with before_output(network, lambda hidden: hidden[predicts]):
            logits = network(**network_inputs(network, batch)).logits.float()
        loss = nn.functional.cross_entropy(logits, targets, reduction="sum")
        return Output(loss, len(targets), logits.detach().argmax(-1), targets)


class MaskedLMHead(LanguageModelHead):
    """Masked language modelling (Devlin et al. 2019): of the masked positions 80 % become ``[MASK]``, 10 % a random
    token, 10 % stay.

    Args:
        mask_id: of the mask token.
        vocabulary: number of tokens, for the random ones.
        probability: share of the positions that are predicted.
    """

    auto_class = "AutoModelForMaskedLM"

    def __init__(self, mask_id: int, vocabulary: int, probability: float = 0.15) -> None:
        super().__init__(vocabulary)
        self.mask_id, self.probability = mask_id, probability

    def forward(self, network: Any, batch: dict[str, Any]) -> Output:
        """Cross-entropy at the masked positions, in nats.

        Masks are drawn anew at every training step; in evaluation from the batch's row ids, so that every evaluation
        sees the same ones. They are drawn on the host, the same on every device for the same batch, and no device has
        to tell where they are.
        """
        ids = batch["input_ids"]
        maskable = torch.from_numpy((batch if "maskable" in batch else self.known_on_host(batch))["maskable"])
        fixed = None if network.training else torch.Generator().manual_seed(int(batch["rows"][0]))
        draw, kind = torch.rand(ids.shape, generator=fixed), torch.rand(ids.shape, generator=fixed)
        words = torch.randint(self.vocabulary, ids.shape, generator=fixed)
        masked = (draw < self.probability) & maskable
        becomes = torch.where(kind < 0.8, self.mask_id, torch.where(kind < 0.9, -1, words))[masked]  # -1: it stays
        drawn = torch.cat([masked.nonzero(), becomes[:, None]], dim=1)
        drawn = drawn.pin_memory() if ids.is_cuda else drawn
        # Apple's GPUs may read it after it is gone
        rows, places, becomes = drawn.to(ids.device, non_blocking=ids.device.type != "mps").unbind(1)
        targets = ids[rows, places]
        inputs = ids.index_put((rows, places), torch.where(becomes < 0, targets, becomes))
        return self.output(network, batch | {"input_ids": inputs}, (rows, places), targets)

    @staticmethod
    def known_on_host(batch: dict[str, Any]) -> dict[str, np.ndarray]:
        """Whether a token may be masked, bool, the shape of ``input_ids``; an array, so that it stays on the host."""
        return {"maskable": ~batch["special"].cpu().numpy()}

    def flops(self, network: Any, backward: bool) -> FlopModel:
        """As for all heads, but the vocabulary product is made at the masked positions only, in expectation."""
        whole = super().flops(network, backward)
        layer = network.get_output_embeddings()
        # the backward pass makes it for the states, and once more for the weights unless they are frozen
        passes = 1 + backward * (1 + layer.weight.requires_grad)
        product = 2 * layer.weight.numel() * passes
        method = f"{whole.method}; vocabulary product at {self.probability:.0%} of the positions".replace("%", " %")
        return FlopModel(whole.constant, whole.linear - (1 - self.probability) * product, whole.quadratic, method)


class CausalLMHead(LanguageModelHead):
    """Predicts each token of a text from those before it, and so not the first one.

    Args:
        vocabulary: number of tokens.
    """

    auto_class = "AutoModelForCausalLM"

    def forward(self, network: Any, batch: dict[str, Any]) -> Output:
        """Cross-entropy of the next token, in nats."""
        rows, places = (batch if "predicting" in batch else self.known_on_host(batch))["predicting"].unbind(1)
        return self.output(network, batch, (rows, places), batch["input_ids"][rows, places + 1])

    @staticmethod
    def known_on_host(batch: dict[str, Any]) -> dict[str, Tensor]:
        """Rows and places, (n, 2), of tokens that are followed by one, for a batch before it goes to its device."""
        return {"predicting": batch["attention_mask"][:, 1:].nonzero()}
