"""Duplicates, exact and near: MinHash sketches of token shingles, and the selector that keeps one row of each group.

1. A. Z. Broder, "On the resemblance and containment of documents", SEQUENCES 1997.
2. J. Leskovec, A. Rajaraman, J. D. Ullman, Mining of Massive Datasets, chapter 3.
3. M. Dietzfelbinger et al., "A reliable randomized algorithm for the closest-pair problem", J. Algorithms 25 (1997).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from selectune.common import checks
from selectune.common.errors import DataError
from selectune.selectors.base import Picked, Signals
from selectune.selectors.blocks import blocks
from selectune.selectors.entropy import checked_offsets, row_blocks
from selectune.selectors.filtering import Filter, mixed_labels
from selectune.selectors.ordering import key_order

SHINGLES_AT_ONCE = 2**16
PAIRS_AT_ONCE = 2**14
ODD = np.uint64(0x9E3779B97F4A7C15)


class Deduplicate(Filter):
    """Keep one row of each group of duplicates: the one of the smallest tie key, hash(seed, text), then row id.

    Exact duplicates have the same text. Near ones are found by locality-sensitive hashing of MinHash sketches [1, 2]:
    rows whose sketches agree in a whole band are compared, and are duplicates when the share of equal entries, which
    estimates the Jaccard similarity of their sets of token shingles, reaches ``similarity``. Of h entries there are b
    bands of r with b r <= h, such that (1 / b)^(1 / r) is nearest to ``similarity``. A pair of similarity s is compared
    with probability 1 - (1 - s^r)^b: with the 11 bands of 11 for 0.8 and 128 entries, 0.63 at 0.8 and 0.98 at 0.9.
    Groups are the connected components, so two rows of a group may be less alike than ``similarity``.

    Args:
        near: whether near duplicates are found too; needs the signal ``minhash``, see `minhash`.
        similarity: over 0 and at most 1.

    Raises:
        UserError: a similarity outside (0, 1].

    Warns:
        UserWarning: a group mixes labels.
    """

    def __init__(self, near: bool = True, similarity: float = 0.8) -> None:
        checks.share("Deduplicate's similarity", similarity)
        self.near, self.similarity = near, similarity

    @property
    def requires(self) -> frozenset[str]:
        """``minhash``, for near duplicates."""
        return frozenset({"minhash"}) if self.near else frozenset()

    def kept(self, pool: Signals, target: Signals | None, seed: int) -> Picked:
        """Keep one row of each group; ``scores`` are the number of rows in a row's group."""
        texts, text_of = np.unique(pool["text_hash"], return_inverse=True)
        group_of = text_of
        diagnostics: dict[str, Any] = {"exact_duplicates": pool.n_rows - len(texts)}
        if self.near:
            group_of = near_duplicates(pool["minhash"], text_of, self.similarity)
            diagnostics["near_duplicates"] = len(texts) - len(np.unique(group_of))
        order = key_order(pool.tie_keys(seed))  # so that the first of a group is the one to keep
        _, first, sizes = np.unique(group_of[order], return_index=True, return_counts=True)
        diagnostics |= {"largest_group": int(sizes.max())} | mixed_labels(group_of, pool, "Deduplicate")
        return Picked(np.sort(order[first]).astype(np.int64), sizes[group_of].astype(np.float64), diagnostics)


def minhash(ids: np.ndarray, offsets: np.ndarray, shingle: int = 5, n_hashes: int = 128) -> np.ndarray:
    """MinHash sketches of the sets of token shingles of texts [1].

    A text's shingles are its runs of ``shingle`` tokens; a shorter text is one shingle. Each of the hash functions
    (a x + b) >> 32, with x a 64-bit code of the shingle [3], takes its least value over the set. So two texts agree in
    an entry with about the probability of their Jaccard similarity, and the share of equal entries estimates it, with a
    standard error of at most 0.5 / sqrt(n_hashes).

    Args:
        ids: tokens of all rows one after another, integers >= 0, shape (n_tokens,).
        offsets: row i is ``ids[offsets[i]:offsets[i + 1]]``; ascending integers, shape (n_rows + 1,).
        shingle: tokens in a shingle, at least 1.
        n_hashes: entries; fewer are the first of more.

    Returns:
        uint32, shape (n_rows, n_hashes). Beside it, memory is some arrays of 2^16 shingles, or of the longest row.

    Raises:
        ValueError: offsets that are not ascending inside the tokens, or fewer than one token or entry.
    """
    offsets = checked_offsets(ids, offsets)
    if shingle < 1 or n_hashes < 1:
        raise ValueError(f"shingle and n_hashes must be at least 1, not {shingle} and {n_hashes}")
    constants = np.random.PCG64(0).random_raw(2 * n_hashes)  # raw bits, which numpy promises not to change
    multipliers, addends = constants[0::2] | np.uint64(1), constants[1::2]
    n_shingles = np.maximum(np.diff(offsets) - shingle + 1, 1)
    sketches = np.empty((len(n_shingles), n_hashes), dtype=np.uint32)
    for start, stop in row_blocks(n_shingles, SHINGLES_AT_ONCE):
        codes, first = _shingle_codes(ids, offsets[start : stop + 1], shingle)
        for k in range(n_hashes):
            values = (codes * multipliers[k] + addends[k]) >> np.uint64(32)
            sketches[start:stop, k] = np.minimum.reduceat(values, first)
    return sketches


