"""Dropout for a CPU, whose masks are drawn several times as fast.

    with CpuDropout():
        loss = network(**inputs).loss

PyTorch draws the mask of a dropout on a CPU value by value, each from a number of its own, which takes some eight
hundredths of a step of a small encoder. Here the bits of PyTorch's generator are cut into numbers of 16 bits, one a
value. A value is kept with a probability that is the nearest of 1/65536ths (0.899994 of 0.9), and scaled by its
inverse, so that its mean stays the same. `benchmarks/dropout.py` measures it.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

LEVELS = 2**16


class CpuDropout(TorchFunctionMode):
    """Inside, `torch.nn.functional.dropout` and the dropout of `scaled_dot_product_attention` are drawn like this.

    The draws come from PyTorch's generator of the CPU, so its seed decides on them. What lies on another device is left
    to PyTorch, as is dropout in place, and attention with grouped heads or a mask that is added. Layers that are
    computed again in the backward pass need such a context of their own, both times.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Take these two functions over, and call all others."""
        kwargs = kwargs or {}
        if func is F.dropout:
            return _dropout(*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            return _attention(*args, **kwargs)
        return func(*args, **kwargs)


def has_dropout(network: nn.Module) -> bool:
    """Whether a network of transformers drops anything in training, by its layers and its config."""
    settings = getattr(network, "config", None)
    rates = [value for name, value in (settings.to_dict() if settings else {}).items() if "drop" in name]
    rates += [module.p for module in network.modules() if isinstance(module, nn.Dropout)]
    return any(isinstance(rate, float) and rate > 0 for rate in rates)


def _dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    # torch's parameters, by its names
    kept = round((1 - p) * LEVELS)
    if not training or inplace or not 0 < kept < LEVELS or input.device.type != "cpu" or not input.is_floating_point():
        return F.dropout(input, p, training, inplace)
    n = input.numel()
    bits = torch.empty(-(-n // 4), dtype=torch.int64).random_(torch.iinfo(torch.int64).min, None)
    levels = bits.view(torch.int16)[:n].view(input.shape)
    factors = torch.empty(input.shape, dtype=input.dtype)
    torch.lt(levels, kept - LEVELS // 2, out=factors)
    return input * factors.mul_(LEVELS / kept)


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    other = attn_mask is not None and (attn_mask.dtype != torch.bool or is_causal)
    if not dropout_p or query.device.type != "cpu" or other or enable_gqa:
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else query.dtype
    with torch.autocast("cpu", enabled=False):  # half precision is computed in float32, as PyTorch does it
        wide = torch.promote_types(query.dtype, torch.float32)
        weights = _weights(query.to(wide), key.to(wide), attn_mask, is_causal, scale)
        return (_dropout(weights, dropout_p) @ value.to(wide)).to(dtype)


def _weights(query: Tensor, key: Tensor, mask: Tensor | None, is_causal: bool, scale: float | None) -> Tensor:
    """Weights of the values, shape (..., queries, keys); all 0 where a query may attend to nothing."""
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = (query * scale) @ key.transpose(-2, -1)
    if is_causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    if mask is None:
        return scores.softmax(-1)
    # not minus infinity, of which a row that attends to nothing would become NaN
    lowest = torch.finfo(scores.dtype).min
    weights = (scores + torch.zeros(mask.shape, dtype=scores.dtype).masked_fill_(~mask, lowest)).softmax(-1)
    return weights if is_causal else weights * mask.any(-1, keepdim=True)
