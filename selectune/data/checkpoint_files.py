"""Checks of a model folder, made before anything is built on it: config, weights and tokenizer."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

from selectune.common.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

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
        raise CheckpointError(f"The config.json of {described} cannot be used ({_reason(error)}); {AGAIN}.") from error
    for file in files:
        try:
            with safe_open(file, framework="np"):  # which compares the header with the size of the file
                pass
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{file.name} of {described} is damaged ({_reason(error)}); {AGAIN}.") from error


def read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder, whose ``model_max_length`` is at most the model's positions.

    Raises:
        CheckpointError: the folder holds none, or one that knows no words.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
    except Exception as error:  # as above
        raise CheckpointError(
            f"The model folder {folder.name} holds no tokenizer that can be loaded ({_reason(error)}); put its "
            "tokenizer files there, or name another model."
        ) from error
    if len(tokenizer) <= len(tokenizer.all_special_ids):  # transformers makes an empty one where there are no files
        raise CheckpointError(
            f"The tokenizer of the model folder {folder.name} knows no words; put its tokenizer files there, or name "
            "another model."
        )
    tokenizer.model_max_length = min(tokenizer.model_max_length, n_positions(folder) or tokenizer.model_max_length)
    return tokenizer


def n_positions(folder: Path) -> int | None:
    """Positions that a model has learned embeddings of; None where it has none, so that a row may have any length."""
    from safetensors import safe_open

    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="np") as weights:
            for name in weights.keys():  # noqa: SIM118  (no mapping)
                if name.endswith(POSITIONS):
                    return int(weights.get_slice(name).get_shape()[0])
    return None


def _reason(error: Exception) -> str:
    return shorten(f"{type(error).__name__}: {' '.join(str(error).split()).rstrip('.')}", 200)
