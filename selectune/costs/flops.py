"""Floating-point operations: counted at a few sequence lengths, then known for every batch.

    flops = model_flops(network, lambda length: {"input_ids": torch.ones(1, length, dtype=torch.long)}, backward=False)
    flops.of_batch(n_rows=8, padded_length=128)

A multiply-add is two operations. Matrix products are counted, attention included; element-wise work, softmax and
norms are not, so that the ledger adds what matters of them from `selectune.common.flop_formulas`.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor, nn

TOLERANCE = 0.01
PRIMES = (13, 11, 17, 19, 23, 29, 31, 7, 5, 3)
LENGTHS = (8, 16, 24, 32)  # the counts are exact at every length, so short ones serve as well and cost little


class UnfitFlopsError(RuntimeError):
    """FLOPs that are not quadratic in the sequence length; a ledger then writes null and this message."""


@dataclass(frozen=True)
class FlopModel:
    """FLOPs of a row of L tokens: ``constant + linear L + quadratic L^2``.

    A transformer's projections and feed-forward layers are linear in L, its attention is quadratic, and what looks at
    one position alone (a pooler, a classifier) is constant.

    Args:
        constant: FLOPs.
        linear: FLOPs a token.
        quadratic: FLOPs a squared token.
        method: how they were found, for the ledger.
        forward: the forward pass alone, where it was counted beside the backward pass.
    """

    constant: float
    linear: float
    quadratic: float
    method: str
    forward: FlopModel | None = field(default=None, compare=False, repr=False)

    @classmethod
    def fit(cls, counts: Mapping[int, float], check: int) -> FlopModel:
        """The quadratic through three counts, tried on a fourth.

        Args:
            counts: FLOPs of a row by its length, four of them.
            check: the length among them that is kept for the trial.

        Raises:
            UnfitFlopsError: the fourth is missed by more than 1 %.
        """
        (x, fx), (y, fy), (z, fz) = sorted((length, float(n)) for length, n in counts.items() if length != check)
        slope = (fy - fx) / (y - x)
        quadratic = ((fz - fy) / (z - y) - slope) / (z - x)
        linear = slope - quadratic * (x + y)
        constant = fx - linear * x - quadratic * x**2
        fitted = cls(constant, linear, quadratic, "")
        error = abs(fitted.of_batch(1, check) - counts[check]) / max(counts[check], 1)
        told = f"L={x},{y},{z}, checked at {check} ({error:.1%})".replace("%", " %")
        if error > TOLERANCE:
            raise UnfitFlopsError(f"not counted: the FLOPs are not quadratic in the sequence length, fitted at {told}")
        return cls(constant, linear, quadratic, f"FlopCounterMode at {told}")

    def of_batch(self, n_rows: int, padded_length: int) -> float:
        """FLOPs of a batch of rows that are all padded to one length."""
        return n_rows * (self.constant + self.linear * padded_length + self.quadratic * padded_length**2)

    def to_json(self) -> dict[str, Any]:
        """The model as JSON types, without its forward pass alone."""
        return {name: value for name, value in asdict(self).items() if name != "forward"}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> FlopModel:
        """The model that `to_json` gave."""
        return cls(**content)


def measure_flops(step: Callable[[int], Any], lengths: tuple[int, int, int, int] = LENGTHS) -> FlopModel:
    """Count what a step does at three lengths, and check the quadratic through them at the last.

    Args:
        step: does on one row of so many tokens what is to be counted.
        lengths: in tokens. The last is the check; being the longest it tries the fit where it is used, beyond its end.

    Raises:
        UnfitFlopsError: no quadratic in the length gives them.
    """
    return FlopModel.fit({length: count_flops(partial(step, length)) for length in lengths}, check=lengths[-1])


def count_flops(work: Callable[[], Any]) -> int:
    """FLOPs of the matrix products that a function does.

    On CPU the counter has no formula for fused attention, forward or backward, and on CUDA it counts the backward's
    recomputation (tried, torch 2.13); so attention is spelled out in matrix products, and both devices count the same.
    One thread: short rows gain nothing by more, and lose up to 20 times on a machine that is busy (tried).
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            work()
    finally:
        torch.set_num_threads(threads)
    return int(counter.get_total_flops())


