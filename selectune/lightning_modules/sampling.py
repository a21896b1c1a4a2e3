"""Continuations of texts by a causal language model, drawn from hashes, so that they are the same in any batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from selectune.lightning_modules.heads import widest
from selectune.selectors.base import uniforms


def left_padded(ids: Tensor, lengths: Tensor, room: int | None = None) -> tuple[Tensor, Tensor]:
    """Rows that all end alike, padded on the left, and their attention mask.

    Args:
        ids: padded on the right, shape (rows, length).
        lengths: tokens of each row, at least 1.
        room: keep that many tokens at most, those at the end; None for all.
    """
    longest = int(lengths.max())
    length = longest if room is None else min(longest, room)
    source = torch.arange(length, device=ids.device) - length + lengths[:, None]
    return ids.gather(1, source.clamp(min=0)), (source >= 0).long()


def draw_continuations(
    network: Any, ids: Tensor, real: Tensor, text_hash: np.ndarray, seed: int, samples: int, max_new_tokens: int,
    top_p: float = 1.0,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Tokens drawn one after the other at temperature 1, and the log probability of each; shape (rows, new tokens).

    The draws come from hash(seed, text, sample, step), so they depend neither on the batch nor on the number of
    processes. With `top_p` they are of the nucleus (Holtzman et al. 2020): the likeliest tokens that together have at
    least that probability.

    Args:
        network: a causal language model.
        ids: each text `samples` times, one after the other, padded on the left, shape (rows, length).
        real: attention mask of these.
        text_hash: of the texts, uint64, shape (rows / samples,).
        seed: of the draws.
        samples: continuations of each text.
        max_new_tokens: of each continuation.
        top_p: probability of the nucleus, in (0, 1].
    """
    drawn, logs, past = [], [], None
    for step in range(max_new_tokens):
        places = (real.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        output = network(input_ids=ids, attention_mask=real, position_ids=places, past_key_values=past, use_cache=True)
        past = output.past_key_values
        chances = output.logits[:, -1].to(widest(ids.device)).softmax(-1)
        draw = torch.from_numpy(uniforms(seed, text_hash, samples, step)).to(chances.dtype).to(ids.device)
        ids = _nucleus(chances, draw, top_p) if top_p < 1 else _drawn(chances, draw)
        real = torch.cat([real, torch.ones_like(ids)], 1)
        drawn.append(ids)
        logs.append(chances.gather(1, ids).clamp(min=torch.finfo(chances.dtype).tiny).log())
    return torch.cat(drawn, 1), torch.cat(logs, 1)


def _drawn(chances: Tensor, draw: Tensor) -> Tensor:
    return torch.searchsorted(chances.cumsum(-1), draw.view(-1, 1)).clamp(max=chances.shape[1] - 1)


def _nucleus(chances: Tensor, draw: Tensor, top_p: float) -> Tensor:
    """Tokens drawn of the nucleus, shape (rows, 1)."""
    falling, tokens = chances.sort(dim=-1, descending=True, stable=True)
    total = falling.cumsum(-1)
    inside = total - falling < top_p  # the token that crosses `top_p` is the last one inside
    mass = (falling * inside).sum(-1)
    place = torch.searchsorted(total, (draw * mass).view(-1, 1))
    return tokens.gather(1, torch.minimum(place, inside.sum(-1, keepdim=True) - 1))


def ended(drawn: Tensor, stop_id: int) -> Tensor:
    """Whether a token comes after a continuation's end-of-text token, bool, of the same shape."""
    stops = drawn == stop_id
    return stops.cumsum(1) - stops.int() > 0
