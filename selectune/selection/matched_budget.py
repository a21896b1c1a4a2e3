"""The budget at which random rows match another run: as many rows, tokens, or as much total cost."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np

from selectune.common.errors import SelectionError
from selectune.common.run_files import RunFiles, SelectionFiles
from selectune.costs.record import add_up
from selectune.costs.saving import SELECTION
from selectune.costs.uninterrupted import uninterrupted
from selectune.selectors.base import Budget


def matched_budget(
    folder: Path, by: Literal["rows", "tokens", "cost"], input_tokens: np.ndarray
) -> tuple[Budget, dict[str, Any]]:
    """The budget at which rows of a pool match a run, and what to note of it; see `Random`.

    Args:
        folder: of the run, or of its selection.
        by: what is to be the same.
        input_tokens: tokens of each row of the pool, special ones included, int64, shape (n_rows,).

    Raises:
        SelectionError: the run is missing, unfinished, or over a pool of another size.

    Warns:
        UserWarning: the pool is too small to cost as much as the run.
    """
    places = (RunFiles(folder).manifest, SelectionFiles(folder).manifest)
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        raise SelectionError(
            f"There is no selection in {folder} to match (selection/manifest.json); name the folder of a run that "
            "selected rows."
        )
    try:
        manifest = json.loads(file.read_text())
        pool_rows, rows, tokens = manifest["pool_rows"], manifest["n_rows"], manifest["budget"]["input_tokens"]
    except (ValueError, KeyError, TypeError) as error:
        raise SelectionError(f"{file} cannot be read ({error!r}); select again.") from error
    if pool_rows != len(input_tokens):
        raise SelectionError(
            f"The run to match in {folder} chose from {pool_rows} rows, but this pool has {len(input_tokens)}; use the "
            "same data, seed and data.max_train_rows."
        )
    noted: dict[str, Any] = {"run": str(folder), "by": by, "rows": rows, "input_tokens": tokens}
    if by == "rows":
        return Budget(rows=rows), {"matched": noted, "budget": {"rows": rows}}
    if by == "cost":
        selection, training = flops_of(folder)
        noted |= {"selection_flops": selection, "training_flops": training}
        in_pool = int(input_tokens.sum())
        tokens = int(tokens * (1 + selection / training) + 0.5)
        if tokens > in_pool:
            warnings.warn(
                f"Random rows that cost as much as {folder} would be {tokens} tokens, but the pool has {in_pool}; all "
                "of it is kept, and costs less.",
                UserWarning,
                stacklevel=2,
            )
            tokens = in_pool
    return Budget(tokens=tokens, counted="input_tokens"), {"matched": noted, "budget": {"input_tokens": tokens}}


def flops_of(run: Path) -> tuple[float, float]:
    """FLOPs of a run's selection and of its training, as if it had not been interrupted.

    Raises:
        SelectionError: the run is not finished, or its FLOPs are not known.
    """
    if not RunFiles(run).saving.is_file():
        raise SelectionError(f"{run} is not a finished run (it has no saving.json), so its cost cannot be matched.")
    records = [record for record in uninterrupted(run) if record.part == "fit"]
    selection = add_up(record for record in records if record.stage in SELECTION).flops
    training = add_up(record for record in records if record.stage == "train" and not record.cached).flops
    if selection is None or not training:
        raise SelectionError(f"The FLOPs of {run} are not known (cost.jsonl); match it by rows or by tokens.")
    return selection, training
