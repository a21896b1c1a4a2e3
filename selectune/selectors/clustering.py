"""Prototypes of embeddings, and the semantic entropy of a row among them.

1. K. Rose, "Deterministic annealing for clustering, compression, classification, regression, and related optimization
   problems", Proceedings of the IEEE 86 (1998).
2. D. Arthur, S. Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.
3. S. P. Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information Theory 28 (1982).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from selectune.common.errors import BadRowsError, DataError
from selectune.selectors.blocks import blocks

ROWS_AT_ONCE = 2048
FIT_ROWS = 65_536
SEEDING_ROWS = 16_384
COINCIDE = 1e-12


@dataclass(frozen=True)
class PrototypeEntropy:
    """The result of `prototype_entropy`.

    Args:
        entropies: nats in [0, ln k], float64, shape (n_rows,).
        k: prototypes in use.
        tau: temperature, a squared distance between unit vectors, in [0, 4].
        flops: arithmetic spent; the formula stands in `prototype_entropy`.
    """

    entropies: np.ndarray
    k: int
    tau: float
    flops: int


def prototype_entropy(
    embeddings: np.ndarray,
    seed: int,
    order_keys: np.ndarray | None = None,
    max_prototypes: int = 256,
    iterations: int = 20,
) -> PrototypeEntropy:
    """Semantic entropy: of each row's soft assignment to prototypes of the pool [1].

    p_k is proportional to exp(-d2_k / tau), with d2_k = |x / |x| - c_k|^2 and tau the median over the pool of d2 to the
    nearest prototype. The prototypes c are K = min(max_prototypes, round(sqrt n_rows)) centres of `kmeans`, or k < K
    where there are fewer distinct rows. Distances below 1e-12 count as 0. If tau is 0 (over half of the rows coincide
    with a prototype), its limit is meant: all mass on the nearest prototype, shared evenly by those equally near (to
    1e-12).

    FLOPs = 2 d k (S + T F + 2 N) + d T F + 5 k N: a multiply and an add for each coordinate of each distance (S rows
    for seeding, T iterations over F rows, two passes over all N), an add for each coordinate that enters a mean, and
    the softmax.

    Args:
        embeddings, seed, order_keys, iterations: as in `kmeans`; with keys, permuting a pool of distinct texts permutes
            the result.
        max_prototypes: upper bound of K.
    """
    n_rows, width = embeddings.shape
    centres = kmeans(embeddings, default_prototypes(n_rows, max_prototypes), seed, order_keys, iterations)
    # Two passes, as tau must be known first: storing N x K distances would take more memory than the pool.
    tau = float(np.median(np.concatenate([d2.min(axis=1) for _, d2 in distances(embeddings, centres)])))
    entropies = np.concatenate([_assignment_entropy(d2, tau) for _, d2 in distances(embeddings, centres)])

    k = len(centres)
    flops = kmeans_flops(n_rows, width, k, iterations) + 4 * width * k * n_rows + 5 * k * n_rows
    return PrototypeEntropy(entropies, k, tau, flops)


def default_prototypes(n_rows: int, at_most: int = 256) -> int:
    """K = min(at_most, round(sqrt n_rows))."""
    return min(at_most, round(n_rows**0.5))


def kmeans(
    embeddings: np.ndarray, k: int, seed: int, order_keys: np.ndarray | None = None, iterations: int = 20
) -> np.ndarray:
    """Centres of the unit vectors of embeddings: k-means++ [2], then a fixed number of Lloyd iterations [3].

    A cluster that loses all its rows keeps its centre. Centres are seeded on the first 16,384 and fitted on the first
    65,536 rows in the order of the keys. Beside the fitted rows, memory is a few blocks of 2,048 rows; arithmetic is
    float64.

    Args:
        embeddings: of any length but 0, floats of any precision, shape (n_rows, d); a memory map is read in blocks.
        k: of the centres, at least 1.
        seed: of the row order, when no keys are given, and of k-means++.
        order_keys: uint64, shape (n_rows,), such as ``Signals.tie_keys(seed)``: rows go in the order of (key, row id),
            so that permuting a pool of distinct texts changes no more than the last bits.
        iterations: of Lloyd's algorithm.

    Returns:
        Float64, shape (k, d), fewer where there are fewer distinct rows. Means of unit vectors, so of length <= 1.

    Raises:
        DataError: no rows, or rows that are zero or not finite.
    """
    check_embeddings(embeddings)
    rng = np.random.default_rng(seed % 2**64)  # numpy takes no negative seed
    order = rng.permutation(len(embeddings)) if order_keys is None else np.argsort(order_keys, kind="stable")
    sample = np.asarray(embeddings[order[:FIT_ROWS]])
    centres = _kmeans_plus_plus(unit_rows(sample[:SEEDING_ROWS]), k, rng)
    for _ in range(iterations):
        centres = _lloyd(sample, centres)
    return centres


def kmeans_flops(n_rows: int, width: int, k: int, iterations: int = 20) -> int:
    """FLOPs of `kmeans`: 2 d k (S + T F) + d T F, with S rows for seeding and F rows in each of T iterations."""
    seeded, fitted = min(n_rows, SEEDING_ROWS), iterations * min(n_rows, FIT_ROWS)
    return 2 * width * k * (seeded + fitted) + width * fitted


def check_embeddings(embeddings: np.ndarray, of: str = "the pool") -> None:
    """Raise a DataError for embeddings without rows, or with rows that have no direction: zero or not finite."""
    if len(embeddings) == 0:
        raise DataError(f"There are no embeddings: {of} has no rows.")
    norms = np.empty(len(embeddings))
    for block in blocks(len(embeddings), ROWS_AT_ONCE):
        rows = np.asarray(embeddings[block], dtype=np.float64)  # squares overflow in float16
        norms[block] = np.einsum("ij,ij->i", rows, rows)
    bad = np.flatnonzero(~(np.isfinite(norms) & (norms > 0)))
    if len(bad):
        error = BadRowsError(
            f"{len(bad)} of {len(norms)} embeddings of {of} are zero or not finite (rows {{rows}}); "
            "score these rows again, or leave them out.",
            bad.tolist(),
        )
        # the ids of a chain's rows are not a target's
        raise error if of == "the pool" else DataError(str(error), rows=error.rows)


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Rows as float64 of length 1."""
    values = np.array(rows, dtype=np.float64)
    values /= np.sqrt(np.einsum("ij,ij->i", values, values))[:, None]
    return values


