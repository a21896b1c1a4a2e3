"""Selections as a run holds them, made by real selectors from made-up signals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from selectune.selection import examples
from selectune.selectors.base import Budget, Picked, Selector, Signals

NAMES = ["business", "science", "sports", "world"]


def made_up_signals(n_rows: int, seed: int = 0) -> Signals:
    """Lengths, and three entropies that depend on them as those of short texts do."""
    draw = np.random.default_rng(seed)
    n_tokens = np.clip(draw.lognormal(2.6, 0.6, n_rows).astype(np.int64), 1, 126)
    information = np.minimum(np.log(n_tokens), np.log(n_tokens) * 0.97 + draw.normal(0, 0.08, n_rows)).clip(0)
    generative = (3.6 - 0.35 * np.log(n_tokens) + draw.gamma(2.0, 0.22, n_rows)).clip(0)
    semantic = 1.1 * draw.beta(5, 2, n_rows)
    arrays = {"information_entropy": information, "generative_entropy": generative, "semantic_entropy": semantic}
    hashes = draw.integers(0, 2**63, n_rows, dtype=np.uint64)
    return Signals({**arrays, "n_tokens": n_tokens, "text_hash": hashes})


def made_up_texts(rows: np.ndarray) -> list[tuple[str, ...]]:
    """A text for each row id."""
    return [
        (f"Row {row}: shares of the maker of parts fell by {row % 17} % on Monday, as analysts said",) for row in rows
    ]


def made_up_labels(n_rows: int, seed: int = 0) -> np.ndarray:
    """Classes 0 to 3, not equally frequent."""
    return np.random.default_rng(seed + 1).choice(4, n_rows, p=[0.4, 0.3, 0.2, 0.1])


def choose(
    run: Path,
    selector: Selector,
    signals: Signals,
    keep: float | None = 0.16,
    labels: np.ndarray | None = None,
    with_examples: bool = True,
) -> Picked:
    """Put a selection into a run as a stage of it does: scores, examples and manifest."""
    budget = Budget.of(signals.n_rows, int(signals["n_tokens"].sum()), keep)
    picked = selector.select(signals, None, budget, 0)
    put(run, picked, {name: signals[name] for name in signals if name != "text_hash"}, labels, with_examples)
    return picked


def put(
    run: Path,
    picked: Picked,
    scalars: dict[str, np.ndarray],
    labels: np.ndarray | None = None,
    with_examples: bool = True,
    texts_of: Any = made_up_texts,
    names: list[str] | None = NAMES,
) -> None:
    """Write what was picked."""
    folder = run / "selection"
    folder.mkdir(parents=True, exist_ok=True)
    n_rows = len(picked.scores)
    selected = np.zeros(n_rows, dtype=bool)
    selected[picked.rows] = True
    ids = np.arange(n_rows)
    columns = {"row_id": ids, **scalars, "selected": selected, "tie_key": ids.astype(np.uint64), "source_row": ids}
    pq.write_table(pa.table(columns), folder / "scores.parquet")
    if with_examples:
        signals = scalars | {"score": picked.scores}
        described = examples.describe_rows(
            texts_of, picked.rows, n_rows, signals, picked.diagnostics, labels, names if labels is not None else None, 0
        )
        examples.write(folder, described)
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text()) if path.exists() else {}
    manifest |= {"n_rows": len(picked.rows), "pool_rows": n_rows, "seed": 0, "diagnostics": picked.diagnostics}
    path.write_text(json.dumps(manifest))