def model_flops(
    network: nn.Module, make_inputs: Callable[[int], Mapping[str, Tensor]], backward: bool, longest: int = LENGTHS[-1]
) -> FlopModel:
    """Count the FLOPs of a Hugging Face model, leaving it and every random state as they were.

    To count is work, which a short training must not feel. So the products of a row are counted once, at a length that
    divides no dimension of the network: whatever it divides in the shapes of a product follows the length. What that
    says of another length is checked by a forward pass.

    Activation checkpointing, which computes the forward pass twice, is not seen, as the model runs in evaluation mode.

    Args:
        network: before it is compiled, sharded or wrapped by a strategy.
        make_inputs: the arguments for one row of so many tokens, with labels where there is a loss.
        backward: whether to count the backward pass as well, down to the parameters that require a gradient.
        longest: tokens of the longest row that is tried; cut to what the model takes.

    Raises:
        UnfitFlopsError: no quadratic in the length gives them.
    """
    import torch

    config = getattr(network, "config", None)
    if positions := getattr(config, "max_position_embeddings", None):
        longest = min(longest, positions - 2)  # RoBERTa's positions begin at 2
    quarter = max(1, longest // 4)
    lengths = (quarter, 2 * quarter, 3 * quarter, 4 * quarter)
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))

    def forward(length: int) -> Any:
        return network(**{name: value.to(device) for name, value in make_inputs(length).items()})

    def step(length: int) -> None:
        outputs = forward(length)
        if backward:
            loss = outputs.get("loss")
            loss = outputs[0].sum() if loss is None else loss
            # Not loss.backward(): that would add to the gradients there are, and call the hooks that share them out.
            torch.autograd.grad(loss, parameters, allow_unused=True)

    told = _telling_length(network, lengths[-1])
    with _undisturbed(network), torch.inference_mode(False), torch.set_grad_enabled(backward):
        if told is None:
            flops = measure_flops(step, lengths)
        else:
            with torch.no_grad():
                alone = Products.of(partial(forward, told), told)
                done = count_flops(partial(forward, lengths[-1]))
            error = abs(alone.at(lengths[-1]) - done) / max(done, 1)
            method = f"products counted at L={told}, checked at {lengths[-1]} ({error:.1%})".replace("%", " %")
            if error > TOLERANCE:
                raise UnfitFlopsError(f"not counted: the FLOPs do not follow the sequence length, {method}")
            flops = replace(alone.fitted(lengths), method=method)
            if backward:
                both = Products.of(partial(step, told), told).fitted(lengths)
                flops = replace(both, method=method, forward=flops)
    has_attention = getattr(config, "num_attention_heads", None) is not None
    if has_attention and flops.quadratic * longest**2 <= 1e-6 * flops.of_batch(1, longest):
        warnings.warn(
            f"The attention of {type(network).__name__} was not counted: its FLOPs are linear in the length; "
            "count it with attn_implementation='sdpa' or 'eager'.",
            stacklevel=2,
        )
    return flops


class Products:
    """The matrix products of some work on a row, with the dimensions that follow the row's length.

    Args:
        length: of the row, which no other dimension is a multiple of.
        seen: of each product its formula in torch's register, and its arguments with shapes for tensors.
    """

    def __init__(self, length: int, seen: list[tuple[Any, Any]]) -> None:
        self.length, self.seen = length, seen

    @classmethod
    def of(cls, work: Callable[[], Any], length: int) -> Products:
        """Do the work and note its products; see `count_flops` for attention and threads."""
        import torch
        from torch.nn.attention import SDPBackend, sdpa_kernel
        from torch.utils._python_dispatch import TorchDispatchMode
        from torch.utils._pytree import tree_map
        from torch.utils.flop_counter import flop_registry

        seen: list[tuple[Any, Any]] = []

        class Noting(TorchDispatchMode):
            def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                out = func(*args, **(kwargs or {}))
                if (formula := flop_registry.get(func._overloadpacket)) is not None:
                    shapes = tree_map(lambda x: x.shape if isinstance(x, torch.Tensor) else x, (args, kwargs, out))
                    seen.append((formula, shapes))
                return out

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with sdpa_kernel(SDPBackend.MATH), Noting():
                work()
        finally:
            torch.set_num_threads(threads)
        return cls(length, seen)

    def fitted(self, lengths: tuple[int, int, int, int]) -> FlopModel:
        """The quadratic through these FLOPs at four lengths."""
        return FlopModel.fit({length: self.at(length) for length in lengths}, check=lengths[-1])

    def at(self, length: int) -> float:
        """FLOPs of the same work on a row of another length."""
        import torch

        def scaled(x: Any) -> Any:
            if isinstance(x, torch.Size):
                return torch.Size([d if d % self.length else d // self.length * length for d in x])
            if isinstance(x, dict):
                return {name: scaled(value) for name, value in x.items()}
            return type(x)(map(scaled, x)) if isinstance(x, list | tuple) else x

        total = 0.0
        for formula, (args, kwargs, out) in self.seen:
            total += formula(*scaled(args), **scaled(kwargs or {}), out_val=scaled(out))
        return total


def _telling_length(network: nn.Module, longest: int) -> int | None:
    """A prime up to `longest` that divides no dimension of a network's tensors; None where there is none."""
    tensors = [*network.parameters(), *network.buffers()]
    sizes = {size for tensor in tensors for size in tensor.shape}
    fitting = [prime for prime in PRIMES if prime <= longest and not any(size % prime == 0 for size in sizes)]
    return fitting[0] if fitting else None


@contextmanager
def _undisturbed(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, so that there is no dropout; modes and random states as they were outside."""
    import torch

    modes = {module: module.training for module in network.modules()}
    states = random.getstate(), np.random.get_state()
    cuda = [torch.cuda.current_device()] if torch.cuda.is_available() and torch.cuda.is_initialized() else []
    network.eval()
    try:
        with torch.random.fork_rng(devices=cuda):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        for module, mode in modes.items():
            module.training = mode
