"""Entropies of texts, in nats: pure functions of token counts and of sampled continuations.

Those of a vocabulary are in `selectune.lightning_modules.scorers.vocabulary`, those of a classifier's prediction in
`selectune.lightning_modules.scorers.head`, those of prototypes in `selectune.selectors.clustering`.
The paper (EUDS, Li et al. 2025) names an information, a generative and a semantic entropy; the definitions here are
this project's own choice, each with its source:

1. C. E. Shannon, "A Mathematical Theory of Communication", Bell System Technical Journal 27 (1948).
2. G. A. Miller, "Note on the bias of information estimates", Information Theory in Psychology (1955).
3. L. Kuhn, Y. Gal, S. Farquhar, "Semantic uncertainty: linguistic invariances for uncertainty estimation in natural
   language generation", ICLR 2023.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from selectune.common.errors import DataError
from selectune.selectors.ordering import rounded

TOKENS_AT_ONCE = 2**16  # more would leave the cache, and sort more slowly


def plugin_entropy(
    token_ids: np.ndarray, offsets: np.ndarray, normalize: Literal["none", "length"] = "none"
) -> np.ndarray:
    """Information entropy of each row's token counts [1]: H = - sum_v p_v ln p_v with p_v = count of v / L.

    0 <= H <= ln(distinct tokens) <= ln L, so without normalising it mostly measures length. An empty row has 0.

    Args:
        token_ids: tokens of all rows one after another, without special ones; integers in [0, 2^31), shape (n_tokens,).
        offsets: row i is ``token_ids[offsets[i]:offsets[i + 1]]``; ascending integers, shape (n_rows + 1,).
        normalize: ``length`` gives H / ln L, a share in [0, 1], and 0 where L <= 1.

    Returns:
        Nats (or shares), float64, shape (n_rows,).

    Raises:
        ValueError: offsets that are not ascending inside the tokens, or a token outside [0, 2^31).
    """
    return _token_entropy(token_ids, offsets, normalize, correct_bias=False)


def miller_madow(
    token_ids: np.ndarray, offsets: np.ndarray, normalize: Literal["none", "length"] = "none"
) -> np.ndarray:
    """`plugin_entropy` + (distinct - 1) / (2 L), which corrects the plugin's bias on short rows to first order [2].

    At most ln L + (L - 1) / (2 L): it may exceed ln L, and its share of ln L may exceed 1. Arguments, result and errors
    are those of `plugin_entropy`.
    """
    return _token_entropy(token_ids, offsets, normalize, correct_bias=True)


def meaning_entropy(log_probs: np.ndarray, groups: np.ndarray) -> float:
    """Semantic entropy of sampled continuations of one text [3]: H = - sum_g p_g ln p_g over groups of one meaning.

    p_g is proportional to the sum of exp(log_probs) over the group, and normalised over the groups. So 0 <= H <= ln of
    the number of groups.

    Args:
        log_probs: of each continuation, its length-normalised log probability (the mean over its tokens); -inf is a
            probability of 0. Shape (m,).
        groups: of each continuation, any integer that names its group, shape (m,); see `group_by_meaning`.

    Returns:
        Nats.

    Raises:
        DataError: no continuations, or log probabilities that are NaN, +inf, or all -inf.
    """
    values = np.asarray(log_probs, dtype=np.float64)
    highest = values.max(initial=-np.inf)
    if not np.isfinite(highest):
        raise DataError(
            f"The {len(values)} log probabilities of continuations make no distribution (the highest is {highest}); "
            "sample at least one of probability over 0."
        )
    _, group_of = np.unique(groups, return_inverse=True)
    mass = np.bincount(group_of, weights=np.exp(values - highest))
    shares = mass[mass > 0] / mass.sum()
    return float(np.clip(-np.sum(shares * np.log(shares)), 0.0, np.log(len(shares))))


def group_by_meaning(embeddings: np.ndarray, threshold: float) -> np.ndarray:
    """Groups of continuations that mean the same: connected components of the graph of cosine >= threshold [3].

    Components do not depend on the order of the rows. Two rows of a group may lie below the threshold, where others
    between them connect them. Cosines are rounded to 9 decimals before they are compared.

    Args:
        embeddings: of the continuations, of any length but 0, shape (m, d).
        threshold: a cosine, in [-1, 1].

    Returns:
        The group of each row, integers from 0 in the order of the groups' first rows, shape (m,).

    Raises:
        DataError: rows that are zero or not finite.
    """
    from scipy.sparse.csgraph import connected_components

    from selectune.selectors.clustering import check_embeddings, unit_rows

    check_embeddings(embeddings)
    unit = unit_rows(embeddings)
    _, labels = connected_components(rounded(unit @ unit.T) >= threshold, directed=False)
    _, first, groups = np.unique(labels, return_index=True, return_inverse=True)
    return np.asarray(first.argsort().argsort()[groups])


def checked_offsets(token_ids: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Offsets of rows in a flat array, as int64; a ValueError if they do not ascend inside the tokens."""
    offsets = np.asarray(offsets, dtype=np.int64)
    if offsets[0] < 0 or offsets[-1] > len(token_ids) or (np.diff(offsets) < 0).any():
        raise ValueError(f"offsets must ascend inside [0, {len(token_ids)}]")
    return offsets


