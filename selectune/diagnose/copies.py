"""Copies, within a pool and between the pool and held-out rows."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from selectune.diagnose.findings import Finding
from selectune.selectors.copies import groups_of

if TYPE_CHECKING:
    from scipy.sparse import csr_array

JACCARD, COSINE = 0.8, 0.95  # of near copies
LEAST_JACCARD = 0.6  # of copies by cosine: news of one agency, say, is alike in everything but its words
FAR = 0.75  # a cosine that says nothing
STEEPNESS = 12.0  # of the score around the bounds
NEIGHBOURS = 10  # that a row is compared with
NEARLY = 0.99  # at most, of the score of what is no exact copy, or of a nearness that is below its bound
PAIRS_AT_ONCE = 50_000
RARE = 50  # rows that a token is in at most, to bring two rows together
SPACE = re.compile(r"\s+")


def plain(text: str) -> str:
    """A text as it is compared: without case, and with single spaces."""
    return SPACE.sub(" ", text).strip().casefold()


def bag_of_tokens(ids: np.ndarray, offsets: np.ndarray, vocabulary: int) -> csr_array:
    """The set of tokens of each row, as a sparse array of ones, shape (n_rows, vocabulary)."""
    from scipy.sparse import csr_array

    ones = np.ones(len(ids), dtype=np.float32)
    bags = csr_array((ones, np.asarray(ids, dtype=np.int64), offsets), shape=(len(offsets) - 1, vocabulary))
    bags.sum_duplicates()
    bags.data[:] = 1
    return bags


def jaccard(one: csr_array, other: csr_array) -> np.ndarray:
    """Jaccard similarity of the token sets of rows, pair by pair; 1 of two empty ones."""
    shared = np.asarray(one.multiply(other).sum(axis=1)).ravel()
    both = np.asarray(one.sum(axis=1)).ravel() + np.asarray(other.sum(axis=1)).ravel() - shared
    return np.where(both > 0, shared / np.maximum(both, 1), 1.0)


def exact_copies(texts: Sequence[str], labels: np.ndarray | None) -> Finding:
    """Rows whose text, case and spaces aside, another row has too."""
    numbers: dict[str, int] = {}  # an array of texts would take the longest one's memory for each
    group = np.array([numbers.setdefault(plain(text), len(numbers)) for text in texts], dtype=np.int64)
    sizes = np.bincount(group)
    rows = np.flatnonzero(sizes[group] > 1)
    details = _described(np.where(sizes[group] > 1, group, -1), labels)
    return Finding.counted("exact_copy", (sizes[group] - 1.0).clip(0, 1), rows, **details)


def near_copies(others: np.ndarray, cosines: np.ndarray, bags: csr_array, labels: np.ndarray | None) -> Finding:
    """Rows that are nearly the same as another: by their sets of tokens, or by embeddings; exact copies too.

    Two rows are near copies from a token Jaccard of 0.8 on, or from a cosine of 0.95 and a Jaccard of 0.6. A row is
    compared with its ten nearest neighbours. The score is 0.5 where a row reaches the nearer of these bounds.

    Args:
        others: row ids of the nearest neighbours by embedding, nearest first, -1 for none, shape (n_rows, k); see
            `selectune.selectors.copies.near_neighbours`.
        cosines: of their embeddings, shape (n_rows, k).
        bags: sets of tokens, see `bag_of_tokens`.
        labels: class numbers, if there are classes.
    """
    n = len(others)
    others, cosines = others[:, :NEIGHBOURS], cosines[:, :NEIGHBOURS]
    one, place = np.nonzero(others >= 0)
    two = others[one, place]
    alike = np.empty(len(one))
    for start in range(0, len(one), PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        alike[part] = jaccard(bags[one[part]], bags[two[part]])
    by_cosine = (cosines[one, place] - FAR) / (COSINE - FAR)
    by_cosine = np.where(alike >= LEAST_JACCARD, by_cosine, np.minimum(by_cosine, NEARLY))
    nearness = np.maximum(alike / JACCARD, by_cosine)
    scores = np.zeros(n)
    np.maximum.at(scores, one, nearness)
    near = nearness >= 1 - 1e-6
    np.maximum.at(scores, two[near], nearness[near])
    groups = groups_of(np.stack([one[near], two[near]], axis=1), n)
    scores = 1 / (1 + np.exp(STEEPNESS * (1 - scores)))
    return Finding.counted("near_copy", scores, np.flatnonzero(groups >= 0), **_described(groups, labels))


def leakage(
    texts: Sequence[str], bags: csr_array, held_out: Sequence[str], held_out_bags: csr_array, split: str
) -> Finding:
    """Rows of the pool that are copies of held-out rows, exact (case and spaces aside) or near by their tokens.

    Two rows are compared where they share a token that few rows have. The score is 1 of exact copies alone.
    """
    n = len(texts)
    exact_of: dict[str, list[int]] = defaultdict(list)
    for row, text in enumerate(held_out):
        exact_of[plain(text)].append(row)
    exact = np.array([plain(text) in exact_of for text in texts])
    scores = exact.astype(np.float64)
    known = np.asarray(bags.sum(axis=0)).ravel(), np.asarray(held_out_bags.sum(axis=0)).ravel()
    rare = np.flatnonzero((known[0] > 0) & (known[0] <= RARE) & (known[1] > 0) & (known[1] <= RARE))
    shared = (bags[:, rare] @ held_out_bags[:, rare].T).tocoo()
    for start in range(0, shared.nnz, PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        rows, theirs = shared.coords[0][part], shared.coords[1][part]
        np.maximum.at(scores, rows, np.minimum(jaccard(bags[rows], held_out_bags[theirs]), NEARLY))
    rows = np.flatnonzero(exact | (scores >= JACCARD))
    used = {row for i in np.flatnonzero(exact).tolist() for row in exact_of[plain(texts[i])]}
    return Finding.counted(
        "leakage", scores, rows, exact=int(exact.sum()), held_out_rows=len(held_out),
        held_out_exact=len(used), split=split, examined=n,
    )  # fmt: skip


def _described(groups: np.ndarray, labels: np.ndarray | None) -> dict[str, Any]:
    """Groups of copies in numbers: how many, how many rows could go, and how many groups mix labels."""
    members = groups[groups >= 0]
    numbers, sizes = np.unique(members, return_counts=True)
    described: dict[str, Any] = {"groups": len(numbers), "surplus": int(len(members) - len(numbers))}
    described["largest_group"] = int(sizes.max()) if len(sizes) else 0
    if labels is not None and len(members):
        of = labels[groups >= 0]
        lowest, highest = np.full(numbers.max() + 1, np.iinfo(np.int64).max), np.full(numbers.max() + 1, -1)
        np.minimum.at(lowest, members, of)
        np.maximum.at(highest, members, of)
        described["mixed_labels"] = int((lowest[numbers] != highest[numbers]).sum())
    return described
