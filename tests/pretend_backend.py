"""The device of `tests.device_mode`: its memory, its arithmetic and its random numbers, registered with torch.

torch reaches what a backend of Python registers by operation. Memory is a storage of the host for each storage of the
device, whose own holds nothing; an operation is checked, done on the host's, and what it gives is wrapped again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from tests import pretend_autocast

NAME = "pretend"
META = torch._C.DispatchKeySet(torch._C.DispatchKey.Meta)  # whose kernels of views look at no memory
BOTH_SIDES = "Expected all tensors to be on the same device, but found at least two devices, {} and {}! ({})"
INDEXING = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put")
# operations whose value may come from the host as a number, though they are not tagged as pointwise
FILLING = ("masked_fill", "masked_fill_", "index_fill", "index_fill_", "fill", "fill_")
# what torch does in place by looking at how much memory there is, which here is none
RESHAPING = ("squeeze", "squeeze.dim", "squeeze.dims", "unsqueeze", "t", "as_strided")
SWEEP = 1024  # new tensors between two looks for memory that nothing needs

MEMORY: dict[int, tuple[StorageWeakRef, torch.UntypedStorage]] = {}  # by the address of a device storage
RANDOM = torch.Generator()  # the device's
GENERATORS: WeakValueDictionary[int, torch.Generator] = WeakValueDictionary()  # meant for the device, by address
HAS = {"float64": True}


def on_host(there: Tensor) -> Tensor:
    """The memory of a tensor on the device as a tensor of the host, which shares it."""
    storage = MEMORY[there.untyped_storage()._cdata][1]
    here = torch.empty(0, dtype=there.dtype)
    return here.set_(storage, there.storage_offset(), there.shape, there.stride())


def is_there(value: Any) -> bool:
    """Whether something is a tensor on the device."""
    return isinstance(value, Tensor) and value.device.type == NAME


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
    ops = torch.ops.aten
    for op in (ops.empty_strided.default, ops.empty.memory_format, ops._copy_from.default):
        # by name too: where torch makes a tensor under a dispatch mode, such as a counter, it finds no fallback
        aten.impl(op, partial(_run, op), "PrivateUse1")
    pretend_autocast.register(aten)
    return torch.device(NAME, 0)


keep: list[Any] = []  # libraries take back what they registered when they go


# Operations.


@dataclass(frozen=True)
class _Facts:
    """Of an operation, found once: its name, its arguments' names and which are tensors, and which it writes to."""

    name: str
    arguments: tuple[str, ...]
    tensors: tuple[bool, ...]
    written: frozenset[str]
    pointwise: bool
    draws: bool

    @classmethod
    @cache
    def of(cls, op: Any) -> _Facts:
        name, arguments = op._schema.name.removeprefix("aten::"), op._schema.arguments
        return cls(
            name, tuple(one.name for one in arguments), tuple(str(one.type) == "Tensor" for one in arguments),
            frozenset(one.name for one in arguments if one.is_write),
            torch.Tag.pointwise in op.tags or name == "where", torch.Tag.nondeterministic_seeded in op.tags,
        )  # fmt: skip


def _run(op: Any, *args: Any, **kwargs: Any) -> Any:
    """An operation of which something is on the device, or is to be: checked, and done in the host's memory."""
    facts = _Facts.of(op)
    if facts.name == "_copy_from":  # what `copy_`, `to` and `cpu` come down to
        source, target = (on_host(one) if is_there(one) else one for one in args[:2])
        target.copy_(source)
        return args[1]
    if facts.name == "resize_":
        args[0].data = _new(on_host(args[0]).resize_(args[1]))
        return args[0]
    if facts.name == "_fused_sdp_choice":
        return 0  # plain products
    _check(facts, args, kwargs)
    if "device" in kwargs:
        kwargs["device"] = torch.device("cpu")
    moved = _Moved()
    # a number that torch had put into a tensor comes as the number again
    numbers = (torch.tensor(a) if t and isinstance(a, (int, float)) else a for a, t in zip(args, facts.tensors))
    args = tuple(_each(a, moved.to_host) for a in numbers)
    kwargs = {name: _each(value, moved.to_host) for name, value in kwargs.items()}
    with _device_randomness(kwargs) if facts.draws else nullcontext():
        result = op(*args, **kwargs)
    return _each(result, moved.grown().to_device)


