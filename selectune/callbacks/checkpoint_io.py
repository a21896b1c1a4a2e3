"""Checkpoints that are written whole or not at all, with the one before kept until a run ends.

Trainer(plugins=[WholeCheckpointIO()])  # selectune.Trainer has it by itself
restored(run / "checkpoints" / "last.ckpt")
"""

from __future__ import annotations

import shutil
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from torch.utils._pytree import tree_leaves

from selectune.common.errors import CheckpointError, DamagedCheckpoint, NoRoomError
from selectune.common.files import atomic_file, no_room


class WholeCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoints, but a kill or a full disk while one is written leaves the one before as it was.

    A checkpoint that is saved over another leaves that as ``NAME.previous.ckpt``. Addresses such as ``s3://`` are
    written as Lightning does.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint whole or not at all.

        Raises:
            NoRoomError: the file system is full.
        """
        if storage_options is not None or "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        target = Path(path)
        try:
            # into an open file, whose errors say more than torch's own
            with atomic_file(target, keep_as=previous(target)) as partial, partial.open("wb") as handle:
                torch.save(checkpoint, handle)
        except Exception as error:
            if no_room(error) is None:
                raise
            needed = sum(leaf.nbytes for leaf in tree_leaves(checkpoint) if isinstance(leaf, torch.Tensor))
            raise NoRoomError(target, needed, shutil.disk_usage(target.parent).free) from error

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Read a checkpoint.

        Raises:
            CheckpointError: it is damaged.
        """
        if "://" not in str(path) and Path(path).is_file() and (fault := damage(Path(path))):
            raise CheckpointError(f"The checkpoint {path} is damaged ({fault}); name another one.")
        return super().load_checkpoint(path, *args, **kwargs)

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint and the one that it was saved over."""
        super().remove_checkpoint(path)
        if "://" not in str(path):
            previous(Path(path)).unlink(missing_ok=True)


def previous(path: Path) -> Path:
    """The file of the checkpoint that another was saved over."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def damage(path: Path) -> str | None:
    """The reason why a checkpoint cannot be read, by its checksums; None for a whole one.

    Raises:
        CheckpointError: the file cannot be opened, so nothing is known of it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            torn = archive.testzip()
    except (zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, ValueError) as error:
        return str(error) or type(error).__name__
    except OSError as error:
        raise CheckpointError(
            f"The checkpoint {path} cannot be read ({error.strerror}); correct that, or move it away."
        ) from None
    return f"{torn} differs from its checksum" if torn else None


def restored(path: Path) -> Path | None:
    """The path of a checkpoint, if it is whole; else the one before takes its place, with a warning.

    For rank 0 alone, in a process that holds the run.

    Returns:
        The path, or None where there is neither.

    Raises:
        CheckpointError: neither is whole, and at least one exists.
    """
    before = previous(path)
    fault = damage(path) if path.is_file() else "it is missing"
    if fault is None:
        return path
    if before.is_file() and damage(before) is None:
        message = f"The checkpoint {path} is not whole ({fault}); the one before it is taken."
        warnings.warn(message, DamagedCheckpoint, stacklevel=2)
        before.replace(path)
        return path
    if path.is_file() or before.is_file():
        raise CheckpointError(
            f"The checkpoint {path} is not whole ({fault}), and neither is one before it; remove what is left of them."
        )
    return None
