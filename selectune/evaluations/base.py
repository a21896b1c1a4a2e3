"""The base of evaluations."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from selectune.common.errors import DataError
from selectune.costs.record import Stage
from selectune.data.data_files import kind_of
from selectune.data.pool import held_out_rows
from selectune.data.sources import DataSource, find_data
from selectune.data.texts import with_text
from selectune.evaluations.parts import Parts


@dataclass(frozen=True)
class Evaluated:
    """The outcome of an evaluation.

    Args:
        metrics: by name, fractions unless the evaluation says otherwise.
        rows: columns of its single rows, each of shape (n_rows,).
    """

    metrics: dict[str, float]
    rows: dict[str, np.ndarray]


class Evaluation(ABC):
    """Something that a language model is tried at, before and after it is trained.

    Args:
        dataset: a hub name, a folder in the hub's layout, or a file.
        split: default the first of the data set.
        config_name: the hub's configuration of the data set.
        revision: of the hub's data set.
        root: folder of local copies that is looked into first; default that of the data.
        local_name: name of its folder in the root, where it differs from its own.
        seed: of what is drawn.
        name: of its metrics, ``test/<name>/...``; default that of the data set.
    """

    stage: Stage = "evaluate"  # of the ledger
    causal = True  # whether it asks a `CausalModel`; else a `LanguageModel` of either kind

    def __init__(
        self,
        dataset: str,
        split: str | None = None,
        config_name: str | None = None,
        revision: str | None = None,
        root: str | None = None,
        local_name: str | None = None,
        seed: int = 0,
        name: str | None = None,
    ) -> None:
        name = name or name_of(dataset)
        if not name.replace("_", "").replace("-", "").isalnum():
            raise DataError(f"The name of an evaluation is '{name}'; use letters, digits, _ and - alone.")
        self.name, self.dataset, self.split, self.seed = name, dataset, split, seed
        self.config_name, self.revision, self.root, self.local_name = config_name, revision, root, local_name

    def find(self, root: str | None) -> DataSource:
        """Its data set.

        Args:
            root: folder of local copies where it has none of its own.

        Raises:
            DataError: it is missing, or cannot be read.
        """
        return find_data(self.dataset, self.config_name, self.root or root, self.local_name, self.revision)

    @abstractmethod
    def check(self, root: str | None) -> None:
        """Load what it needs, so that a mistake is found before anything is trained.

        Args:
            root: folder of local copies of data sets.

        Raises:
            UserError: something is missing.
        """

    @abstractmethod
    def run(self, model: Any, parts: Parts | None = None) -> Evaluated:
        """Try a model, see `causal`; `check` was called before.

        Args:
            model: to try.
            parts: those that an earlier attempt finished, to which a long evaluation adds its own.
        """

    @property
    @abstractmethod
    def text_hash(self) -> np.ndarray:
        """Hash of the text of each of its rows, uint64, shape (n_rows,), once `check` was called."""

    @property
    @abstractmethod
    def key(self) -> list[Any]:
        """Everything that its outcome depends on beside the model, as JSON types, once `check` was called."""


def name_of(dataset: str) -> str:
    """A name for an evaluation on a data set: the end of the data set's, without that of a file."""
    return re.sub(r"[^\w-]", "_", Path(dataset.removesuffix(".gz")).stem if kind_of(dataset) else Path(dataset).name)


def rows_of(
    source: DataSource,
    split: str | None,
    columns: Sequence[str],
    max_rows: int | None,
    seed: int,
    held_out: float | None = None,
) -> Any:
    """Some rows of a split as a data set: the first so many of a draw, in the order of the split.

    Args:
        source: the data set.
        split: default its first.
        columns: that it must have.
        max_rows: draw so many.
        seed: of the draw.
        held_out: draw of the rows alone that are held out of a pool, by their text in the first of the columns.

    Raises:
        DataError: no such split or column, or no row is held out.
    """
    name = split or next(iter(source.splits))
    if name not in source.splits:
        raise DataError(f"{source.described} has no split '{name}'; it has {', '.join(source.splits)}.")
    found = source.splits[name]
    if any("." in column for column in columns if column not in found.column_names):
        found = found.flatten()  # a list within a column: choices.text
    for column in columns:
        if column not in found.column_names:
            raise DataError(
                f"{source.described} has no column '{column}'; it has {', '.join(map(str, found.column_names))}."
            )
    if held_out is not None:
        found, _ = with_text(found, columns[0], f"The split '{name}' of {source.described}")
        if not len(rows := np.flatnonzero(held_out_rows(found, columns[0], held_out))):
            raise DataError(f"No row of the split '{name}' of {source.described} is held out; raise held_out.")
        found = found.select(rows)
    if max_rows is not None and max_rows < len(found):
        found = found.select(np.sort(np.random.default_rng([seed, 5]).permutation(len(found))[:max_rows]))
    return found


def as_key(**values: Any) -> list[Any]:
    """Settings as JSON types, in the order of their names."""
    kept: list[Any] = json.loads(json.dumps(sorted(values.items()), default=str))
    return kept
