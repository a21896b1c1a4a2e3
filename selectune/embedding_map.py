"""Pool, target and kept rows in two dimensions, for the report: their embeddings' first two principal components."""

from __future__ import annotations

from typing import Any

import numpy as np

SHOWN = 600  # of each kind
DECIMALS = 4


def embedding_map(pool: np.ndarray, target: np.ndarray, kept: np.ndarray, keys: np.ndarray) -> dict[str, Any]:
    """Where a sample of each kind lies on the plane of largest variance of all three samples together (PCA).

    Args:
        pool: embeddings, shape (n_rows, d); a memory map is read at the sampled rows alone.
        target: embeddings, shape (n_target, d).
        kept: row ids of the pool.
        keys: the order in which rows are sampled, shape (n_rows,).

    Returns:
        ``pool``, ``target`` and ``kept``, each a list of [x, y], and ``explained``, the two components' shares of the
        variance.
    """
    order = np.argsort(keys, kind="stable")
    is_kept = np.zeros(len(pool), dtype=bool)
    is_kept[kept] = True
    samples = {
        "pool": pool[np.sort(order[:SHOWN])],
        "target": target[np.linspace(0, len(target) - 1, min(SHOWN, len(target))).astype(int)],
        "kept": pool[np.sort(order[is_kept[order]][:SHOWN])],
    }
    together = np.concatenate([np.asarray(sample, dtype=np.float64) for sample in samples.values()])
    together -= together.mean(axis=0)
    _, lengths, axes = np.linalg.svd(together, full_matrices=False)
    axes = axes[:2] * np.where(axes[:2].sum(axis=1, keepdims=True) < 0, -1, 1)  # else the sign is the library's
    places = np.round(together @ axes.T, DECIMALS)
    if places.shape[1] < 2:
        places = np.column_stack([places, np.zeros(len(places))])
    total = float((lengths**2).sum()) or 1.0
    ends = np.cumsum([len(sample) for sample in samples.values()])
    parts = np.split(places, ends[:-1])
    explained = [round(float(length**2 / total), DECIMALS) for length in lengths[:2]]
    return {name: part.tolist() for name, part in zip(samples, parts)} | {"explained": explained}
