"""The language model that evaluations ask, and a causal one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch

from selectune.common.errors import CheckpointError
from selectune.costs.flops import FlopModel, UnfitFlopsError
from selectune.costs.ledger import StageCost
from selectune.data.batches import EVALUATION_PADDING, plan_batches
from selectune.lightning_modules.heads import CausalLMHead, widest
from selectune.lightning_modules.heads.base import before_output
from selectune.lightning_modules.heads.language_modeling import LanguageModelHead
from selectune.lightning_modules.sampling import draw_continuations, ended, left_padded

BATCH_TOKENS = 2048  # padded, of a batch
DEFAULT_ROOM = 1024  # tokens, where a model's config names no limit


class Scored(NamedTuple):
    """Log probabilities of texts: each one's sum, nats, and number of tokens that were predicted, of shape (n,)."""

    log_probability: np.ndarray
    tokens: np.ndarray


@dataclass
class Spent:
    """Work of an evaluation, for the ledger; FLOPs are None where they cannot be counted."""

    examples: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    flops: float | None = 0.0

    def add(self, rows: int, tokens: int, length: int, flops: float | None) -> None:
        """Add a batch of rows that are padded to a length."""
        self.examples += rows
        self.tokens += tokens
        self.padded_tokens += rows * length
        self.flops = None if self.flops is None or flops is None else self.flops + flops