class _Moved:
    """The tensors of an operation, on both sides."""

    def __init__(self) -> None:
        self.originals: dict[int, Tensor] = {}
        self.bases: dict[int, Tensor] = {}
        self.hosts: list[Tensor] = []

    def to_host(self, value: Tensor) -> Tensor:
        if value.device.type != NAME:
            return value
        self.hosts.append(here := on_host(value))
        self.originals[id(here)] = value
        self.bases[here.untyped_storage()._cdata] = value
        return here

    def grown(self) -> _Moved:
        """Itself, when results that were given as room have their size on the device too."""
        for here in self.hosts:
            if here.shape != (there := self.originals[id(here)]).shape:
                there.data = _new(here)
        return self

    def to_device(self, value: Tensor) -> Tensor:
        if id(value) in self.originals:
            return self.originals[id(value)]
        if (base := self.bases.get(value.untyped_storage()._cdata)) is not None:
            return _view(base, value)
        return _new(value)


def _each(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A tensor, or each tensor of a list, changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, (list, tuple)) and any(isinstance(one, Tensor) for one in value):
        return type(value)([change(one) if isinstance(one, Tensor) else one for one in value])
    return value


def _in_place(view: Any) -> Callable[..., Tensor]:
    def kernel(there: Tensor, *args: Any) -> Tensor:
        there.data = _view(there, view(on_host(there), *args))
        return there

    return kernel


def _view(base: Tensor, host: Tensor) -> Tensor:
    """A tensor on the device that shares its memory with another one there, as its host tensor does."""
    shape = list(host.shape), list(host.stride()), host.storage_offset()
    return torch.ops.aten.as_strided.default.redispatch(META, base, *shape)


def _new(host: Tensor) -> Tensor:
    """A tensor on the device whose memory is a host tensor's.

    Raises:
        TypeError: of float64, on a device that has none.
    """
    if host.dtype == torch.float64 and not HAS["float64"]:
        raise TypeError(f"Cannot convert a {NAME} Tensor to float64 dtype as the {NAME} framework has no float64")
    there = torch._C._acc.create_empty_tensor(tuple(host.shape), host.dtype)
    storage = there.untyped_storage()
    MEMORY[storage._cdata] = StorageWeakRef(storage), host.untyped_storage()
    if len(MEMORY) % SWEEP == 0:
        for address, (ref, _) in list(MEMORY.items()):  # a copy, as weights are loaded by several threads
            if ref.expired():
                MEMORY.pop(address, None)
    return there if host.is_contiguous() and host.storage_offset() == 0 else _view(there, host)


def _check(facts: _Facts, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Refuse what a GPU refuses: tensors of both sides.

    Raises:
        RuntimeError: as CUDA does.
    """
    given = [*zip(facts.arguments, args), *kwargs.items()]
    tensors = [
        (argument, one)
        for argument, value in given
        for one in (value if isinstance(value, (list, tuple)) else (value,))
        if isinstance(one, Tensor)
    ]
    here = [(argument, one) for argument, one in tensors if one.device.type != NAME]
    if not here or len(here) == len(tensors):
        return
    name, indexing = facts.name, facts.name in INDEXING
    for argument, one in here:
        if indexing and argument == "indices" and is_there(args[0]):
            continue
        takes = facts.pointwise or (argument in ("value", "values") and (indexing or name in FILLING))
        if one.ndim == 0 and argument not in facts.written and takes:
            continue
        if indexing and argument == "self":
            raise RuntimeError(
                f"indices should be either on cpu or on the same device as the indexed tensor ({one.device})"
            )
        raise RuntimeError(BOTH_SIDES.format(NAME, one.device, f"{argument} of {name}"))


# Random numbers.


@contextmanager
def _device_randomness(kwargs: dict[str, Any]) -> Iterator[None]:
    """Draw from the device's random state, or from the generator that is given, if that is the device's.

    Raises:
        RuntimeError: it is the host's.
    """
    if (given := kwargs.get("generator")) is not None:
        if given._cdata not in GENERATORS:
            raise RuntimeError(f"Expected a '{NAME}' device type for generator but found 'cpu'")
        yield
        return
    kept = torch.default_generator.get_state()
    torch.default_generator.set_state(RANDOM.get_state())
    try:
        yield
    finally:
        RANDOM.set_state(torch.default_generator.get_state())
        torch.default_generator.set_state(kept)


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

    def manual_seed_all(self, seed: int) -> None:
        RANDOM.manual_seed(seed)

    def get_rng_state(self, device: Any = None) -> Tensor:
        return RANDOM.get_state()

    def set_rng_state(self, state: Tensor, device: Any = None) -> None:
        RANDOM.set_state(state)

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]
