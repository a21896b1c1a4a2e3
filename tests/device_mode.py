"""A pretend accelerator, so that a machine without a GPU finds what would fail on one.

Inside `accelerated` every Trainer that asks for the CPU works on the device ``pretend:0``. To torch it is another
device, by the key that torch keeps for other makers' hardware (PrivateUse1); its memory and its arithmetic are the
CPU's, and kept in here. What fails on a GPU fails on it, with torch's own errors where torch itself makes the check:

- ``numpy()``, `numpy.asarray` and numpy functions of a tensor that is there: TypeError;
- an operation on tensors of both sides, an index that is there of a tensor that is here, a generator of the other side:
  RuntimeError. As on a GPU, a number without dimensions may come from the host where an operation goes number by
  number, and the host may index what is on the device;
- random numbers on the device come from its own random state, which `torch.get_rng_state` does not hold;
- autocast to bf16, so that what it gives has no ``numpy()`` even on the host.

``item()``, ``float()``, ``bool()`` and ``tolist()`` copy to the host by themselves, as on a GPU. Not like a GPU: speed,
memory, kernels that run behind the program, the last bits, and whatever asks for the device type ``cuda`` by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._pytree import tree_leaves, tree_map_only

DEVICE = torch.device("cpu")  # ``pretend:0`` once it is registered, which needs its name
NAME = "pretend"
META = torch._C.DispatchKeySet(torch._C.DispatchKey.Meta)  # whose kernels of views look at no memory
BOTH_SIDES = "Expected all tensors to be on the same device, but found at least two devices, {} and {}! ({})"
INDEXING = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put")
# operations whose number without dimensions may come from the host though they are not tagged as pointwise
TAKES_NUMBER = {"masked_fill": "value", "masked_fill_": "value", "index_fill": "value", "index_fill_": "value"}
TAKES_NUMBER |= {"fill_": "value", "fill": "value"}
LOWER = ("linear", "matmul", "mm", "addmm", "bmm", "baddbmm", "scaled_dot_product_attention")
FULL = (
    "layer_norm", "softmax.int", "log_softmax.int", "cross_entropy_loss", "nll_loss", "mse_loss", "exp", "log", "pow",
    "sum", "prod", "cumsum", "norm.ScalarOpt_dim", "cosine_similarity", "cdist", "binary_cross_entropy_with_logits",
)  # fmt: skip
# what torch does in place by looking at how much memory there is, which here is none
RESHAPING = ("squeeze", "squeeze.dim", "squeeze.dims", "unsqueeze", "t", "as_strided")
SWEEP = 4096  # new tensors between two looks for memory that nothing needs

_memory: dict[int, tuple[StorageWeakRef, torch.UntypedStorage]] = {}  # by the address of a device storage
_random = torch.Generator()  # the device's
_has = {"float64": True}


def on_host(there: Tensor) -> Tensor:
    """The memory of a tensor on the device as a tensor of the host, which shares it."""
    storage = _memory[there.untyped_storage()._cdata][1]
    here = torch.empty(0, dtype=there.dtype)
    return here.set_(storage, there.storage_offset(), there.shape, there.stride())


def is_there(value: Any) -> bool:
    """Whether something is a tensor on the device."""
    return isinstance(value, Tensor) and value.device.type == NAME


@contextmanager
def accelerated(float64: bool = True) -> Iterator[torch.device]:
    """Let Trainers that ask for the CPU work on the pretend device; gives the device.

    Args:
        float64: whether the device has it, which Apple's GPUs do not.
    """
    from lightning.pytorch.accelerators import CPUAccelerator
    from lightning.pytorch.plugins.precision import MixedPrecision
    from lightning.pytorch.strategies import SingleDeviceStrategy

    from selectune.selectors.transport import solve

    there = register()
    begin, begin_mixed = SingleDeviceStrategy.__init__, MixedPrecision.__init__

    def strategy(self: Any, device: Any = "cpu", *args: Any, **kwargs: Any) -> None:
        begin(self, there, *args, **kwargs)

    def mixed(self: Any, precision: Any, device: str, *args: Any) -> None:
        begin_mixed(self, precision, NAME, *args)

    swapped = torch.__future__.get_swap_module_params_on_conversion()
    # a parameter that moves stays the same object, as on a GPU
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        with (
            mock.patch.dict(_has, {"float64": float64}),
            mock.patch.object(SingleDeviceStrategy, "__init__", strategy),
            mock.patch.object(CPUAccelerator, "setup_device", lambda self, device: None),
            mock.patch.object(MixedPrecision, "__init__", mixed),
            mock.patch.object(solve, "default_device", lambda: there),
            mock.patch.object(torch, "Generator", _Generator),
            mock.patch.object(Tensor, "_reduce_ex_internal", _reduced(Tensor._reduce_ex_internal)),
            mock.patch.object(Tensor, "__deepcopy__", _copied(Tensor.__deepcopy__)),
            mock.patch.object(torch.UntypedStorage, "data_ptr", _of_memory("data_ptr")),
            mock.patch.object(torch.UntypedStorage, "nbytes", _of_memory("nbytes")),
        ):
            yield there
    finally:
        torch.__future__.set_swap_module_params_on_conversion(swapped)


@cache
def register() -> torch.device:
    """The device, which torch knows from now on and until the process ends."""
    from torch.utils import backend_registration

    backend_registration._setup_privateuseone_for_python_backend(NAME, _Module(), _Hooks())
    keep.append(fallbacks := torch.library.Library("_", "IMPL"))
    fallbacks.fallback(_run, "PrivateUse1")
    fallbacks.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    keep.append(aten := torch.library.Library("aten", "IMPL"))
    for name in RESHAPING:
        packet, _, overload = name.partition(".")
        view = getattr(getattr(torch.ops.aten, packet), overload or "default")
        aten.impl(f"{packet}_.{overload}".rstrip("."), _in_place(view), "PrivateUse1")
    for names, dtype in ((LOWER, torch.bfloat16), (FULL, torch.float32)):
        for name in names:
            packet, _, overload = name.partition(".")
            op = getattr(getattr(torch.ops.aten, packet), overload or _only(packet))
            aten.impl(op, _autocast(op, dtype), "AutocastPrivateUse1")
    return torch.device(NAME, 0)


keep: list[Any] = []  # libraries take back what they registered when they go


def _only(packet: str) -> str:
    names = getattr(torch.ops.aten, packet).overloads()
    return next(name for name in ("default", "Tensor_Scalar", *names) if name in names)


# Operations.


def _run(op: Any, *args: Any, **kwargs: Any) -> Any:
    """An operation of which something is on the device, or is to be: checked, and done in the host's memory."""
    name = op._schema.name.removeprefix("aten::")
    if name == "_copy_from":  # what `copy_`, `to` and `cpu` come down to
        source, target = args[:2]
        _here(target).copy_(_here(source))
        return target
    if name == "resize_":
        args[0].data = _new(on_host(args[0]).resize_(args[1]))
        return args[0]
    if name == "_fused_sdp_choice":
        return 0  # plain products
    _check(op, name, args, kwargs)
    if "device" in kwargs:
        kwargs = kwargs | {"device": torch.device("cpu")}
    originals: dict[int, Tensor] = {}
    bases: dict[int, Tensor] = {}
    hosts: list[Tensor] = []

    def to_host(value: Tensor) -> Tensor:
        if not is_there(value):
            return value
        hosts.append(here := on_host(value))
        originals[id(here)] = value
        bases[here.untyped_storage()._cdata] = value
        return here

    def to_device(value: Tensor) -> Tensor:
        if id(value) in originals:
            return originals[id(value)]
        if (base := bases.get(value.untyped_storage()._cdata)) is not None:
            return _view(base, value)
        return _new(value)

    declared = [str(argument.type) for argument in op._schema.arguments]
    # a number that torch had put into a tensor comes as the number again
    args = tuple(torch.tensor(a) if t == "Tensor" and isinstance(a, (int, float)) else a for a, t in zip(args, declared))
    args, kwargs = tree_map_only(Tensor, to_host, (args, kwargs))
    with _device_randomness(op, kwargs) if torch.Tag.nondeterministic_seeded in op.tags else nullcontext():
        result = op(*args, **kwargs)
    for here in hosts:  # a result that was given as room for it, and grew
        if here.shape != (there := originals[id(here)]).shape:
            there.data = _new(here)
    return tree_map_only(Tensor, to_device, result)


