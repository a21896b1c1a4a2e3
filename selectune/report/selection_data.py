"""A selection row by row: signals of the pool, and which rows were kept."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from selectune.common.errors import UserError
from selectune.common.run_files import SelectionFiles
from selectune.selection import examples

BESIDE_SIGNALS = ("row_id", "selected", "tie_key", "source_row", "last_source_row", "domain")  # in scores.parquet
MAX_SIGNALS = 6
MAX_PAIRED = 4


@dataclass(frozen=True)
class SelectionData:
    """A selection, row by row.

    Args:
        selected: whether a row of the pool was kept, shape (n_rows,).
        signals: the scalar signals, float64, each of shape (n_rows,), NaN where a row has none.
        intervals: of `selectune.selection.examples.kept_intervals`.
        described: of `selectune.selection.examples.describe_rows`; empty for a run that has none.
        seed: of the selection.
    """

    selected: np.ndarray
    signals: dict[str, np.ndarray]
    intervals: dict[str, tuple[float, float]]
    described: dict[str, Any]
    seed: int = 0

    @classmethod
    def read(cls, folder: Path, manifest: dict[str, Any]) -> SelectionData | None:
        """Read a selection from its folder; None where there are no scores.

        Raises:
            UserError: a file is damaged.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = SelectionFiles(folder).scores
        if not path.is_file():
            return None
        try:
            schema = pq.read_schema(path)
            numbers = [
                name
                for name, kind in zip(schema.names, schema.types)
                if name not in BESIDE_SIGNALS and (pa.types.is_floating(kind) or pa.types.is_integer(kind))
            ]
            table = pq.read_table(path, columns=["selected", *numbers])
            selected = table["selected"].to_numpy().astype(bool)
        except (KeyError, ValueError, OSError, pa.ArrowException) as error:
            raise UserError(f"{path} is damaged ({error}); select again.") from None
        signals = {}
        for name in numbers:
            values = table[name].to_numpy().astype(np.float64, copy=False)
            known = np.isfinite(values)
            signals[name] = values if known.all() else np.where(known, values, np.nan)
        intervals = examples.kept_intervals(manifest.get("diagnostics") or {}, signals, selected)
        seed = manifest.get("seed")
        return cls(selected, signals, intervals, examples.read(folder), seed if isinstance(seed, int) else 0)

    @cached_property
    def scored(self) -> list[str]:
        """Signals that hold a value, those with an interval first; lengths have a picture of their own."""
        others = [name for name in self.signals if name not in ("n_tokens", examples.SCORE)]
        names = dict.fromkeys([*self.intervals, *others])
        return [name for name in names if np.isfinite(self.signals[name]).any()]

    @property
    def drawn(self) -> list[str]:
        """The first of the signals scored, as many as there is room for."""
        return self.scored[:MAX_SIGNALS]

    @property
    def paired(self) -> list[str]:
        """Signals to draw against each other: those with an interval; without two of them, the entropies."""
        bounded = [name for name in self.drawn if name in self.intervals]
        entropies = [name for name in self.drawn if name.endswith("_entropy")]
        names = bounded if len(bounded) > 1 else entropies
        return names[:MAX_PAIRED] if len(names) > 1 else []

    @property
    def classes(self) -> dict[str, Any] | None:
        """Names of the classes, and the rows of each in the pool and among the kept; None without classes."""
        classes = self.described.get("classes")
        return classes if isinstance(classes, dict) and classes.get("names") else None

    def known(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The values that a signal has, and whether their rows were kept, each of shape (n_known,)."""
        values, known = self.signals[name], np.isfinite(self.signals[name])
        return (values, self.selected) if known.all() else (values[known], self.selected[known])
