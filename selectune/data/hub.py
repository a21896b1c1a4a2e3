"""Data sets and models of the hub: whether they are on this machine, what the hub says of them, and copies."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yaml import YAMLError

from selectune.common.errors import UserError
from selectune.common.files import atomic_folder
from selectune.data.data_files import error_summary
from selectune.data.needs import Need
from selectune.data.sources import MODEL_FILES, DataSource, find_data, find_model


@dataclass(frozen=True)
class About:
    """A description of a data set or model by the hub.

    Args:
        size: bytes of the files that are read; None where it is not known.
        licence: as its card names it; empty where it names none.
        problem: why nothing is known; empty where something is.
    """

    size: int | None = None
    licence: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Here:
    """Something that lies on this machine, and was opened.

    Args:
        described: place and rows, e.g. ``local:ag_news (10,001 rows)``.
        size: bytes on the disk.
        licence: as the card beside it (``README.md``) names it; empty where none does.
    """

    described: str
    size: int
    licence: str = ""


def place_of(need: Need, network: bool) -> Here:
    """Open something; it is fetched where it is not there.

    Args:
        need: a data set or a model.
        network: whether the hub may be asked.

    Raises:
        UserError: it is nowhere, or damaged.
    """
    with _reaching(network):
        if need.kind == "model":
            model = find_model(need.name)
            files = {file for pattern in MODEL_FILES for file in model.folder.glob(pattern)}
            return Here(model.described, _size(files), _licence(model.folder))
        data = find_data(need.name, need.config, need.root, need.local_name, need.revision)
        if (place := data.place) is None:  # the hub's cache
            return Here(data.described, _size({Path(one["filename"]) for one in _cached(data)}))
        if place.is_file():
            return Here(data.described, _size([place]))
        of_all = place.parent if place.name == need.config else place  # configurations lie beside one another
        return Here(data.described, _size(place.rglob("*")), _licence(place) or _licence(of_all))


def _cached(data: DataSource) -> Iterator[dict[str, str]]:
    for split in data.splits.values():
        yield from split.cache_files


def _size(files: Iterable[Path]) -> int:
    return sum(file.stat().st_size for file in files if file.is_file())


def _licence(folder: Path) -> str:
    """The licence in the card of a folder; empty where it has none, or one that cannot be read."""
    from huggingface_hub import metadata_load

    card = folder / "README.md"
    try:
        found = metadata_load(card) if card.is_file() else None
    except (OSError, ValueError, YAMLError):
        return ""
    return _named(found or {})


def _named(card: Mapping[str, Any]) -> str:
    """The licence that a card names, or several."""
    licence = card.get("license") or ""
    return licence if isinstance(licence, str) else ", ".join(map(str, licence))


def about(need: Need) -> About:
    """The hub's description of a data set or model; with its `problem` where there is none."""
    from huggingface_hub import HfApi

    repo, _, revision = need.name.partition("@")
    try:
        api = HfApi()
        if need.kind == "model":
            found: Any = api.model_info(repo, revision=revision or None, files_metadata=True)
        else:
            found = api.dataset_info(repo, revision=need.revision, files_metadata=True)
    except Exception as error:  # whatever a hub or a network may answer
        return About(problem=error_summary(error.__cause__ or error))
    files = [file for file in found.siblings or () if _is_read(need, file.rfilename)]
    sizes = [file.size for file in files]
    card = found.card_data.to_dict() if found.card_data else {}
    return About(sum(sizes) if sizes and None not in sizes else None, _named(card))


def _is_read(need: Need, file: str) -> bool:
    """Whether a file of the hub is one that is fetched."""
    if need.kind == "model":
        return any(Path(file).match(pattern) for pattern in MODEL_FILES)
    parts = Path(file).parts
    folders = {need.config, "data"} if need.config else set()
    return not file.startswith(".") and (len(parts) == 1 or not folders or parts[0] in folders)


def copy_of(need: Need, folder: Path) -> Path:
    """Copy something that lies on this machine below a folder, as ``SELECTUNE_DATA`` or ``SELECTUNE_MODELS`` has it.

    Args:
        need: a data set or a model.
        folder: in which ``data`` and ``models`` are made.

    Returns:
        Its own folder; one that is there already stays as it is.

    Raises:
        UserError: it is nowhere, or damaged.
    """
    name = need.local_name or need.name.partition("@")[0]
    place = folder / ("models" if need.kind == "model" else "data") / name
    place = place / need.config if need.config else place
    if place.is_dir():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with _reaching(network=False):
        return _copied(need, place)


def _copied(need: Need, place: Path) -> Path:
    if need.kind == "model":
        source = find_model(need.name).folder
        with atomic_folder(place) as partial:
            for file in sorted(file for pattern in MODEL_FILES for file in source.glob(pattern)):
                shutil.copyfile(file, partial / file.name)
        return place
    found = find_data(need.name, need.config, need.root, need.local_name, need.revision)
    renamed = need.local_name and found.described.startswith(f"local:{need.local_name}")  # a copy, made before
    with atomic_folder(place) as partial:
        for split, rows in found.splits.items():
            if need.column and not renamed and need.column[0] in rows.column_names:
                theirs, ours = need.column
                rows = rows.remove_columns([ours] if ours in rows.column_names else []).rename_column(theirs, ours)
            rows.to_parquet(str(partial / f"{split}.parquet"))
    return place


def check_room(folder: Path, size: int) -> None:
    """Refuse a download that the disk has no room for.

    Raises:
        UserError: it has not.
    """
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(there).free
    if size > free:
        raise UserError(
            f"The downloads take {size / 1e9:,.1f} GB, but {there} has {free / 1e9:,.1f} GB left; make room, or name "
            "another place for the hub's cache in HF_HOME."
        )


@contextmanager
def _reaching(network: bool) -> Iterator[None]:
    """Whether the hub is asked for what is not on this machine; an environment that forbids it is obeyed."""
    import datasets
    from huggingface_hub import constants

    if network:
        yield
        return
    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before
