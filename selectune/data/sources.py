"""Find a data set or a model by name: in a local root first, then on disk, then on the hub."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from selectune.common.errors import CheckpointError, DataError, MissingCheckpointError
from selectune.common.files import default_cache
from selectune.data.adapters import is_adapter, merged
from selectune.data.data_files import (
    FileFormat,
    error_summary,
    kind_of,
    load_file,
    load_folder,
    load_named,
    refuse_other_kinds,
    without_blank_lines,
)

if TYPE_CHECKING:
    from datasets import Dataset

EMBEDDED_DATA, EMBEDDED_UNEVEN = "docstrings", "docstrings-uneven"
EMBEDDED_MODEL = "docstrings-bert"
MODEL_FILES = ("*.json", "*.safetensors", "*.txt", "*.model")  # of a model's folder, those that are read
AGAIN = "get the model again, or name another"
POSITIONS = ("position_embeddings.weight", "wpe.weight", "embed_positions.weight")  # BERT's, GPT-2's and OPT's name


@dataclass(frozen=True)
class DataSource:
    """A data set and where it came from.

    Args:
        splits: its splits by name.
        described: where it came from and its size, e.g. ``local:ag_news (10,001 rows)``, never just the hub's name.
        revision: the hub's commit or tag asked for, if any.
        domains: where several data sets were concatenated, the number of each train row's, int32.
        domain_names: of these, by number.
        places: by the name of a split, where each of its rows stands in its own data set, among the lines of a text
            file also the blank ones, int64; a split that it lacks has its rows as they stand there.
        place: its folder or file; None where it is in memory, of several files, or in the hub's cache.
    """

    splits: dict[str, Dataset]
    described: str
    revision: str | None = None
    domains: np.ndarray | None = None
    domain_names: tuple[str, ...] = ()
    places: dict[str, np.ndarray] = field(default_factory=dict)
    place: Path | None = None


@dataclass(frozen=True)
class ModelSource:
    """A model's folder, in the hub's layout, and where it came from.

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
    how: FileFormat | None = None,
) -> DataSource:
    """Load a data set.

    Args:
        name: ``docstrings`` or ``docstrings-uneven`` (the embedded corpora), a hub name, a folder in the hub's layout,
            or one csv, tsv, json, jsonl, txt or parquet file.
        config: the hub's configuration, e.g. ``sst2`` of ``nyu-mll/glue``.
        root: a folder of local copies that is looked into first; default ``SELECTUNE_DATA``.
        local_name: name of the folder in the root, where it differs from the data set's.
        revision: of the hub's data set, e.g. ``refs/convert/parquet``.
        how: the separator and the encoding of text files; default what is usual.

    Raises:
        DataError: there is no data set of that name, or it cannot be read.
    """
    if not name.strip():
        raise DataError("data.dataset is empty; name a data set, a folder or a file.")
    how = how or FileFormat()
    root = root or os.environ.get("SELECTUNE_DATA")
    if root and not Path(root).is_dir():
        raise DataError(
            f"The data root {root} (data.root or SELECTUNE_DATA) is not a folder; correct the path or unset it."
        )
    path, hub_revision, place = Path(name), None, None
    local = next((folder for folder in _candidates(root, name, config, local_name) if folder.is_dir()), None)
    if local is not None:
        splits, described, place = load_folder(local, how), f"local:{local.relative_to(str(root))}", local
    elif name in (EMBEDDED_DATA, EMBEDDED_UNEVEN):
        from selectune.data.embedded import docstrings, uneven

        make = docstrings if name == EMBEDDED_DATA else uneven
        place = make(default_cache())
        splits, described = load_folder(place, how), f"embedded:{name}"
    elif path.is_dir():  # first, as other programs write folders that are called rows.parquet
        splits, described, place = load_folder(path, how), f"local:{path.name}", path
    elif kind_of(path):
        splits, described, place = load_file(path, how), f"file:{path.name}", path
    elif is_path(name) and not path.exists():
        raise DataError(f"There is no folder or file {name}; check data.dataset.")
    else:
        refuse_other_kinds(path)
        splits, described = load_named(name, how, config, revision), f"hub:{name}" + (f"/{config}" if config else "")
        hub_revision = revision
    splits, places = without_blank_lines(splits)
    train = splits.get("train") or next(iter(splits.values()))
    return DataSource(splits, f"{described} ({len(train):,} rows)", hub_revision, places=places, place=place)


