"""Peak memory of this process, and the energy of its GPU."""

from __future__ import annotations

import importlib
import resource
import sys
from collections.abc import Callable
from typing import Any

NO_GPU = "not measured: no GPU"
NO_EXTRA = "not measured: the extra `energy` is not installed"


class EnergyMeter:
    """Joules that a process's GPU drew while the meter ran, whoever used it; NVML counts them from the driver's start.

    Processor, memory and cooling are not in it.

    Args:
        device: that the process holds, such as "cuda:0".

    Attributes:
        source: the meter, or "not measured: " and why.
    """

    def __init__(self, device: str) -> None:
        self._millijoules, self.source = _counter(device)
        # Spent before, and the counter when it last began to run: set at once, as a heartbeat may read it meanwhile.
        self._spent: tuple[int, int | None] = 0, None

    def start(self) -> None:
        """Let it run."""
        self._spent = self._spent[0], self._read()

    def stop(self) -> None:
        """Stop it; `joules` stays."""
        self._spent = self._so_far(), None

    @property
    def joules(self) -> float | None:
        """Drawn so far, None when not measured."""
        spent = self._so_far()  # which may find that the meter fails
        return None if self._millijoules is None else spent / 1000

    def _so_far(self) -> int:
        spent, since = self._spent
        now = None if since is None else self._read()
        return spent if now is None or since is None else spent + now - since

    def _read(self) -> int | None:
        if self._millijoules is None:
            return None
        try:
            return int(self._millijoules())
        except Exception as error:  # a meter that fails must not end the run; NVMLError is no class that we can name
            self._millijoules, self.source = None, f"not measured: NVML failed ({error})"
            return None


def _counter(device: str) -> tuple[Callable[[], int] | None, str]:
    """A function that reads a GPU's millijoules, and its name; or None, and the reason."""
    if not device.startswith("cuda"):
        return None, NO_GPU
    try:
        nvml: Any = importlib.import_module("pynvml")
    except ImportError:
        return None, NO_EXTRA
    import torch

    try:
        nvml.nvmlInit()
        properties = torch.cuda.get_device_properties(device)  # NVML numbers GPUs otherwise than CUDA does: by UUID
        handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{properties.uuid}")
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except Exception as error:
        return None, f"not measured: NVML failed ({error})"
    return lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle), f"NVML, the whole of {device} ({properties.name})"


def _cuda() -> Any:
    """``torch.cuda`` where it is in use, else None; torch is not imported for this."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch and torch.cuda.is_available() and torch.cuda.is_initialized() else None


def finish_kernels() -> None:
    """Wait for CUDA, which runs behind the program, so that the clock sees its work."""
    if cuda := _cuda():
        cuda.synchronize()


def peak_cuda() -> int | None:
    """Most bytes that torch's allocator has held on this process's GPU; None where CUDA was not used."""
    cuda = _cuda()
    return int(cuda.max_memory_allocated()) if cuda else None


def peak_rss() -> int:
    """Most bytes of memory that this process has held."""
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts KiB on Linux and bytes on macOS
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
