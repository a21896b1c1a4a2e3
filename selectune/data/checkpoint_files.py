"""Checks of a model folder, made before anything is built on it: config and weights."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten

from selectune.common.errors import CheckpointError

AGAIN = "get the model again, or name another"
POSITIONS = ("position_embeddings.weight", "wpe.weight", "embed_positions.weight")  # BERT's, GPT-2's and OPT's name


def check_files(folder: Path, described: str) -> None:
    """Refuse a config that transformers cannot read, and weights that are not whole, by their headers alone.

    Args:
        folder: in the hub's layout.
        described: name of the model in messages.

    Raises:
        CheckpointError: config or weights cannot be read, or there are no ``*.safetensors``.
    """
    from safetensors import SafetensorError, safe_open
    from transformers import AutoConfig

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise CheckpointError(
            f"{described} holds no *.safetensors, the only form of weights that is loaded; convert it with "
            "`save_pretrained` first."
        )
    try:
        AutoConfig.from_pretrained(str(folder))
    except Exception as error:  # transformers raises anything on a file that may hold anything
        raise CheckpointError(
            f"The config.json of {described} cannot be used ({kind_and_text(error)}); {AGAIN}."
        ) from error
    for file in files:
        try:
            with safe_open(file, framework="np"):  # which compares the header with the size of the file
                pass
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{file.name} of {described} is damaged ({kind_and_text(error)}); {AGAIN}."
            ) from error


def n_positions(folder: Path) -> int | None:
    """Positions that a model has learned embeddings of; None where it has none, so that a row may have any length."""
    from safetensors import safe_open

    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="np") as weights:
            for name in weights.keys():  # noqa: SIM118  (no mapping)
                if name.endswith(POSITIONS):
                    return int(weights.get_slice(name).get_shape()[0])
    return None


def kind_and_text(error: Exception) -> str:
    """Class and text of an error, in one line of at most 200 characters."""
    return shorten(f"{type(error).__name__}: {' '.join(str(error).split()).rstrip('.')}", 200)
