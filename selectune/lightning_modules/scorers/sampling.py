"""Semantic entropy by sampling: continuations by a causal language model, grouped by meaning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selectune.common.flop_formulas import softmax_flops
from selectune.lightning_modules.heads import network_inputs
from selectune.lightning_modules.sampling import draw_continuations, ended, left_padded
from selectune.lightning_modules.scorers.base import LAST, Scorer, states_of
from selectune.selectors.entropy import group_by_meaning, meaning_entropy


class SamplingScorer(Scorer):
    """``semantic_entropy`` of rows (the estimator ``sampled``), in nats (Kuhn, Gal & Farquhar 2023).

    `samples` continuations of a text are drawn token by token at temperature 1, each of `max_new_tokens` but for one
    that ends with `stop_id`. Two mean the same where the cosine of their embeddings (mean of the last hidden states
    over the continuation alone) reaches `similarity`. Each weighs by its length-normalised probability. The draws come
    from hash(seed, text, sample, step), so they depend neither on the batch nor on the number of processes.
    """

    def __init__(
        self,
        network: Any,
        wanted: Sequence[str],
        seed: int,
        samples: int,
        max_new_tokens: int,
        similarity: float,
        stop_id: int | None,
    ) -> None:
        super().__init__(network, wanted)
        self.seed, self.samples, self.max_new_tokens = seed, samples, max_new_tokens
        self.similarity, self.stop_id = similarity, -1 if stop_id is None else stop_id

    @property
    def follows_length(self) -> bool:
        """Not where each token is drawn after all before it."""
        return False

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Signals of a batch, float32, shape (rows,)."""
        ids, real = self._prompts(batch)
        drawn, log_probs = draw_continuations(
            self.network, ids, real, np.asarray(batch["text_hash"]), self.seed, self.samples, self.max_new_tokens
        )
        beyond = ended(drawn, self.stop_id)
        sums = log_probs.masked_fill(beyond, 0.0).sum(1)
        means = (sums / (~beyond).sum(1)).view(-1, self.samples).cpu().double().numpy()
        with states_of(self.network, {LAST}) as states:
            inputs = {"input_ids": drawn, "attention_mask": (~beyond).long(), "token_type_ids": torch.zeros_like(drawn)}
            self.network.base_model(**network_inputs(self.network, inputs))
        embeddings = self.mean_of(states[LAST], inputs).view(len(means), self.samples, -1).cpu().numpy()
        entropies = [
            meaning_entropy(chances, group_by_meaning(vectors, self.similarity))
            for chances, vectors in zip(means, embeddings)
        ]
        return {"semantic_entropy": torch.tensor(entropies, dtype=torch.float32)}

    def embedding_flops(self) -> None:
        """None: it makes no embeddings of the rows."""

    def own_flops(self) -> tuple[float, float, float]:
        """A softmax and its running sum for each token that is drawn, and a cosine for each pair of continuations."""
        config = self.network.config
        drawn = self.max_new_tokens * (softmax_flops(1, config.vocab_size) + config.vocab_size)
        return 0.0, float(self.samples * drawn + self.samples * (self.samples - 1) * config.hidden_size), 0.0

    def _prompts(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """The texts without special tokens at their end, padded on the left so that all end alike."""
        places = torch.arange(batch["input_ids"].shape[1], device=batch["input_ids"].device)
        lengths = torch.where(batch["special"], -1, places).amax(1).clamp(min=0) + 1
        room = getattr(self.network.config, "max_position_embeddings", None)
        return left_padded(batch["input_ids"], lengths, room - self.max_new_tokens if room else None)
