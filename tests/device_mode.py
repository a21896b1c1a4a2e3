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

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from tests.pretend_backend import GENERATORS, HAS, MEMORY, NAME, is_there, register

__all__ = ["accelerated", "is_there"]


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
    count = CPUAccelerator.parse_devices
    exchange, begin, begin_mixed = torch.utils.swap_tensors, SingleDeviceStrategy.__init__, MixedPrecision.__init__

    def strategy(self: Any, device: Any = "cpu", *args: Any, **kwargs: Any) -> None:
        begin(self, there, *args, **kwargs)

    def devices(given: Any) -> int:
        return len(given) if isinstance(given, list) else count(given)  # such as [0], of an accelerator

    def mixed(self: Any, precision: Any, device: str, *args: Any) -> None:
        begin_mixed(self, precision, NAME, *args)

    def swap(one: Tensor, other: Tensor) -> None:
        if one.device != other.device:
            try:
                exchange(one, other)
            except RuntimeError:
                if is_there(other):  # what leaves at the end, and is still held by a graph, may as well stay
                    raise

    swapped = torch.__future__.get_swap_module_params_on_conversion()
    # a parameter that moves stays the same object, as on a GPU
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        with (
            mock.patch.dict(HAS, {"float64": float64}),
            mock.patch.object(SingleDeviceStrategy, "__init__", strategy),
            mock.patch.object(CPUAccelerator, "setup_device", return_value=None),
            mock.patch.object(CPUAccelerator, "parse_devices", staticmethod(devices)),
            mock.patch.object(MixedPrecision, "__init__", mixed),
            mock.patch.object(solve, "default_device", return_value=there),
            mock.patch.object(torch, "Generator", _Generator),
            mock.patch.object(torch.utils, "swap_tensors", swap),
            mock.patch.object(Tensor, "_reduce_ex_internal", _reduced(Tensor._reduce_ex_internal)),
            mock.patch.object(Tensor, "__deepcopy__", _copied(Tensor.__deepcopy__)),
            mock.patch.object(torch.UntypedStorage, "data_ptr", _of_memory("data_ptr")),
            mock.patch.object(torch.UntypedStorage, "nbytes", _of_memory("nbytes")),
        ):
            yield there
    finally:
        torch.__future__.set_swap_module_params_on_conversion(swapped)


class _AsTorchs(type(torch.Generator)):  # type: ignore[misc]
    def __instancecheck__(cls, other: Any) -> bool:
        return isinstance(other, torch._C.Generator)


class _Generator(torch.Generator, metaclass=_AsTorchs):
    """`torch.Generator`, which knows no generators of the pretend device."""

    def __new__(cls, device: Any = "cpu") -> _Generator:
        made = super().__new__(cls, "cpu")
        if torch.device(device).type == NAME:
            GENERATORS[made._cdata] = made
        return made


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
        there = MEMORY.get(self._cdata) if self.device.type == NAME else None
        return original(self) if there is None else original(there[1])

    return read
