"""Floating-point operations of a model: counted at a few sequence lengths, computed from these for every batch.

    flops = model_flops(network, lambda length: {"input_ids": torch.ones(1, length, dtype=torch.long)}, backward=False)
    flops.of_batch(n_rows=8, padded_length=128)

A multiply-add is two operations. Matrix products are counted, attention included; element-wise work, softmax and
norms are not: `selectune.common.flop_formulas` has formulas for those that matter.
"""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.flop_counter import FlopCounterMode, flop_registry

TOLERANCE = 0.01
PRIMES = (13, 11, 17, 19, 23, 29, 31, 7, 5, 3)
Lengths = tuple[int, int, int, int]
Derive = Callable[[Any], None]
LENGTHS: Lengths = (8, 16, 24, 32)  # the counts are exact at every length, so short ones serve as well and cost little


class UnfitFlopsError(RuntimeError):
    """FLOPs that are not quadratic in the sequence length; a ledger then writes null and this message."""


@dataclass(frozen=True)
class FlopModel:
    """FLOPs of a row of L tokens: ``constant + linear L + quadratic L^2``.

    A transformer's projections and feed-forward layers are linear in L, its attention is quadratic, and what looks at
    one position alone (a pooler, a classifier) is constant.
    """

    constant: float
    linear: float
    quadratic: float
    method: str  # how the FLOPs were counted, for the ledger
    # of the forward pass alone, where it was counted beside the backward pass
    forward: FlopModel | None = field(default=None, compare=False, repr=False)

    @classmethod
    def fit(cls, counts: Mapping[int, float], check: int) -> FlopModel:
        """The quadratic through three of four counts, which are FLOPs of a row by its length.

        Raises:
            UnfitFlopsError: the fourth, of the length `check`, is missed by more than 1 %.
        """
        (x, fx), (y, fy), (z, fz) = sorted((length, float(n)) for length, n in counts.items() if length != check)
        # Newton's divided differences, which are exact for a quadratic.
        slope = (fy - fx) / (y - x)
        quadratic = ((fz - fy) / (z - y) - slope) / (z - x)
        linear = slope - quadratic * (x + y)
        constant = fx - linear * x - quadratic * x**2
        error = abs(cls(constant, linear, quadratic, "").of_batch(1, check) - counts[check]) / max(counts[check], 1)
        how = f"L={x},{y},{z}, checked at {check} ({error:.1%})".replace("%", " %")
        if error > TOLERANCE:
            raise UnfitFlopsError(f"not counted: the FLOPs are not quadratic in the sequence length, fitted at {how}")
        return cls(constant, linear, quadratic, f"FlopCounterMode at {how}")

    def of_batch(self, n_rows: int, padded_length: int) -> float:
        """FLOPs of a batch of rows that are all padded to one length."""
        return n_rows * (self.constant + self.linear * padded_length + self.quadratic * padded_length**2)

    def of_rows(self, lengths: np.ndarray) -> float:
        """FLOPs of rows of these lengths without padding, shape (n_rows,)."""
        length = np.asarray(lengths, dtype=np.float64)
        return float(len(length) * self.constant + self.linear * length.sum() + self.quadratic * (length**2).sum())


def measure_flops(step: Callable[[int], Any], lengths: Lengths = LENGTHS) -> FlopModel:
    """Count a step on a row of so many tokens at three lengths, and check the quadratic through them at the last.

    That is the longest, as the fit is used beyond its lengths.

    Raises:
        UnfitFlopsError: no quadratic in the length gives them.
    """
    return FlopModel.fit({length: count_flops(partial(step, length)) for length in lengths}, check=lengths[-1])


def count_flops(work: Callable[[], Any]) -> int:
    """FLOPs of the matrix products that a function does."""
    with _countable(), FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