def row_blocks(sizes: np.ndarray, at_once: int) -> Iterator[tuple[int, int]]:
    """Blocks ``[start, stop)`` of neighbouring rows that together hold at most `at_once`, or of a single row."""
    filled, start = np.concatenate([[0], np.cumsum(sizes)]), 0
    while start < len(sizes):
        stop = max(start + 1, int(np.searchsorted(filled, filled[start] + at_once, side="right")) - 1)
        yield start, stop
        start = stop


def _token_entropy(token_ids: np.ndarray, offsets: np.ndarray, normalize: str, correct_bias: bool) -> np.ndarray:
    """H = ln L - (1 / L) sum_v c_v ln c_v of each row of L tokens, plus the Miller-Madow correction where wanted."""
    if normalize not in ("none", "length"):
        raise ValueError(f"normalize is {normalize!r}, but must be 'none' or 'length'")
    offsets = checked_offsets(token_ids, offsets)
    lengths = np.diff(offsets)
    entropies = np.zeros(len(lengths))
    for start, stop in row_blocks(lengths, TOKENS_AT_ONCE):
        ids = np.asarray(token_ids[offsets[start] : offsets[stop]], dtype=np.int64)
        if len(ids) and not 0 <= ids.min() <= ids.max() < 2**31:
            raise ValueError(f"token ids must lie in [0, 2^31), not in [{ids.min()}, {ids.max()}]")
        # One sort of (row, token) pairs, packed in 64 bits, counts the tokens of all rows of the block.
        n_rows, size = stop - start, np.maximum(lengths[start:stop], 1)
        pairs = np.sort(np.repeat(np.arange(n_rows), lengths[start:stop]) << 31 | ids)
        first = np.flatnonzero(np.diff(pairs, prepend=-1))  # where a run of equal pairs begins
        counts, rows = np.diff(first, append=len(pairs)), pairs[first] >> 31
        distinct = np.maximum(np.bincount(rows, minlength=n_rows), 1)  # an empty row has entropy ln 1 = 0
        spread = np.bincount(rows, weights=counts * np.log(counts), minlength=n_rows)
        entropies[start:stop] = np.clip(np.log(size) - spread / size, 0.0, np.log(distinct))  # rounding may exceed them
        if correct_bias:
            entropies[start:stop] += (distinct - 1) / (2 * size)
    if normalize == "none":
        return entropies
    return np.where(lengths > 1, entropies / np.log(np.maximum(lengths, 2)), 0.0)
