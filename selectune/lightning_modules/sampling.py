"""Continuations of texts by a causal language model, drawn from hashes, so that they are the same in any batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from selectune.lightning_modules.heads import widest
from selectune.lightning_modules.heads.base import before_output
from selectune.selectors.base import uniforms

LIKELIEST = 1024  # tokens among which a nucleus is looked for first


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
    """Tokens drawn one after the other at temperature 1, and the log probability of each; shape (texts * samples, new
    tokens), the continuations of a text one after the other.

    The draws come from hash(seed, text, sample, step), so they depend neither on the batch nor on the number of
    processes. With `top_p` they are of the nucleus (Holtzman et al. 2020): the likeliest tokens that together have at
    least that probability.

    Each text is read once, and what the network remembers of it is then repeated for its continuations.

    Args:
        network: a causal language model.
        ids: the texts, padded on the left, shape (texts, length).
        real: attention mask of these.
        text_hash: of the texts, uint64, shape (texts,).
        seed: of the draws.
        samples: continuations of each text.
        max_new_tokens: of each continuation.
        top_p: probability of the nucleus, in (0, 1].
    """
    drawn, logs, past = [], [], None
    for step in range(max_new_tokens):
        places = (real.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        with before_output(network, lambda hidden: hidden[:, -1:]):  # the others' logits are not read
            output = network(
                input_ids=ids, attention_mask=real, position_ids=places, past_key_values=past, use_cache=True
            )
        past, logits = output.past_key_values, output.logits[:, -1]
        if step == 0:
            each = torch.arange(len(ids), device=ids.device).repeat_interleave(samples)
            past.reorder_cache(each)  # which layers of any kind know, those without attention too
            logits, real = logits[each], real[each]
        chances = logits.to(widest(ids.device)).softmax(-1)
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
    falling, tokens = _falling(chances, top_p)
    total = falling.cumsum(-1)
    inside = total - falling < top_p  # the token that crosses `top_p` is the last one inside
    mass = (falling * inside).sum(-1)
    place = torch.searchsorted(total, (draw * mass).view(-1, 1))
    return tokens.gather(1, torch.minimum(place, inside.sum(-1, keepdim=True) - 1))


def _falling(chances: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """The likeliest tokens of each row in their order, so many that the nucleus is among them; ties by their number.

    A sort of a whole vocabulary takes as long as a small model's step, so that it is made only where it must be.
    """
    if chances.shape[-1] > LIKELIEST:
        falling, tokens = chances.topk(LIKELIEST, dim=-1)
        # the last one is left out, as those that are as likely may be missing
        if bool(((falling * (falling > falling[:, -1:])).sum(-1) >= top_p).all()):
            tokens, order = tokens.sort(dim=-1)  # those that are as likely as each other in the order of their numbers
            falling, places = falling.gather(1, order).sort(dim=-1, descending=True, stable=True)
            return falling, tokens.gather(1, places)
    return chances.sort(dim=-1, descending=True, stable=True)


def ended(drawn: Tensor, stop_id: int) -> Tensor:
    """Whether a token comes after a continuation's end-of-text token, bool, of the same shape."""
    stops = drawn == stop_id
    return stops.cumsum(1) - stops.int() > 0
