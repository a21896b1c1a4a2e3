"""Evaluations of a model: made once for the same weights, charged to the ledger, and written into the run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from selectune.common.files import atomic_file, default_cache, write_json
from selectune.common.locks import locked
from selectune.costs.ledger import Ledger
from selectune.costs.record import Kept
from selectune.evaluations.base import Evaluated, Evaluation
from selectune.evaluations.language_model import LanguageModel, Spent
from selectune.evaluations.parts import Parts
from selectune.signals.compute import charge_avoided

WAIT_SECONDS = 3600.0  # for another process that makes the same evaluation
FORMAT = 1  # raise it whenever the same model would be evaluated otherwise


def evaluate_model(
    evaluations: Sequence[Evaluation], model: LanguageModel, weights: str, ledger: Ledger, folder: Path, end: str = ""
) -> dict[str, float]:
    """Try a model, and return its metrics as ``test/<name>/<metric>``.

    What was found for the same weights lies in the cache; the rest is made one evaluation after the other, so that a
    stopped run goes on with the next one, or with the next part of a long one.

    Args:
        evaluations: that were checked.
        model: to try.
        weights: hash of its weights.
        ledger: of the run.
        folder: of the run, for the rows of each evaluation.
        end: of the names of metrics and files.
    """
    metrics: dict[str, float] = {}
    for one in evaluations:
        found = _found(one, model, weights, ledger, f"{one.name}{end}")
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_file(folder / f"{one.name}{end}.parquet") as partial:
            pq.write_table(pa.table({**found.rows, "text_hash": one.text_hash}), partial)
        metrics |= {f"test/{one.name}/{name}{end}": value for name, value in found.metrics.items()}
    return metrics


def _found(one: Evaluation, model: LanguageModel, weights: str, ledger: Ledger, work: str) -> Evaluated:
    text = json.dumps([FORMAT, weights, one.key], sort_keys=True)
    place = default_cache() / "evaluations" / hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    place.parent.mkdir(parents=True, exist_ok=True)
    rows, about = place.with_suffix(".parquet"), place.with_suffix(".json")
    with locked(place.with_suffix(".lock"), WAIT_SECONDS, "the same evaluation"):
        if (known := _read(rows, about)) is not None:
            found, costs = known
            charge_avoided(ledger, costs, "fit")
            return found
        parts = Parts(place.with_suffix(".parts"))
        charge_avoided(ledger, parts.costs, "fit")  # of another run that was killed
        kept = [Kept.of(cost) for cost in parts.costs]
        model.spent = Spent()
        with ledger.stage(one.stage, work=work, kept=kept) as cost:
            parts.cost = cost
            found = one.run(model, parts)
            model.charge(cost)
        costs = [*parts.costs, ledger.records[-1].to_json()]
        with atomic_file(rows) as partial:
            pq.write_table(pa.table(found.rows), partial)
        write_json(about, {"metrics": found.metrics, "costs": costs})  # last: it says that the rows are there
        parts.remove()
    return found


def _read(rows: Path, about: Path) -> tuple[Evaluated, list[dict[str, Any]]] | None:
    """An evaluation of the cache with its costs; None where there is none, or it is damaged."""
    try:
        content = json.loads(about.read_text())
        table = pq.read_table(rows)
        columns = {name: np.asarray(table[name].to_pylist()) for name in table.column_names}
        return Evaluated(dict(content["metrics"]), columns), list(content["costs"])
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        return None
