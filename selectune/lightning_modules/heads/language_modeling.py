"""Heads that predict text itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from selectune.flops import FlopModel
from selectune.lightning_modules.heads.base import Head, Output, before_output, network_inputs

if TYPE_CHECKING:
    from torchmetrics import MetricCollection


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
        super().__init__()
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
