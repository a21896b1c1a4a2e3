"""A masked language model that evaluations ask for losses, which alone it can tell."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from selectune.common.errors import CheckpointError
from selectune.data.batches import plan_batches
from selectune.evaluations.language_model import BATCH_TOKENS, LanguageModel, Scored
from selectune.lightning_modules.heads import MaskedLMHead, widest
from selectune.lightning_modules.heads.base import before_output

FOLDS = 7  # of a text's tokens, which are masked and predicted one fold after the other: 14 % at a time


class MaskedModel(LanguageModel):
    """A masked language model.

    Raises:
        CheckpointError: its tokenizer has no mask token.
    """

    def __init__(self, network: Any, tokenizer: Any, described: str) -> None:
        if tokenizer.mask_token_id is None:
            raise CheckpointError(
                f"{described} has no mask token, so it is no masked language model; set data.objective to causal, or "
                "name another model.checkpoint."
            )
        super().__init__(network, tokenizer, described)

    @property
    def head(self) -> MaskedLMHead:
        """The vocabulary product is made at the masked positions alone."""
        return MaskedLMHead(int(self.tokenizer.mask_token_id), len(self.tokenizer), 1 / FOLDS)

    def losses(self, texts: Sequence[str], max_length: int) -> Scored:
        """Log probabilities of whole texts, cut to a length, by a pseudo-likelihood (Salazar et al. 2020).

        The tokens of a text are divided into seven folds, by its hash, and each fold is predicted with its tokens
        masked and all others there, so that every token counts once. Special tokens are read and not predicted.
        """
        length = min(max_length, self.room)
        sums, counts = np.zeros(len(texts)), np.zeros(len(texts), dtype=np.int64)
        rows: list[tuple[int, list[int], np.ndarray]] = []  # text, token ids, positions to predict
        for place, text in enumerate(texts):
            read = self.tokenizer(text, truncation=True, max_length=length, return_special_tokens_mask=True)
            own = np.flatnonzero(np.asarray(read["special_tokens_mask"]) == 0)
            counts[place] = len(own)
            shuffled = np.random.default_rng(zlib.crc32(text.encode("utf-8", "surrogatepass"))).permutation(own)
            folds = [shuffled[fold::FOLDS] for fold in range(FOLDS)]
            rows += [(place, read["input_ids"], fold) for fold in folds if len(fold)]
        for batch in plan_batches(np.array([len(ids) for _, ids, _ in rows]), BATCH_TOKENS) if rows else ():
            some = [rows[i] for i in batch]
            found = self._predicted([ids for _, ids, _ in some], [fold for _, _, fold in some])
            for (place, _, _), value in zip(some, found):
                sums[place] += value
        return Scored(sums, counts)

    def _predicted(self, rows: list[list[int]], folds: list[np.ndarray]) -> list[float]:
        """Log probabilities of the tokens of a fold of each row, summed."""
        longest = max(map(len, rows))
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        real, masked = torch.zeros_like(ids), torch.zeros(len(rows), longest, dtype=torch.bool)
        for place, (row, fold) in enumerate(zip(rows, folds)):
            ids[place, : len(row)], real[place, : len(row)] = torch.tensor(row), 1
            masked[place, torch.from_numpy(fold)] = True
        inputs, where = ids.masked_fill(masked, int(self.tokenizer.mask_token_id)), masked.to(self.device)
        with torch.inference_mode(), before_output(self.network, lambda hidden: hidden[where]):
            logits = self.network(input_ids=inputs.to(self.device), attention_mask=real.to(self.device)).logits
        targets = ids[masked].to(self.device)[:, None]
        found = logits.float().log_softmax(-1).gather(1, targets)[:, 0].to(widest(self.device)).cpu()
        self.spend(rows)
        return [float(part.sum()) for part in found.split([len(fold) for fold in folds])]