@contextmanager
def _countable() -> Iterator[None]:
    """Attention as matrix products, on one thread.

    On CPU the counter has no formula for fused attention, forward or backward, and on CUDA it counts the backward's
    recomputation (tried, torch 2.13); so attention is spelled out in matrix products, and both devices count the same.
    One thread: short rows gain nothing by more, and lose up to 20 times on a machine that is busy (tried).
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    # what is compiled does its products out of the counter's sight
    eager = torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
    try:
        with sdpa_kernel(SDPBackend.MATH), eager:
            yield
    finally:
        torch.set_num_threads(threads)


def model_flops(
    network: nn.Module, make_inputs: Callable[[int], Mapping[str, Tensor]], backward: bool, longest: int = LENGTHS[-1]
) -> FlopModel:
    """Count the FLOPs of a Hugging Face model, leaving it and every random state as they were.

    Counting takes time, which a short training would notice. So the products of a row are recorded once, at a length
    that divides no dimension of the network: whatever it divides in the shapes of a product is proportional to the
    length. The FLOPs that follow for another length are checked by a forward pass. What layers compute again in the
    backward pass (gradient checkpointing) is counted too. This is done with a copy that has no data, so that most
    networks compute nothing; one that cannot run without (as GPT-2) is counted as it is.

    Args:
        network: before it is sharded or wrapped by a strategy; a compiled one is counted as it was before.
        make_inputs: the arguments for one row of so many tokens, with labels where there is a loss.
        backward: whether to count the backward pass as well, down to the parameters that require a gradient.
        longest: tokens of the longest row that is tried; cut to what the model takes.

    Raises:
        UnfitFlopsError: no quadratic in the length gives them.
    """
    config = getattr(network, "config", None)
    if positions := getattr(config, "max_position_embeddings", None):
        longest = min(longest, positions - 2)  # RoBERTa's positions begin at 2
    quarter = max(1, longest // 4)
    lengths = (quarter, 2 * quarter, 3 * quarter, 4 * quarter)

    def counted(network: nn.Module) -> FlopModel:
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))

        def forward(length: int) -> Any:
            return network(**{name: value.to(device) for name, value in make_inputs(length).items()})

        def derive(outputs: Any) -> None:
            loss = outputs.get("loss")
            loss = outputs[0].sum() if loss is None else loss
            # Not loss.backward(): that would add to existing gradients, and call the hooks that all-reduce them.
            torch.autograd.grad(loss, parameters, allow_unused=True)

        return pass_flops(network, forward, derive if backward else None, lengths)

    # with gradients even for forward passes: else the counter fails where a module is handed a parameter, as in DeBERTa
    with _undisturbed(network), torch.inference_mode(False), torch.enable_grad():
        try:
            flops = counted(_without_data(network))
        except UnfitFlopsError:
            raise
        except Exception:  # whatever a network says that cannot run without data
            flops = counted(network)
    has_attention = getattr(config, "num_attention_heads", None) is not None
    if has_attention and flops.quadratic * longest**2 <= 1e-6 * flops.of_batch(1, longest):
        warnings.warn(
            f"The attention of {type(network).__name__} was not counted: its FLOPs are linear in the length; "
            "count it with attn_implementation='sdpa' or 'eager'.",
            stacklevel=2,
        )
    return flops


def pass_flops(
    network: nn.Module, forward: Callable[[int], Any], derive: Derive | None = None, lengths: Lengths = LENGTHS
) -> FlopModel:
    """FLOPs of passes of a network on a row: of ``forward`` of so many tokens, and of ``derive`` of what that gives.

    Raises:
        UnfitFlopsError: no quadratic in the length gives them.
    """
    prime = _prime_length(network, lengths[-1])
    if prime is not None:
        return _by_products(forward, derive, prime, lengths)
    return measure_flops(lambda length: derive(forward(length)) if derive else forward(length), lengths)


def _without_data(network: nn.Module) -> nn.Module:
    """A copy of a network whose tensors have shapes and no data (PyTorch's device `meta`), so that a pass of the copy
    can leave nothing behind in the network."""
    tensors: dict[int, Any] = {
        id(one): nn.Parameter(torch.empty_like(one, device="meta"), requires_grad=one.requires_grad)
        for one in network.parameters()
    }
    tensors |= {id(one): torch.empty_like(one, device="meta") for one in network.buffers()}
    return deepcopy(network, tensors)  # which takes these for what it has copied already


def made_up_row(network: Any, length: int) -> dict[str, Tensor]:
    """The arguments of a network for one row of so many tokens, ended as a classifier with a decoder asks for."""
    ids = torch.ones(1, length, dtype=torch.long)
    if network.config.is_encoder_decoder:
        ids[:, -1] = network.config.eos_token_id
    return {"input_ids": ids}


def _prime_length(network: nn.Module, longest: int) -> int | None:
    """A prime up to `longest` that divides no dimension of a network's tensors; None where there is none."""
    sizes = {size for tensor in (*network.parameters(), *network.buffers()) for size in tensor.shape}
    primes = (prime for prime in PRIMES if prime <= longest and not any(size % prime == 0 for size in sizes))
    return next(primes, None)


def _by_products(forward: Callable[[int], Any], derive: Derive | None, prime: int, lengths: Lengths) -> FlopModel:
    """FLOPs from the products of a row of `prime` tokens, checked by a forward pass on the longest row."""
    products = _Products(prime)

    def fitted() -> FlopModel:
        return FlopModel.fit({length: products.flops(length) for length in lengths}, check=lengths[-1])

    with _countable(), products:
        outputs = forward(prime)
    done = count_flops(partial(forward, lengths[-1]))
    error = abs(products.flops(lengths[-1]) - done) / max(done, 1)
    method = f"products counted at L={prime}, checked at {lengths[-1]} ({error:.1%})".replace("%", " %")
    if error > TOLERANCE:
        raise UnfitFlopsError(f"not counted: the FLOPs do not follow the sequence length, {method}")
    flops = replace(fitted(), method=method)
    if derive is None:
        return flops
    with _countable(), products:
        derive(outputs)
    return replace(fitted(), method=method, forward=flops)


class _Products(TorchDispatchMode):
    """Records the matrix products of a row of `length` tokens, and gives the FLOPs of the same for other lengths.

    No dimension but those that follow the row's length is a multiple of it.
    """

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length
        # formula in torch's register, arguments with shapes for tensors, and how often: layers are alike
        self.found: dict[tuple[Any, str], tuple[Any, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if (formula := flop_registry.get(func._overloadpacket)) is not None:
            shapes = tree_map(lambda x: x.shape if isinstance(x, torch.Tensor) else x, (args, kwargs, out))
            key = formula, repr(shapes)
            self.found[key] = shapes, self.found.get(key, (None, 0))[1] + 1
        return out

    def flops(self, length: int) -> float:
        """FLOPs of what was recorded, of a row of so many tokens."""

        def scaled(x: Any) -> Any:
            if isinstance(x, torch.Size):
                return torch.Size([d if d % self.length else d // self.length * length for d in x])
            if isinstance(x, dict):
                return {name: scaled(value) for name, value in x.items()}
            return type(x)(map(scaled, x)) if isinstance(x, list | tuple) else x

        total = 0.0
        for (formula, _), ((args, kwargs, out), times) in self.found.items():
            total += times * formula(*scaled(args), **scaled(kwargs or {}), out_val=scaled(out))
        return total


@contextmanager
def _undisturbed(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, so that there is no dropout; modes and random states are restored afterwards.

    Layers that are to compute their activations again are left in training mode, as they do so there alone.
    """
    modes = {module: module.training for module in network.modules()}
    states = random.getstate(), np.random.get_state()
    cuda = [torch.cuda.current_device()] if torch.cuda.is_available() and torch.cuda.is_initialized() else []
    network.eval()
    for module in modes:
        if getattr(module, "gradient_checkpointing", False):
            module.training = True  # not that of its parts, which hold the dropout
    try:
        with torch.random.fork_rng(devices=cuda):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        for module, mode in modes.items():
            module.training = mode
