"""Settings of a training that ends after a number of batches, as when it is to cost as much as another one."""

from __future__ import annotations

from typing import Any


def ends_after(batches: int, epochs: int, accumulated: int = 1) -> dict[str, Any]:
    """Trainer settings with which a training ends after at most so many batches, with so many validations.

    The schedule of the learning rate ends there too. The last validation falls on the last step, so that the best
    checkpoint may be that of the end.

    Args:
        batches: in all, of which a rest that does not fill an epoch, or a step, is left out.
        epochs: validations.
        accumulated: batches of a step of the optimizer.
    """
    every = max(1, batches // epochs // accumulated) * accumulated
    return {
        "max_steps": max(1, every * epochs // accumulated),
        "max_epochs": -1,
        "check_val_every_n_epoch": None,
        "val_check_interval": every,
    }
