"""Semantic entropy by sampling: continuations by a causal language model, grouped by meaning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selectune.common.flop_formulas import softmax_flops
from selectune.lightning_modules.heads import network_inputs, widest
from selectune.lightning_modules.scorers.base import LAST, Scorer, states_of
from selectune.selectors.base import uniforms
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

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Signals of a batch, float32, shape (rows,)."""
        ids, real = self._prompts(batch)
        drawn, log_probs = self._continue(ids, real, np.asarray(batch["text_hash"]))
        ended = (drawn == self.stop_id).cumsum(1) - (drawn == self.stop_id).int() > 0  # after an end-of-text token
        counts = (~ended).sum(1)
        means = (log_probs.masked_fill(ended, 0.0).sum(1) / counts).view(-1, self.samples).cpu().double().numpy()
        with states_of(self.network, {LAST}) as states:
            inputs = {"input_ids": drawn, "attention_mask": (~ended).long(), "token_type_ids": torch.zeros_like(drawn)}
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
        """Each text `samples` times, without special tokens at its end, padded on the left so that all end alike."""
        places = torch.arange(batch["input_ids"].shape[1], device=batch["input_ids"].device)
        lengths = torch.where(batch["special"], -1, places).amax(1).clamp(min=0) + 1
        longest = int(lengths.max())
        room = getattr(self.network.config, "max_position_embeddings", None)
        length = min(longest, room - self.max_new_tokens) if room else longest  # of a longer text its end
        source = torch.arange(length, device=places.device) - length + lengths[:, None]
        ids = batch["input_ids"].gather(1, source.clamp(min=0))
        return ids.repeat_interleave(self.samples, 0), (source >= 0).long().repeat_interleave(self.samples, 0)

    def _continue(self, ids: Tensor, real: Tensor, text_hash: np.ndarray) -> tuple[Tensor, Tensor]:
        """Tokens that are drawn one after the other, and the log probability of each; shape (rows, new tokens)."""
        drawn, logs, past = [], [], None
        for step in range(self.max_new_tokens):
            places = (real.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
            output = self.network(
                input_ids=ids, attention_mask=real, position_ids=places, past_key_values=past, use_cache=True
            )
            past = output.past_key_values
            chances = output.logits[:, -1].to(widest(ids.device)).softmax(-1)
            draw = torch.from_numpy(uniforms(self.seed, text_hash, self.samples, step)).to(chances.dtype).to(ids.device)
            ids = torch.searchsorted(chances.cumsum(-1), draw.view(-1, 1)).clamp(max=chances.shape[1] - 1)
            real = torch.cat([real, torch.ones_like(ids)], 1)
            drawn.append(ids)
            logs.append(chances.gather(1, ids).clamp(min=torch.finfo(chances.dtype).tiny).log())
        return torch.cat(drawn, 1), torch.cat(logs, 1)