def near_duplicates(sketches: np.ndarray, group_of: np.ndarray, similarity: float) -> np.ndarray:
    """The group of each row after near duplicates were joined, integers from 0, shape (n_rows,); see `Deduplicate`.

    Args:
        sketches: of `minhash`, shape (n_rows, n_hashes).
        group_of: groups that are known to be duplicates, integers from 0, shape (n_rows,).
        similarity: share of equal entries from which on two rows are duplicates.
    """
    if sketches.ndim != 2 or not np.issubdtype(sketches.dtype, np.integer):
        raise DataError(f"The sketches have shape {sketches.shape} and type {sketches.dtype}, not those of minhash.")
    n_bands, width = bands_for(similarity, sketches.shape[1])
    # Rows of equal sketches are joined first, so that many copies of one text do not meet in pairs in every band.
    _, alike, sketch_of = np.unique(_codes(sketches), return_index=True, return_inverse=True)
    group_of = _joined(group_of, np.arange(len(sketches)), alike[sketch_of])
    for band in range(n_bands):
        codes = _codes(sketches[alike, band * width : (band + 1) * width])
        order = np.argsort(codes, kind="stable")
        group_of = _join_buckets(sketches, alike[order], codes[order], group_of, similarity)
    return group_of


def bands_for(similarity: float, n_hashes: int) -> tuple[int, int]:
    """Bands b and entries r of each, b r <= n_hashes, whose threshold (1 / b)^(1 / r) is nearest to the similarity."""
    widths = np.arange(1, n_hashes + 1)
    bands = n_hashes // widths
    width = int(np.abs((1.0 / bands) ** (1.0 / widths) - similarity).argmin()) + 1
    return n_hashes // width, width


def _shingle_codes(ids: np.ndarray, offsets: np.ndarray, shingle: int) -> tuple[np.ndarray, np.ndarray]:
    """A 64-bit code of each shingle of some rows, and where the shingles of each row begin."""
    tokens = np.concatenate([np.asarray(ids[offsets[0] : offsets[-1]]).astype(np.uint64), np.zeros(shingle, np.uint64)])
    lengths = np.diff(offsets)
    counts = np.maximum(lengths - shingle + 1, 1)
    first = np.cumsum(counts) - counts
    at = np.arange(counts.sum()) + np.repeat(offsets[:-1] - offsets[0] - first, counts)
    sizes = np.repeat(np.minimum(lengths, shingle), counts)
    codes = np.full(len(at), ODD)
    for place in range(shingle):
        codes = np.where(place < sizes, _folded(codes, tokens[at + place]), codes)
    return codes, first


def _folded(codes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Codes of sequences with one more value: multiply and shift, each a bijection of 64-bit words."""
    mixed = (codes ^ values) * ODD
    return np.asarray(mixed ^ (mixed >> np.uint64(32)))


def _codes(sketches: np.ndarray) -> np.ndarray:
    """A 64-bit code of each row, uint64, shape (n_rows,)."""
    codes = np.full(len(sketches), ODD)
    for column in sketches.T:
        codes = _folded(codes, column.astype(np.uint64))
    return codes


def _join_buckets(
    sketches: np.ndarray, rows: np.ndarray, codes: np.ndarray, group_of: np.ndarray, similarity: float
) -> np.ndarray:
    """Groups after the rows of each bucket, a run of equal codes, were compared: neighbours, rows two apart, ..."""
    first = np.flatnonzero(np.diff(codes, prepend=~codes[:1]))
    bucket = np.repeat(np.arange(len(first)), np.diff(first, append=len(codes)))
    at, step = np.arange(len(rows)), 1
    while True:
        at = at[at + step < len(rows)]
        at = at[bucket[at] == bucket[at + step]]
        if len(at) == 0:
            return group_of
        one, other = rows[at], rows[at + step]
        apart = group_of[one] != group_of[other]
        one, other = one[apart], other[apart]
        same = _agree(sketches, one, other, similarity)
        group_of = _joined(group_of, one[same], other[same])
        # Large buckets are mostly of one group soon, so those that are drop out, or all their pairs would be looked at.
        # Only at steps that are powers of 2, as finding them costs as much as a step.
        if step & (step - 1) == 0:
            groups = group_of[rows]
            mixed = np.minimum.reduceat(groups, first) != np.maximum.reduceat(groups, first)
            at = at[mixed[bucket[at]]]
        step += 1


def _agree(sketches: np.ndarray, one: np.ndarray, other: np.ndarray, similarity: float) -> np.ndarray:
    """Whether the rows of each pair agree in a share of entries of at least the similarity."""
    least = similarity * sketches.shape[1] - 1e-9  # 0.55 of 100 entries is a little over 55 in floating point
    agree = np.zeros(len(one), dtype=bool)
    for pairs in blocks(len(one), PAIRS_AT_ONCE):
        agree[pairs] = np.count_nonzero(sketches[one[pairs]] == sketches[other[pairs]], axis=1) >= least
    return agree


def _joined(group_of: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Groups after those of each pair of rows were made one."""
    if len(one) == 0:
        return group_of
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    size = int(group_of.max()) + 1
    edges = coo_array((np.ones(len(one), dtype=bool), (group_of[one], group_of[other])), shape=(size, size))
    return np.asarray(connected_components(edges, directed=False)[1])[group_of]
