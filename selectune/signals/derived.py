"""Signals of the text alone, and those derived from other signals: on rank 0, charged as ``solve``."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from tempfile import TemporaryFile

import numpy as np

from selectune.common.files import default_cache
from selectune.costs.ledger import Ledger, StageCost
from selectune.costs.record import Part
from selectune.signals.definitions import HASHES, NGRAM_BINS, SHINGLE, Rows, ScoringModel
from selectune.signals.store import Definition, SignalStore


def solve(
    definition: Definition,
    wanted: list[Definition],
    rows: Rows,
    scoring: ScoringModel,
    store: SignalStore,
    ledger: Ledger,
    part: Part,
) -> None:
    """Compute a signal of the text, or of other signals, and store it."""
    with ledger.stage("solve", part, f"{definition.name}-{definition.key}") as cost:
        if definition.name == "semantic_entropy":
            embedding = next(other for other in wanted if other.name == "embedding")
            values = _prototype_entropy(store.read(embedding), rows, scoring, cost)
        else:
            values, flops, method = text_signal(definition.name, rows, scoring)
            cost.add(examples=len(rows), flops=flops, method=method)
    store.write(definition, values, [ledger.records[-1].to_json()])


def text_signal(name: str, rows: Rows, scoring: ScoringModel) -> tuple[np.ndarray, int, str]:
    """A signal of the texts alone, the FLOPs that it took, and how they were counted."""
    if name in ("minhash", "ngrams"):
        compute = {"minhash": _minhash, "ngrams": _ngrams}[name]
        values = _of_tokens(rows, lambda ids, offsets: compute(ids, offsets, scoring))
        return values, 0, "no arithmetic"  # of whole numbers, that is
    values = _of_tokens(rows, lambda ids, offsets: _token_entropy(ids, offsets, scoring))
    return values, 4 * int(rows.n_tokens.sum()), "4 a token (analytic)"  # a share, its log, a product, a sum


def _of_tokens(rows: Rows, compute: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """A signal of all rows; one of several numbers a row lies in a file without a name, as it may outgrow memory."""
    blocks = (compute(ids, offsets) for ids, offsets in rows.tokens.content())
    first = next(blocks)
    if first.ndim == 1:
        return np.concatenate([first, *blocks])
    with TemporaryFile(dir=default_cache()) as file:
        values = np.memmap(file, dtype=first.dtype, mode="w+", shape=(len(rows), *first.shape[1:]))
    start = 0
    for block in chain([first], blocks):
        values[start : start + len(block)] = block
        start += len(block)
    return values


def _token_entropy(ids: np.ndarray, offsets: np.ndarray, scoring: ScoringModel) -> np.ndarray:
    from selectune.selectors.entropy import miller_madow, plugin_entropy

    settings = scoring.settings.information
    estimate = miller_madow if settings.estimator == "miller_madow" else plugin_entropy
    return estimate(ids, offsets, normalize=settings.normalize)


def _minhash(ids: np.ndarray, offsets: np.ndarray, scoring: ScoringModel) -> np.ndarray:
    from selectune.selectors.duplicates import minhash

    return minhash(ids, offsets, shingle=SHINGLE, n_hashes=HASHES)


def _ngrams(ids: np.ndarray, offsets: np.ndarray, scoring: ScoringModel) -> np.ndarray:
    from selectune.selectors.dsir import hashed_ngrams

    return hashed_ngrams(ids, offsets, NGRAM_BINS, scoring.max_length)


def _prototype_entropy(embeddings: np.ndarray, rows: Rows, scoring: ScoringModel, cost: StageCost) -> np.ndarray:
    from selectune.selectors.clustering import prototype_entropy

    found = prototype_entropy(embeddings, seed=scoring.settings.semantic.seed, order_keys=rows.pool.text_hash)
    cost.add(examples=len(rows), flops=found.flops, method="k-means: 2 d a distance (analytic)")
    return found.entropies
