"""Small stand-ins for the data sets and models that configs name, where `SELECTUNE_DATA` and `SELECTUNE_MODELS` look.

So a shipped config, or a command of the README, runs as it is written.
"""

from __future__ import annotations

import json
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from selectune.tables.grid import Cell
from selectune.tables.reading import read_table
from tests.conftest import sentences
from tests.random_models import make_classifier
from tests.squad_data import squad_rows, write_squad

TRAIN_ROWS, HELD_OUT_ROWS = 120, 30


def local_copies(
    root: Path, configs: list[dict[str, Any]], model_folder: Path, causal_folder: Path | None = None,
    train_rows: int = TRAIN_ROWS,
) -> dict[str, str]:  # fmt: skip
    """Make every data set and model that the configs name, under its name, from generated text and a tiny model.

    Args:
        root: where to.
        configs: as parsed; what they say of columns and splits is what the data sets have.
        model_folder: the tiny model.
        causal_folder: the one of configs that train a causal language model; default the same.
        train_rows: of each data set.

    Returns:
        The environment in which they are found.
    """
    data, models = root / "data", root / "models"
    for config in configs:
        for section in data_sections(config):
            write_data(data / folder_name(section), section, train_rows)
        for evaluation in config.get("evaluations") or ():
            write_evaluated(data / folder_name(evaluation["init_args"]), evaluation["init_args"])
            if scorer := evaluation["init_args"].get("scorer"):
                write_scorer(models / scorer.rsplit("/", 1)[-1], model_folder, evaluation["init_args"])
        causal = config.get("data", {}).get("init_args", {}).get("objective") == "causal"
        for part, name in checkpoints(config):
            link = models / name.rsplit("/", 1)[-1]
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                folder = causal_folder if causal and part == "model" and causal_folder else model_folder
                link.symlink_to(folder, target_is_directory=True)
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
                yield arguments | {"dataset": one, "kind": part.get("data", {}).get("class_path", "")}
        if isinstance(target := arguments.get("target"), dict):
            yield target | {"text_column": target.get("local_text_column", target.get("text_column", "text"))}


def checkpoints(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The models that a config names, with the part that names them."""
    for part in ("model", "scorer"):
        if name := config.get(part, {}).get("checkpoint"):
            yield part, name


def write_evaluated(folder: Path, arguments: dict[str, Any]) -> None:
    """The rows of an evaluation, with the columns that its arguments name, beside a data set that is there already."""
    fields = [field for _, field, _, _ in string.Formatter().parse(arguments.get("template", "")) if field]
    texts, labels = sentences(HELD_OUT_ROWS, seed=9)
    column = arguments.get("local_text_column", arguments.get("text_column", "text"))
    columns: dict[str, list] = {name: texts for name in (*fields, "prompt", column)}
    columns[arguments.get("kind_column") or "kind"] = ["toxic" if label else "nontoxic" for label in labels]
    n_labels = len(labels_of := arguments.get("labels", [0, 1]))
    if isinstance(labels_of, str):  # a column of each row's own
        n_labels, columns[labels_of] = 2, [[text[:9], text[9:] or "."] for text in texts]
    columns[arguments.get("label_column", "label")] = [row % n_labels for row in range(len(texts))]
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), folder / f"{arguments.get('split') or 'train'}.parquet")


def write_scorer(folder: Path, model_folder: Path, arguments: dict[str, Any]) -> None:
    """A classifier with the toxic class that an evaluation names, or a regression where it names none."""
    classes = 3 if arguments.get("toxic_label") else 1  # one output is a regression
    make_classifier(folder, model_folder, classes)
    if classes == 1:
        return
    file = folder / "config.json"
    config = json.loads(file.read_text())
    config["id2label"] = {"0": "other", "1": arguments["toxic_label"], "2": "else"}
    config["label2id"] = {name: int(number) for number, name in config["id2label"].items()}
    file.write_text(json.dumps(config))


def folder_name(arguments: dict[str, Any]) -> Path:
    """Name of a data set's folder in the root."""
    name = arguments.get("local_name") or arguments["dataset"].rsplit("/", 1)[-1]
    return Path(name, *filter(None, [arguments.get("config_name")]))


def write_data(folder: Path, arguments: dict[str, Any], train_rows: int = TRAIN_ROWS) -> None:
    """A data set in the hub's layout, with the columns and the held-out splits that a data module's arguments name."""
    if arguments.get("kind") == "QuestionAnswering":
        write_squad(folder, squad_rows(train_rows, 1), squad_rows(HELD_OUT_ROWS, 2))
        return
    columns = [arguments.get("text_column", "text"), arguments.get("pair_column")]
    held_out = [arguments.get("test_split", "test"), *arguments.get("more_test_splits", [])]
    folder.mkdir(parents=True, exist_ok=True)
    for seed, split in enumerate(["train", *held_out], start=1):
        texts, labels = sentences(train_rows if split == "train" else HELD_OUT_ROWS, seed)
        content: dict[str, list] = {column: texts for column in columns if column}
        numbers = [label + len(text) / 100 for label, text in zip(labels, texts)]
        content[arguments.get("label_column", "label")] = numbers if arguments.get("regression") else labels
        pq.write_table(pa.table(content), folder / f"{split}.parquet")


def read_config(file: Path) -> dict[str, Any]:
    """A config, parsed."""
    return yaml.safe_load(file.read_text())


def some_cells(file: Path) -> list[Cell]:
    """Cells of a table in which each of its tasks and each of its methods is, and the run that prepares."""
    seen: set[tuple[str, str]] = set()
    found = []
    for cell in read_table(file).cells(Path("runs") / file.stem):
        parts = {("task", cell.task), ("method", cell.method)}
        if not parts <= seen:
            found.append(cell)
        seen |= parts
    return found