def find_model(name: str) -> ModelSource:
    """Find a model's folder, fetching it from the hub when it is nowhere local; an adapter is merged into its model.

    Args:
        name: ``docstrings-bert`` (the embedded tiny model), a hub name (``name@revision`` for one revision) or a
            folder; ``SELECTUNE_MODELS`` is looked into first.

    Raises:
        CheckpointError: there is no model of that name, or its config or weights cannot be read.
    """
    if not name.strip():
        raise CheckpointError("model.checkpoint (or scorer.checkpoint) is empty; name a model or its folder.")
    root, path = os.environ.get("SELECTUNE_MODELS"), Path(name)
    candidates = _candidates(root, name, None, None)
    local = next((folder for folder in candidates if _is_model(folder)), None)
    if local is not None:
        source = ModelSource(local, f"local:{local.relative_to(str(root))}")
    elif name == EMBEDDED_MODEL:
        from selectune.data.embedded import tiny_bert

        return ModelSource(tiny_bert(default_cache()), f"embedded:{name}")
    elif path.is_dir():
        if not _is_model(path):
            raise CheckpointError(f"The folder {name} holds no config.json, so it is no model in the hub's layout.")
        source = ModelSource(path, f"local:{path.name}")
    elif is_path(name):
        raise CheckpointError(f"There is no model folder {name}; check model.checkpoint (or scorer.checkpoint).")
    else:
        source = _from_hub(name)
    if is_adapter(source.folder):
        source = replace(source, folder=merged(source.folder, source.described, lambda base: find_model(base).folder))
    check_files(source.folder, source.described)
    return source


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

    try:
        AutoConfig.from_pretrained(str(folder))
    except Exception as error:  # transformers raises anything on a file that may hold anything
        raise CheckpointError(
            f"The config.json of {described} cannot be used ({error_summary(error)}); {AGAIN}."
        ) from error
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise CheckpointError(
            f"{described} holds no *.safetensors, the only form of weights that is loaded; convert it with "
            "`save_pretrained` first."
        )
    for file in files:
        try:
            with safe_open(file, framework="np"):  # which compares the header with the size of the file
                pass
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{file.name} of {described} is damaged ({error_summary(error)}); {AGAIN}."
            ) from error


def n_positions(folder: Path) -> int | None:
    """Tokens of a row that a model has learned positions for; None where it has none, and rows may have any length.

    RoBERTa's first position has the number after that of padding, and OPT's the number 2.
    """
    from safetensors import safe_open
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(str(folder))
    padded = "roberta" in config.model_type or config.model_type in ("camembert", "longformer", "data2vec-text", "xmod")
    first = 2 if config.model_type == "opt" else (config.pad_token_id or 0) + 1 if padded else 0
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="np") as weights:
            for name in weights.keys():  # noqa: SIM118  (no mapping)
                if name.endswith(POSITIONS):
                    return int(weights.get_slice(name).get_shape()[0]) - first
    return None


def weights_hash(folder: Path) -> str:
    """Hash of a model's weights and shape, its ``*.safetensors`` and ``config.json``: 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted([*folder.glob("*.safetensors"), folder / "config.json"], key=lambda file: file.name):
        digest.update(file.name.encode() + b"\0")
        with file.open("rb") as handle:
            while block := handle.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() or is_adapter(folder)


def is_path(name: str) -> bool:
    """Whether a name can only be a path, and not one of the hub's."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1


def _candidates(root: str | Path | None, name: str, config: str | None, local_name: str | None) -> list[Path]:
    """Folders in which a local copy may lie, the likeliest first."""
    if not root or Path(name).is_absolute() or name.startswith("."):
        return []
    stems = [local_name] if local_name else [name, name.rsplit("/", 1)[-1]]
    folders = [Path(root) / stem / config for stem in stems if config]
    if config and name.rsplit("/", 1)[-1] == "glue":
        folders.append(Path(root) / config)
    return folders + [Path(root) / stem for stem in stems if local_name or not config]


def _from_hub(name: str) -> ModelSource:
    from huggingface_hub import snapshot_download

    repo, _, revision = name.partition("@")
    try:
        folder = Path(snapshot_download(repo, revision=revision or None, allow_patterns=list(MODEL_FILES)))
    except Exception as error:
        raise MissingCheckpointError(
            f"The model {name} was not found on this machine and could not be had from the hub "
            f"({error_summary(error.__cause__ or error)}); check the name and the network, or put a copy into the "
            "folder that SELECTUNE_MODELS names."
        ) from error
    return ModelSource(folder, f"hub:{repo}@{folder.name[:12]}", folder.name)