def _in_place(view: Any) -> Callable[..., Tensor]:
    def kernel(there: Tensor, *args: Any) -> Tensor:
        there.data = _view(there, view(on_host(there), *args))
        return there

    return kernel


def _here(value: Tensor) -> Tensor:
    return on_host(value) if is_there(value) else value


def _view(base: Tensor, host: Tensor) -> Tensor:
    """A tensor on the device that shares its memory with another one there, as its host tensor does."""
    shape = list(host.shape), list(host.stride()), host.storage_offset()
    return torch.ops.aten.as_strided.default.redispatch(META, base, *shape)


def _new(host: Tensor) -> Tensor:
    """A tensor on the device whose memory is a host tensor's.

    Raises:
        TypeError: of float64, on a device that has none.
    """
    if host.dtype == torch.float64 and not _has["float64"]:
        raise TypeError(f"Cannot convert a {NAME} Tensor to float64 dtype as the {NAME} framework has no float64")
    there = torch._C._acc.create_empty_tensor(tuple(host.shape), host.dtype)
    storage = there.untyped_storage()
    _memory[storage._cdata] = StorageWeakRef(storage), host.untyped_storage()
    if len(_memory) % SWEEP == 0:
        for address in [address for address, (ref, _) in _memory.items() if ref.expired()]:
            del _memory[address]
    return there if host.is_contiguous() and host.storage_offset() == 0 else _view(there, host)


