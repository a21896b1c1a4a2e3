"""Signals of the text alone, and those derived from other signals: on rank 0, charged as ``solve``."""

from __future__ import annotations

from itertools import chain
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

import numpy as np

from selectune.common.errors import BadRowsError, DataError
from selectune.common.files import default_cache
from selectune.costs.ledger import Ledger
from selectune.costs.record import Part
from selectune.signals.cross_fit import cross_fit
from selectune.signals.definitions import HASHES, NGRAM_BINS, SHINGLE, Rows, ScoringModel
from selectune.signals.dynamics import METHOD, TRAINED_FOR, dynamics_signal
from selectune.signals.store import Definition, SignalStore

if TYPE_CHECKING:
    from selectune.selectors.clustering import PrototypeEntropy


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
        if definition.name in TRAINED_FOR:
            sources = TRAINED_FOR[definition.name]
            logits = {other.name: store.read(other) for other in wanted if other.name in sources}
            values, flops = dynamics_signal(definition.name, logits, rows.always["label"])
            method = METHOD
        elif definition.kind == "derived":
            embedding = next(other for other in wanted if other.name == "embedding")
            values, flops, method = derived_signal(definition.name, store.read(embedding), rows, scoring)
        else:
            values, flops, method = text_signal(definition.name, rows, scoring)
        cost.add(examples=len(rows), flops=flops, method=method)
    store.write(definition, values, [ledger.records[-1].to_json()])


def derived_signal(
    name: str, embeddings: np.ndarray, rows: Rows, scoring: ScoringModel
) -> tuple[np.ndarray, float, str]:
    """A signal made of embeddings, the FLOPs that it took, and how they were counted.

    Raises:
        DataError: embeddings that are zero or not finite; no classes, where probabilities of these are asked for.
    """
    if name == "semantic_entropy":
        solved = semantic_entropy(embeddings, rows, scoring)
        return solved.entropies, solved.flops, "k-means: 2 d a distance (analytic)"
    if "label" not in rows.always:
        raise DataError("class_probabilities need rows with classes, which this task has none of; use another signal.")
    fitted = cross_fit(embeddings, rows.always["label"], rows.pool.text_hash)
    return fitted.probabilities, fitted.flops, "logistic regression: 4 d a row, class and step (analytic)"


def semantic_entropy(embeddings: np.ndarray, rows: Rows, scoring: ScoringModel) -> PrototypeEntropy:
    """Entropy of each row's assignment to prototypes of these rows.

    Raises:
        DataError: embeddings that are zero or not finite.
    """
    from selectune.selectors.clustering import prototype_entropy

    try:
        return prototype_entropy(embeddings, scoring.settings.semantic.seed, rows.pool.text_hash)
    except BadRowsError as error:
        if rows.row_ids is None:
            raise
        raise error.with_ids(rows.row_ids) from error


def text_signal(name: str, rows: Rows, scoring: ScoringModel) -> tuple[np.ndarray, int, str]:
    """A signal of the texts alone, the FLOPs that it took, and how they were counted."""
    from selectune.selectors.dsir import hashed_ngrams
    from selectune.selectors.duplicates import minhash
    from selectune.selectors.entropy import miller_madow, plugin_entropy

    settings = scoring.settings.information
    estimate = miller_madow if settings.estimator == "miller_madow" else plugin_entropy

    def compute(ids: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        if name == "minhash":
            return minhash(ids, offsets, shingle=SHINGLE, n_hashes=HASHES)
        if name == "ngrams":
            return hashed_ngrams(ids, offsets, NGRAM_BINS, scoring.max_length)
        return estimate(ids, offsets, normalize=settings.normalize)

    blocks = (compute(ids, offsets) for ids, offsets in rows.tokens.content())
    first = next(blocks)
    if first.ndim == 1:
        values = np.concatenate([first, *blocks])
        return values, 4 * int(rows.n_tokens.sum()), "4 a token (analytic)"  # a share, its log, a product, a sum
    # Vectors may outgrow memory, so they lie in a file without a name until they are stored.
    with TemporaryFile(dir=default_cache()) as file:
        values = np.memmap(file, dtype=first.dtype, mode="w+", shape=(len(rows), *first.shape[1:]))
    start = 0
    for block in chain([first], blocks):
        values[start : start + len(block)] = block
        start += len(block)
    return values, 0, "no arithmetic"  # of whole numbers, that is
