"""Seeds of stages, so that a stage that is cached changes nothing in the next."""

from __future__ import annotations

import hashlib
import os


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
