"""Find a data set or a model by name: in a local root first, then on disk, then on the hub; and say what was found."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from selectune.common.errors import CheckpointError, DataError
from selectune.data.checkpoint_files import check_files
from selectune.data.data_files import READERS, FileFormat, load_file, load_folder, load_hub, reason

if TYPE_CHECKING:
    from datasets import Dataset

EMBEDDED_DATA = "docstrings"
EMBEDDED_MODEL = "docstrings-bert"


@dataclass(frozen=True)
class DataSource:
    """A data set as it was found.

    Args:
        splits: its splits by name.
        described: what was found, e.g. ``local:ag_news (10,001 rows)``, never just the hub's name.
        revision: the hub's commit or tag asked for, if any.
        domains: where several data sets were put together, the number of each train row's, int32.
        domain_names: of these, by number.
        places: where each train row stands in its own data set.
    """

    splits: dict[str, Dataset]
    described: str
    revision: str | None = None
    domains: np.ndarray | None = None
    domain_names: tuple[str, ...] = ()
    places: np.ndarray | None = None


@dataclass(frozen=True)
class ModelSource:
    """A model as it was found: a folder in the hub's layout.

    Args:
        folder: holds ``config.json``, ``*.safetensors`` and the tokenizer.
        described: e.g. ``local:minilm-l6-mlm`` or ``hub:bert-base-uncased@<commit>``.
        revision: the hub's commit, if it came from there.
    """

    folder: Path
    described: str
    revision: str | None = None


def find_data(
    name: str,
    config: str | None = None,
    root: str | Path | None = None,
    local_name: str | None = None,
    revision: str | None = None,
    cache: Path | None = None,
    how: FileFormat | None = None,
) -> DataSource:
    """Load a data set.

    Args:
        name: ``docstrings`` (the embedded corpus), a hub name, a folder in the hub's layout, or one csv, tsv, json,
            jsonl or parquet file.
        config: the hub's configuration, e.g. ``sst2`` of ``nyu-mll/glue``.
        root: a folder of local copies that is looked into first; default ``SELECTUNE_DATA``.
        local_name: what the folder in the root is called, when not by the data set's name.
        revision: of the hub's data set, e.g. ``refs/convert/parquet``.
        cache: where the embedded corpus is kept.
        how: the separator and the encoding of text files; default what is usual.

    Raises:
        DataError: nothing of that name was found, or it cannot be read.
    """
    how = how or FileFormat()
    root = root or os.environ.get("SELECTUNE_DATA")
    if root and not Path(root).is_dir():
        raise DataError(
            f"The data root {root} (data.root or SELECTUNE_DATA) is not a folder; mend the path or unset it."
        )
    for candidate in _candidates(root, name, config, local_name):
        if candidate.is_dir():
            return _local(load_folder(candidate, how), f"local:{candidate.relative_to(str(root))}")
    if name == EMBEDDED_DATA:
        from selectune.common.files import default_cache
        from selectune.data.embedded import docstrings

        return _local(load_folder(docstrings(cache or default_cache()), how), f"embedded:{name}")
    path = Path(name)
    if path.suffix.lower() in READERS:
        return _local(load_file(path, how), f"file:{path.name}")
    if path.is_dir():
        return _local(load_folder(path, how), f"local:{path.name}")
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise DataError(f"There is no folder or file {name}; mend data.dataset.")
    splits = load_hub(name, config, revision, how)
    return DataSource(splits, f"hub:{name}" + (f"/{config}" if config else "") + _rows(splits), revision)


def find_model(name: str, cache: Path | None = None) -> ModelSource:
    """Find a model's folder, fetching it from the hub when it is nowhere local.

    Args:
        name: ``docstrings-bert`` (the embedded tiny model), a hub name (``name@revision`` for one revision) or a
            folder; ``SELECTUNE_MODELS`` is looked into first.
        cache: where the embedded model is kept.

    Raises:
        CheckpointError: nothing of that name was found, or its config or weights cannot be read.
    """
    root = os.environ.get("SELECTUNE_MODELS")
    for candidate in _candidates(root, name, None, None):
        if (candidate / "config.json").is_file():
            return _checked(ModelSource(candidate, f"local:{candidate.relative_to(str(root))}"))
    if name == EMBEDDED_MODEL:
        from selectune.common.files import default_cache
        from selectune.data.embedded import tiny_bert

        return ModelSource(tiny_bert(cache or default_cache()), f"embedded:{name}")
    path = Path(name)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise CheckpointError(f"The folder {name} holds no config.json, so it is no model in the hub's layout.")
        return _checked(ModelSource(path, f"local:{path.name}"))
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise CheckpointError(f"There is no model folder {name}; mend model.checkpoint (or scorer.checkpoint).")
    return _checked(_from_hub(name))


def hash_files(files: list[Path]) -> str:
    """One hash, 32 hexadecimal digits, of the names and contents of files."""
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(files, key=lambda file: file.name):
        digest.update(file.name.encode() + b"\0")
        with file.open("rb") as handle:
            while block := handle.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def weights_hash(folder: Path) -> str:
    """Hash of a model's weights and shape: its ``*.safetensors`` and ``config.json``."""
    return hash_files([*folder.glob("*.safetensors"), folder / "config.json"])


def _candidates(root: str | Path | None, name: str, config: str | None, local_name: str | None) -> list[Path]:
    if not root or Path(name).is_absolute() or name.startswith("."):
        return []
    stems = [local_name] if local_name else [name, name.rsplit("/", 1)[-1]]
    found = [Path(root) / stem / config for stem in stems if config]
    if config and name.rsplit("/", 1)[-1] == "glue":
        found.append(Path(root) / config)
    return found + [Path(root) / stem for stem in stems if local_name or not config]


def _rows(splits: dict[str, Dataset]) -> str:
    first = splits.get("train") or next(iter(splits.values()))
    return f" ({len(first):,} rows)"


def _local(splits: dict[str, Dataset], described: str) -> DataSource:
    return DataSource(splits, described + _rows(splits))


def _checked(source: ModelSource) -> ModelSource:
    check_files(source.folder, source.described)
    return source


def _from_hub(name: str) -> ModelSource:
    from huggingface_hub import snapshot_download

    repo, _, revision = name.partition("@")
    patterns = ["*.json", "*.safetensors", "*.txt", "*.model"]
    try:
        folder = Path(snapshot_download(repo, revision=revision or None, allow_patterns=patterns))
    except Exception as error:
        raise CheckpointError(
            f"The model {name} was not found on this machine and could not be had from the hub ({reason(error)}); "
            "check the name and the network, or put a copy into the folder that SELECTUNE_MODELS names."
        ) from error
    return ModelSource(folder, f"hub:{repo}@{folder.name[:12]}", folder.name)
