"""Seeds of stages, so that a stage that is cached changes nothing in the next."""

from __future__ import annotations

import hashlib
import os
import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def stage_seed(seed: int, *stage: str | int) -> int:
    """A seed below 2^32 for a stage, an epoch, a rank: the hash of all of them."""
    text = repr((seed, *stage)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "little")


def seed_stage(seed: int, *stage: str | int) -> None:
    """Seed Python, NumPy and PyTorch for a stage, so that a stage that is cached changes nothing in the next."""
    from lightning.pytorch import seed_everything

    before = os.environ.get("PL_GLOBAL_SEED")
    seed_everything(stage_seed(seed, *stage), verbose=False)
    if before is None:
        del os.environ["PL_GLOBAL_SEED"]
    else:
        os.environ["PL_GLOBAL_SEED"] = before


def current_seed() -> int:
    """The seed of ``seed_everything``, 0 where none was set."""
    return int(os.environ.get("PL_GLOBAL_SEED", 0))


def random_states(device: torch.device) -> dict[str, Any]:
    """The states that Python and PyTorch draw from on a device, as a checkpoint holds them."""
    import torch

    version, state, gauss = random.getstate()
    states: dict[str, Any] = {"torch": torch.get_rng_state(), "python": [version, list(state), gauss]}
    if device.type != "cpu":  # an accelerator draws dropout from a state of its own
        states[device.type] = torch.get_device_module(device).get_rng_state()
    return states


def set_random_states(states: dict[str, Any], device: torch.device) -> None:
    """Go on drawing from the states that `random_states` gave."""
    import torch

    version, state, gauss = states["python"]
    random.setstate((version, tuple(state), gauss))
    torch.set_rng_state(states["torch"].cpu())
    if device.type != "cpu" and device.type in states:
        torch.get_device_module(device).set_rng_state(states[device.type].cpu())
