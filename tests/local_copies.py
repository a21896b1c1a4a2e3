"""Small stand-ins for the data sets and models that configs name, where `SELECTUNE_DATA` and `SELECTUNE_MODELS` look.

So a shipped config, or a command of the README, runs as it is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from tests.conftest import sentences

TRAIN_ROWS, HELD_OUT_ROWS = 120, 30


def local_copies(root: Path, configs: list[dict[str, Any]], model_folder: Path) -> dict[str, str]:
    """Make every data set and model that the configs name, under its name, from generated text and a tiny model.

    Args:
        root: where to.
        configs: as parsed; what they say of columns and splits is what the data sets have.
        model_folder: the tiny model.

    Returns:
        The environment in which they are found.
    """
    data, models = root / "data", root / "models"
    for config in configs:
        for section in data_sections(config):
            write_data(data / folder_name(section), section)
        for name in checkpoints(config):
            link = models / name.rsplit("/", 1)[-1]
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                link.symlink_to(model_folder, target_is_directory=True)
    cache = root / "cache"
    return {"SELECTUNE_DATA": str(data), "SELECTUNE_MODELS": str(models), "SELECTUNE_CACHE": str(cache)}


def data_sections(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The `init_args` of each data module in a config that names a data set."""
    for part in (config, config.get("warm_up") or {}):
        arguments = part.get("data", {}).get("init_args", {})
        listed = arguments.get("dataset", [])
        for one in listed if isinstance(listed, list) else [listed]:
            if isinstance(one, dict):
                yield one | {"text_column": one.get("local_text_column", one.get("text_column", "text"))}
            else:
                yield arguments | {"dataset": one}


def checkpoints(config: dict[str, Any]) -> Iterator[str]:
    """The models that a config names."""
    for part in ("model", "scorer"):
        if name := config.get(part, {}).get("checkpoint"):
            yield name


def folder_name(arguments: dict[str, Any]) -> Path:
    """Name of a data set's folder in the root."""
    name = arguments.get("local_name") or arguments["dataset"].rsplit("/", 1)[-1]
    return Path(name, *filter(None, [arguments.get("config_name")]))


def write_data(folder: Path, arguments: dict[str, Any]) -> None:
    """A data set in the hub's layout, with the columns and the held-out splits that a data module's arguments name."""
    columns = [arguments.get("text_column", "text"), arguments.get("pair_column")]
    held_out = [arguments.get("test_split", "test"), *arguments.get("more_test_splits", [])]
    folder.mkdir(parents=True, exist_ok=True)
    for seed, split in enumerate(["train", *held_out], start=1):
        texts, labels = sentences(TRAIN_ROWS if split == "train" else HELD_OUT_ROWS, seed)
        content: dict[str, list] = {column: texts for column in columns if column}
        numbers = [label + len(text) / 100 for label, text in zip(labels, texts)]
        content[arguments.get("label_column", "label")] = numbers if arguments.get("regression") else labels
        pq.write_table(pa.table(content), folder / f"{split}.parquet")


def read_config(file: Path) -> dict[str, Any]:
    """A config, parsed."""
    return yaml.safe_load(file.read_text())