def _check(op: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Refuse what a GPU refuses: tensors of both sides.

    Raises:
        RuntimeError: as CUDA does.
    """
    arguments = dict(zip((argument.name for argument in op._schema.arguments), args)) | kwargs
    written = {argument.name for argument in op._schema.arguments if argument.is_write}
    devices = {str(value.device) for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)}
    if len(devices) < 2:
        return
    pointwise = torch.Tag.pointwise in op.tags or name == "where"
    for argument, value in arguments.items():
        for tensor in tree_leaves(value):
            if not isinstance(tensor, Tensor) or is_there(tensor):
                continue
            if name in INDEXING and argument == "indices" and is_there(arguments["self"]):
                continue
            number = tensor.ndim == 0 and argument not in written
            if number and (pointwise or TAKES_NUMBER.get(name) == argument or (name in INDEXING and argument != "self")):
                continue
            if name in INDEXING and argument == "self":
                raise RuntimeError(
                    f"indices should be either on cpu or on the same device as the indexed tensor ({tensor.device})"
                )
            raise RuntimeError(BOTH_SIDES.format(*sorted(devices, reverse=True), f"{argument} of {name}"))


# Random numbers.


@contextmanager
def _device_randomness(op: Any, kwargs: dict[str, Any]) -> Iterator[None]:
    """Draw from the device's random state, or from the generator that is given, if that is the device's.

    Raises:
        RuntimeError: it is the host's.
    """
    if (given := kwargs.get("generator")) is not None:
        if getattr(given, "meant_for", "cpu") != NAME:
            raise RuntimeError(f"Expected a '{NAME}' device type for generator but found 'cpu'")
        yield
        return
    kept = torch.default_generator.get_state()
    torch.default_generator.set_state(_random.get_state())
    try:
        yield
    finally:
        _random.set_state(torch.default_generator.get_state())
        torch.default_generator.set_state(kept)


class _AsTorchs(type(torch.Generator)):  # type: ignore[misc]
    def __instancecheck__(cls, other: Any) -> bool:
        return isinstance(other, torch._C.Generator)


class _Generator(torch.Generator, metaclass=_AsTorchs):
    """`torch.Generator`, which knows no generators of the pretend device."""

    def __new__(cls, device: Any = "cpu") -> _Generator:
        made = super().__new__(cls, "cpu")
        made.meant_for = torch.device(device).type
        return made


# What torch asks of a device.


class _Hooks(torch._C._acc.PrivateUse1Hooks):
    def is_available(self) -> bool:
        return True

    def has_primary_context(self, device_index: int) -> bool:
        return False  # so that a backward pass waits for no streams

    def is_built(self) -> bool:
        return True


class _Module:
    """``torch.pretend``."""

    _initialized = True

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    def _is_in_bad_fork(self) -> bool:
        return False

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return 1

    def device(self, index: Any) -> Any:
        return nullcontext()

    def synchronize(self, device: Any = None) -> None:
        pass

    def manual_seed_all(self, seed: int) -> None:
        _random.manual_seed(seed)

    def get_rng_state(self, device: Any = None) -> Tensor:
        return _random.get_state()

    def set_rng_state(self, state: Tensor, device: Any = None) -> None:
        _random.set_state(state)

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


def _autocast(op: Any, dtype: torch.dtype) -> Callable[..., Any]:
    """An operation of autocast: on floats of a lower precision, or on float32."""
    key = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)

    def cast(value: Tensor) -> Tensor:
        floats = value.dtype in (torch.float32, torch.bfloat16, torch.float16)
        return value.to(dtype) if is_there(value) and floats and value.dtype != dtype else value

    def kernel(*args: Any, **kwargs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(key):
            args, kwargs = tree_map_only(Tensor, cast, (args, kwargs))
            return op(*args, **kwargs)

    return kernel


# Whatever reads memory without an operation.


def _reduced(original: Any) -> Any:
    """Written to a file as of the host, which is what Lightning reads from it whatever device wrote it."""
    return lambda self, protocol: original(self.detach().cpu() if is_there(self) else self, protocol)


def _copied(original: Any) -> Any:
    def copied(self: Tensor, memo: dict[int, Any]) -> Tensor:
        if not is_there(self) or id(self) in memo:
            return original(self, memo)
        made = self.detach().clone().requires_grad_(self.requires_grad)
        memo[id(self)] = made
        return made

    return copied


def _of_memory(name: str) -> Any:
    original = getattr(torch.UntypedStorage, name)

    def read(self: torch.UntypedStorage) -> int:
        there = _memory.get(self._cdata) if self.device.type == NAME else None
        return original(self) if there is None else original(there[1])

    return read