class LanguageModel(ABC):
    """A language model in evaluation mode, without gradients.

    Args:
        network: of transformers.
        tokenizer: its own.
        described: of it, in messages.
    """

    def __init__(self, network: Any, tokenizer: Any, described: str) -> None:
        self.network, self.tokenizer, self.described = network, tokenizer, described
        self.spent = Spent()

    @abstractmethod
    def losses(self, texts: Sequence[str], max_length: int) -> Scored:
        """Log probabilities of whole texts, cut to a number of tokens."""

    @property
    @abstractmethod
    def head(self) -> LanguageModelHead:
        """By which FLOPs are counted."""

    @property
    def device(self) -> torch.device:
        """Of its weights."""
        return next(self.network.parameters()).device

    @property
    def room(self) -> int:
        """Tokens that it reads at most."""
        return int(getattr(self.network.config, "max_position_embeddings", None) or DEFAULT_ROOM)

    @cached_property
    def flops(self) -> FlopModel | None:
        """FLOPs of a row by its length, forward; None where they cannot be counted."""
        try:
            return self.head.flops(self.network, backward=False)
        except UnfitFlopsError:
            return None

    def flops_of(self, rows: int, length: int) -> float | None:
        """FLOPs of a batch of rows that are padded to a length."""
        return None if self.flops is None else self.flops.of_batch(rows, length)

    def tokens_of(self, text: str) -> list[int]:
        """Token ids of a text, without special tokens."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def charge(self, cost: StageCost) -> None:
        """Count what was spent since the last time in a stage of a ledger."""
        spent, self.spent = self.spent, Spent()
        cost.add(
            examples=spent.examples, tokens=spent.tokens, padded_tokens=spent.padded_tokens, flops=spent.flops,
            method="a forward pass over each padded text",
        )  # fmt: skip

    def spend(self, rows: Sequence[Sequence[int]], left_out: int = 0) -> None:
        """Count a batch of rows, padded to the longest of them, whose vocabulary product left out some positions."""
        longest = max(map(len, rows))
        flops = self.flops_of(len(rows), longest)
        if flops is not None and left_out:
            flops -= left_out * 2.0 * self.network.get_output_embeddings().weight.numel()
        self.spent.add(len(rows), sum(map(len, rows)), longest, flops)


class CausalModel(LanguageModel):
    """A causal language model, which texts are scored and continued by.

    Raises:
        CheckpointError: it is none, or has no end-of-text token.
    """

    def __init__(self, network: Any, tokenizer: Any, described: str) -> None:
        stop = network.config.eos_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id
        if not network.can_generate() or network.config.is_encoder_decoder or stop is None:
            raise CheckpointError(
                f"{described} is no causal language model with an end-of-text token, which evaluations ask; set "
                "data.objective to causal and name such a model.checkpoint, or drop `evaluations`."
            )
        super().__init__(network, tokenizer, described)
        self.stop = int(stop[0] if isinstance(stop, list) else stop)  # the end-of-text token

    @property
    def head(self) -> LanguageModelHead:
        """The vocabulary product is made at all positions, but for those that `spend` is told of."""
        return CausalLMHead(len(self.tokenizer))

    def score(self, contexts: Sequence[str], continuations: Sequence[str]) -> Scored:
        """Log probabilities of continuations after their contexts, as ``lm-evaluation-harness`` takes them.

        Spaces at the end of a context belong to the continuation. The continuation's tokens are those of both texts
        together, less as many as the context alone has. A context without tokens is the end-of-text token. Of a text
        that is longer than the model reads, its end is kept, and of a continuation its last tokens alone are predicted.
        """
        pairs = [self._pair(context, continuation) for context, continuation in zip(contexts, continuations)]
        # labels of one token follow the same input, which is then read once
        read: dict[tuple[int, ...], list[int]] = {}
        for place, (before, after) in enumerate(pairs):
            read.setdefault(tuple((before + after)[:-1][-self.room :]), []).append(place)
        inputs = list(read)
        sums, counts = np.zeros(len(pairs)), np.array([min(len(after), self.room) for _, after in pairs])
        lengths = np.array([len(one) for one in inputs])
        for batch in plan_batches(lengths, BATCH_TOKENS, padding=EVALUATION_PADDING):
            rows = [inputs[i] for i in batch]
            predicted = [max(counts[place] for place in read[row]) for row in rows]
            for row, logs in zip(rows, self._log_probabilities(rows, predicted)):
                for place in read[row]:
                    sums[place] = _sum_of(logs[-counts[place] :], pairs[place][1][-counts[place] :])
        return Scored(sums, counts)

    def losses(self, texts: Sequence[str], max_length: int) -> Scored:
        """Log probabilities of whole texts, cut to a length, each token after those before it; not of the first."""
        ids = [self.tokens_of(text)[: min(max_length, self.room)] for text in texts]
        sums, counts = np.zeros(len(ids)), np.array([max(len(row) - 1, 0) for row in ids])
        known = np.flatnonzero(counts)
        for batch in plan_batches(counts[known], BATCH_TOKENS, padding=EVALUATION_PADDING):
            rows = [ids[place] for place in known[batch]]
            read = [row[:-1] for row in rows]
            for place, row, logs in zip(known[batch], rows, self._log_probabilities(read, list(map(len, read)))):
                sums[place] = _sum_of(logs, row[1:])
        return Scored(sums, counts)

    def continued(
        self, prompts: Sequence[str], text_hash: np.ndarray, seed: int, samples: int, max_new_tokens: int, top_p: float
    ) -> list[list[str]]:
        """Continuations of prompts, `samples` of each, see `draw_continuations`; one ends with an end-of-text token."""
        stop = self.stop
        ids = [self.tokens_of(prompt) or [stop] for prompt in prompts]
        lengths, texts = np.array([len(row) for row in ids]), [[""]] * len(prompts)
        room = self.room - max_new_tokens
        for batch in plan_batches(
            (np.minimum(lengths, room) + max_new_tokens) * samples, BATCH_TOKENS, padding=EVALUATION_PADDING
        ):
            longest = int(lengths[batch].max())
            padded = torch.tensor([ids[i] + [stop] * (longest - len(ids[i])) for i in batch], device=self.device)
            kept, real = left_padded(padded, torch.tensor(lengths[batch], device=self.device), room)
            with torch.inference_mode():
                drawn, _ = draw_continuations(
                    self.network, kept, real, text_hash[batch], seed, samples, max_new_tokens, top_p
                )
            ends = ended(drawn, stop) | (drawn == stop)
            told = [row[~end].tolist() for row, end in zip(drawn.cpu(), ends.cpu())]
            decoded = self.tokenizer.batch_decode(told, skip_special_tokens=True)
            for place, i in enumerate(batch):
                texts[i] = decoded[place * samples : (place + 1) * samples]
            read = int(real.sum()) + int((~ended(drawn, stop)[:, :-1]).sum())
            self._spend_on_continuations(len(batch), len(drawn), kept.shape[1], max_new_tokens, read)
        return texts

    def _spend_on_continuations(self, prompts: int, rows: int, length: int, new: int, tokens: int) -> None:
        """Count prompts of a length that are read once, and rows of new tokens after them, of which the last is not
        read; each attends to those before it."""
        of_rows = self.flops_of(prompts, length)
        if self.flops is not None and of_rows is not None:
            again = new - 1
            attended = again * length + again * new / 2
            of_rows += rows * (self.flops.linear * again + self.flops.quadratic * attended)
            of_rows -= prompts * (length - 1) * 2.0 * self.network.get_output_embeddings().weight.numel()
        self.spent.add(rows, tokens, 0, of_rows)
        self.spent.padded_tokens += prompts * length + rows * (new - 1)

    def _pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        spaces = len(context) - len(context.rstrip())
        if spaces:
            context, continuation = context[:-spaces], context[-spaces:] + continuation
        if not context:
            return [self.stop], self.tokens_of(continuation)
        before, both = self.tokens_of(context), self.tokens_of(context + continuation)
        return before or [self.stop], both[len(before) :]

    def _log_probabilities(self, rows: Sequence[Sequence[int]], predicted: list[int]) -> Sequence[torch.Tensor]:
        """Log probabilities of all tokens after so many of the last ones of each row, shape (predicted, vocabulary)."""
        longest = max(map(len, rows))
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        real, where = torch.zeros_like(ids), torch.zeros(len(rows), longest, dtype=torch.bool)
        for place, (row, last) in enumerate(zip(rows, predicted)):
            ids[place, : len(row)], real[place, : len(row)] = torch.tensor(row), 1
            where[place, len(row) - last : len(row)] = True
        # the vocabulary product is much of a small model's work, so it is made where it is read
        places = where.to(self.device)
        with torch.inference_mode(), before_output(self.network, lambda hidden: hidden[places]):
            logits = self.network(input_ids=ids.to(self.device), attention_mask=real.to(self.device)).logits
        self.spend(rows, left_out=len(rows) * longest - sum(predicted))
        return logits.float().log_softmax(-1).split(predicted)


def _sum_of(logs: torch.Tensor, tokens: Sequence[int]) -> float:
    """Sum of the log probabilities of some tokens, each by its own row of shape (n_tokens, vocabulary)."""
    targets = torch.tensor(tokens, device=logs.device)[:, None]
    return float(logs.gather(1, targets).to(widest(logs.device)).sum())