def distances(rows: np.ndarray, centres: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Unit rows (b, d) and their squared distances to the centres (b, k), block by block."""
    for block in blocks(len(rows), ROWS_AT_ONCE):
        unit = unit_rows(rows[block])
        yield unit, _squared_distances(unit, centres)


def _squared_distances(unit: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """|x - c|^2 = 1 + |c|^2 - 2 x.c for unit x; what is below 1e-12 is noise of the subtraction, and 0."""
    d2 = unit @ (-2.0 * centres.T)
    d2 += 1.0 + np.einsum("ij,ij->i", centres, centres)
    d2[d2 < COINCIDE] = 0.0
    return d2


def _kmeans_plus_plus(unit: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Up to k distinct rows, each drawn with probability proportional to its squared distance to those before [2]."""
    rows = [int(rng.random() * len(unit))]
    nearest = np.full(len(unit), np.inf)
    while len(rows) < k:
        nearest = np.minimum(nearest, _squared_distances(unit, unit[rows[-1:]])[:, 0])
        mass = np.cumsum(nearest)
        if mass[-1] == 0:  # all rows coincide with one of these
            break
        rows.append(int(np.searchsorted(mass, rng.random() * mass[-1], side="right")))
    return unit[rows]


def _lloyd(rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Each centre moved to the mean of the unit rows nearest to it (the first of equally near centres)."""
    sums, counts = np.zeros_like(centres), np.zeros(len(centres), dtype=np.int64)
    for unit, d2 in distances(rows, centres):
        labels = d2.argmin(axis=1)
        # Sums over runs of one label in row order: quicker than np.add.at, and the same to the last bit each time.
        order = np.argsort(labels, kind="stable")
        first = np.flatnonzero(np.diff(labels[order], prepend=-1))
        sums[labels[order[first]]] += np.add.reduceat(unit[order], first, axis=0)
        counts += np.bincount(labels, minlength=len(centres))
    return np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centres)


def _assignment_entropy(d2: np.ndarray, tau: float) -> np.ndarray:
    """ln S - (1 / S) sum_k z_k exp(z_k) with z = -(d2 - min d2) / tau and S = sum_k exp(z_k); its limit for tau = 0."""
    gaps = d2 - d2.min(axis=1, keepdims=True)
    if tau == 0:
        return np.log((gaps < COINCIDE).sum(axis=1))
    logits = gaps / -tau
    mass = np.exp(logits)
    total = mass.sum(axis=1)
    return np.clip(np.log(total) - np.einsum("ij,ij->i", mass, logits) / total, 0.0, np.log(d2.shape[1]))
