"""Models that are kept as an adapter of another one: merged in the cache, where they are models as any other."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from selectune.common.errors import CheckpointError
from selectune.common.extras import imported
from selectune.common.files import atomic_folder, default_cache
from selectune.common.progress import transformers_quiet
from selectune.common.run_files import ADAPTER, adapter_config

WEIGHTS = "adapter_model.safetensors"


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter, and not a whole model."""
    return (folder / ADAPTER).is_file() and not (folder / "config.json").is_file()


def merged(folder: Path, described: str, find: Callable[[str], Path]) -> Path:
    """The folder in the cache of the model that an adapter makes of its base, float32; made once.

    Args:
        folder: of the adapter, as `selectune.callbacks.export` writes it.
        described: where it came from.
        find: gives the folder of the base by its name.

    Raises:
        CheckpointError: files are missing or damaged, or the base is not found.
        UserError: peft is not installed.
    """
    peft = imported("peft", f"The adapter {described}")
    files = [folder / ADAPTER, folder / WEIGHTS, adapter_config(folder)]
    if missing := [file for file in files if not file.is_file()]:
        raise CheckpointError(
            f"The adapter {described} lacks {missing[0].relative_to(folder)}; export it again with model.lora.merge, "
            "or merge it into its model by peft.",
            path=folder,
        )
    try:
        asked = json.loads(files[0].read_text())
        name, revision = str(asked["base_model_name_or_path"]), asked.get("revision")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{ADAPTER} of {described} names no model that it adapts; export it again.") from error
    try:
        base = find(f"{name}@{revision}" if revision else name)
    except CheckpointError as error:
        raise CheckpointError(f"{described} is an adapter of {name}, which is not there: {error}") from error
    target = default_cache() / "merged" / _key(files, base)
    if not target.is_dir():
        with atomic_folder(target) as partial:
            _model(peft, folder, base, described).save_pretrained(partial)
            for file in folder.glob("*"):
                if file.suffix in (".json", ".txt", ".model") and file.name != ADAPTER:  # of the tokenizer
                    shutil.copy(file, partial)
    return target


def _model(peft: Any, folder: Path, base: Path, described: str) -> Any:
    import transformers

    config = transformers.AutoConfig.from_pretrained(str(adapter_config(folder).parent))
    try:
        with transformers_quiet(), torch.no_grad():
            network = getattr(transformers, config.architectures[0]).from_pretrained(
                str(base), config=config, dtype=torch.float32, use_safetensors=True, ignore_mismatched_sizes=True
            )
            return peft.PeftModel.from_pretrained(network, str(folder)).merge_and_unload()
    except (RuntimeError, KeyError, ValueError, OSError) as error:
        raise CheckpointError(
            f"The adapter {described} does not fit {base.name} ({str(error).splitlines()[0]}); name the model that "
            "it was trained on."
        ) from error


def _key(files: list[Path], base: Path) -> str:
    """Hash of an adapter's files, and of where its base lies and when that was written, 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for file in files:
        digest.update(file.read_bytes())
    for file in sorted(base.glob("*.safetensors")):
        digest.update(f"{file.resolve()} {file.stat().st_size} {file.stat().st_mtime_ns}".encode())
    return digest.hexdigest()
