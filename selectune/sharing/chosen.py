"""A selection of a run with the rows of the pool that it was made from, read again by the run's config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import selectune.datamodules
import selectune.selectors  # noqa: F401  (short class names in configs are those that were imported)
from selectune.common.errors import SelectionError, UserError
from selectune.common.files import read_mapping
from selectune.common.run_files import RunFiles, SelectionFiles
from selectune.data.sources import find_model
from selectune.datamodules.base import SelectionDataModule
from selectune.runs.class_errors import ClassParser
from selectune.selection.manifest import Selection

if TYPE_CHECKING:
    from datasets import Dataset

AGAIN = "restore it, or name another run"
PLACES = (
    "row_id",
    "source_row",
    "last_source_row",
    "domain",
    "score",
)  # columns that an exported row has beside its own


@dataclass(frozen=True)
class Chosen:
    """A selection and its pool.

    Args:
        folder: of the selection.
        data: the data module that it was made from, loaded.
        selection: rows, scores and manifest.
        config: of the run.
    """

    folder: Path
    data: SelectionDataModule
    selection: Selection
    config: dict[str, Any]

    @classmethod
    def read(cls, run: Path) -> Chosen:
        """Read the selection of a run: that of its fine-tuning, else that of its warm-up.

        Raises:
            UserError: there is none, it is damaged, or the data that its config names are not there or have changed.
        """
        folder = selection_of(run)
        selection = Selection.read_files(folder)
        data, config = load_pool(run, folder)
        selection.check_pool(folder, data.pool)
        return cls(folder, data, selection, config)

    @property
    def labels(self) -> np.ndarray | None:
        """Names of the classes of the pool's rows, shape (n_rows,); None where rows have no classes."""
        if not self.data.label_names or "train" not in self.data.labels:
            return None
        return np.array(self.data.label_names, dtype=object)[self.data.labels["train"]]

    @property
    def classes(self) -> dict[str, tuple[int, int]]:
        """Rows of each class in the pool and among the kept, by its name; empty where rows have no classes."""
        if (labels := self.labels) is None:
            return {}
        kept = labels[self.selection.rows]
        return {name: (int((labels == name).sum()), int((kept == name).sum())) for name in self.data.label_names}

    def rows(self) -> Dataset:
        """The kept rows: their texts, the label as the name of its class, `PLACES`.

        Raises:
            UserError: a column of the data set has the name of one of `PLACES`.
        """
        import pyarrow as pa
        from datasets import Dataset

        pool, rows = self.data.pool, self.selection.rows
        if taken := [name for name in pool.dataset.column_names if name in PLACES]:
            raise UserError(f"The rows have a column '{taken[0]}' of their own, as the export has; rename it.")
        table = pool.dataset.select(rows).with_format("arrow")[:]
        if self.labels is not None and pool.label_column in table.column_names:
            place = table.column_names.index(pool.label_column)
            table = table.set_column(place, pool.label_column, pa.array(self.labels[rows].tolist(), pa.string()))
        known: dict[str, Any] = {"row_id": rows, "source_row": pool.source_rows[rows]}
        if pool.last_source_rows is not None:
            known["last_source_row"] = pool.last_source_rows[rows]
        if pool.domains is not None:
            known["domain"] = np.array(pool.domain_names, dtype=object)[pool.domains[rows]].tolist()
        for name, values in (known | {"score": self.selection.scores}).items():
            table = table.append_column(name, pa.array(values))
        return Dataset(table.replace_schema_metadata(None))


def selection_of(run: Path) -> Path:
    """The folder of a run's selection: that of its fine-tuning, else that of its warm-up.

    Raises:
        SelectionError: there is no such run, or it selected nothing.
    """
    files = RunFiles(run)
    if not run.is_dir():
        raise SelectionError(f"There is no run in {run}; name the folder that --output named.", path=run)
    for folder in (files.selection, files.warm_up.selection):
        if SelectionFiles(folder).manifest.is_file():
            return folder
    raise SelectionError(
        f"{run} holds no selection (selection/manifest.json); name a run that selected rows.", path=run
    )


def config_of(run: Path) -> dict[str, Any]:
    """The config of a run, whose parts are mappings, and so are the arguments of its data.

    Raises:
        UserError: it is damaged.
    """
    file = RunFiles(run).config
    config = read_mapping(file, AGAIN, "data", "model")
    warm_up = config.get("warm_up") or {}
    parts = {"data": config["data"], "model": config["model"], "warm_up": warm_up}
    parts |= {"warm_up.data": warm_up.get("data") or {}} if isinstance(warm_up, Mapping) else {}
    for name, part in parts.items():
        if not isinstance(part, Mapping) or not isinstance(part.get("init_args") or {}, Mapping):
            raise UserError(f"{file} is damaged (it names no {name}); {AGAIN}.", path=file)
    return config


def load_pool(run: Path, folder: Path) -> tuple[SelectionDataModule, dict[str, Any]]:
    """The loaded data module that a selection of a run was made from, and the run's config.

    Args:
        run: its directory.
        folder: of the selection; one of the warm-up is of the warm-up's data.

    Raises:
        UserError: the config is damaged, or the data are not there.
    """
    config = config_of(run)
    of_warm_up = folder == RunFiles(run).warm_up.selection
    section = (config.get("warm_up") or {}).get("data") if of_warm_up else config["data"]
    data = _instantiated(section, RunFiles(run).config, config.get("seed_everything"))
    by_tokens = getattr(data, "window", None) is not None and getattr(data, "window_unit", "") == "tokens"
    data.load(
        find_model(str(config["model"].get("checkpoint"))) if by_tokens else None
    )  # whose tokenizer cuts the texts
    return data, config


def _instantiated(section: Any, config: Path, seed: Any) -> SelectionDataModule:
    if not isinstance(section, Mapping):
        raise UserError(f"{config} is damaged (it names no data); {AGAIN}.", path=config)
    arguments = dict(section.get("init_args") or {})
    if arguments.get("seed") is None and isinstance(seed, int) and not isinstance(seed, bool):
        arguments["seed"] = seed
    parser = ClassParser()
    parser.add_lightning_class_args(SelectionDataModule, "data", subclass_mode=True)
    given = parser.parse_object({"data": {**section, "init_args": arguments}})
    data: SelectionDataModule = parser.instantiate_classes(given).data
    return data
