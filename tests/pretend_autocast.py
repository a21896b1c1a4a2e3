"""Autocast of the device of `tests.device_mode`: which operations it does in bf16, and which in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

LOWER = ("linear", "matmul", "mm", "addmm", "bmm", "baddbmm", "scaled_dot_product_attention")
FULL = (
    "layer_norm", "softmax.int", "log_softmax.int", "cross_entropy_loss", "nll_loss", "mse_loss", "exp", "log", "pow",
    "sum", "prod", "cumsum", "norm.ScalarOpt_dim", "cosine_similarity", "cdist", "binary_cross_entropy_with_logits",
)  # fmt: skip


def register(aten: torch.library.Library) -> None:
    """Let a library of `aten` do both."""
    for names, dtype in ((LOWER, torch.bfloat16), (FULL, torch.float32)):
        for name in names:
            packet, _, overload = name.partition(".")
            op = getattr(getattr(torch.ops.aten, packet), overload or _only(packet))
            aten.impl(op, _autocast(op, dtype), "AutocastPrivateUse1")


def _only(packet: str) -> str:
    names = getattr(torch.ops.aten, packet).overloads()
    return next(name for name in ("default", "Tensor_Scalar", *names) if name in names)


def _autocast(op: Any, dtype: torch.dtype) -> Callable[..., Any]:
    """An operation of autocast: on floats of a lower precision, or on float32."""
    key = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)

    def cast(value: Tensor) -> Tensor:
        floats = value.dtype in (torch.float32, torch.bfloat16, torch.float16)
        return value.to(dtype) if value.device.type != "cpu" and floats and value.dtype != dtype else value

    def kernel(*args: Any, **kwargs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(key):
            args, kwargs = tree_map_only(Tensor, cast, (args, kwargs))
            return op(*args, **kwargs)

    return kernel
