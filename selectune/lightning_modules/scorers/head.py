"""Signals of a trained classifier: entropy, margin and confidence of its prediction, and its loss on the label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from selectune.common.flop_formulas import entropy_flops
from selectune.data.sources import ModelSource
from selectune.lightning_modules.heads import network_inputs, widest
from selectune.lightning_modules.scorers.base import Scorer, load_trained, states_of, stop_after


class HeadScorer(Scorer):
    """``information_entropy`` (the estimator ``predictive``), ``margin``, ``least_confidence``, ``label_loss``,
    ``class_probability`` and the embeddings of rows, by a classifier. Entropy and loss are in nats. A regression has
    ``class_probability`` alone, which is its value."""

    probability_of = 1  # number of the class

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Signals of a batch, each float32 of shape (rows,) or (rows, width)."""
        with states_of(self.network, self.read_layers()) as states:
            logits = self.network(**network_inputs(self.network, batch)).logits
        logits = logits.to(widest(logits.device))
        several = self.network.config.problem_type == "multi_label_classification"  # each class is a yes or no
        if logits.shape[-1] == 1:  # one such class, or a regression, whose value stands for a probability
            value = logits[:, 0].sigmoid() if several else logits[:, 0]
            return {"class_probability": value.float()} | self.embeddings(states, batch)
        logs = logits.log_softmax(-1)
        probabilities = logs.exp()
        first, second = probabilities.topk(2, dim=-1).values.unbind(-1)
        values = {
            "information_entropy": -(probabilities * logs).sum(-1),
            "margin": first - second,
            "least_confidence": 1 - first,
        }
        if "class_probability" in self.wanted:
            values["class_probability"] = (logits.sigmoid() if several else probabilities)[:, self.probability_of]
        if "label_loss" in self.wanted:
            values["label_loss"] = -logs.gather(-1, batch["labels"].unsqueeze(-1)).squeeze(-1)
        signals = {name: value.float() for name, value in values.items() if name in self.wanted}
        return signals | self.embeddings(states, batch)

    def own_flops(self) -> tuple[float, float, float]:
        """The entropy over the classes, of each row."""
        return 0.0, float(entropy_flops(1, self.network.config.num_labels)), 0.0


class EncoderScorer(Scorer):
    """``embedding`` and ``middle_embedding`` of rows, by a model's encoder alone, as far up as it is read."""

    def __init__(self, network: Any, wanted: Sequence[str], embedding_layer: int | None = None) -> None:
        super().__init__(network, wanted, embedding_layer)
        if embedding_layer is not None:
            stop_after(network, embedding_layer)
        if getattr(network, "pooler", None) is not None:
            network.pooler = torch.nn.Identity()  # nothing reads it, and a language model has none

    def embedding_flops(self) -> None:
        """None: there is nothing else beside them."""

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Signals of a batch, float32, shape (rows, width)."""
        with states_of(self.network, self.read_layers()) as states, torch.no_grad():
            self.network.base_model(**network_inputs(self.network, batch))
        return self.embeddings(states, batch)


def load_classifier(source: ModelSource, least_labels: int = 2) -> Any:
    """A classifier with float32 weights and at least so many outputs.

    Raises:
        CheckpointError: the checkpoint has no trained head of this kind.
    """
    remedy = (
        "predictive entropy, margin, least_confidence, label_loss and class_probability need one; give scorer.tune, or "
        "name the export of a finished run in scorer.checkpoint"
    )
    return load_trained("AutoModelForSequenceClassification", "classification", source, remedy, "", least_labels)
