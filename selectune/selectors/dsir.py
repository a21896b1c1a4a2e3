"""Importance resampling by hashed n-grams, a selection by text alone.

1. S. M. Xie, S. Santurkar, T. Ma, P. Liang, "Data selection for language models via importance resampling", NeurIPS
   2023.
2. W. Kool, H. van Hoof, M. Welling, "Stochastic beams and where to find them", ICML 2019: Gumbel top-k.
"""

from __future__ import annotations

import numpy as np

from selectune.selectors.base import Budget, Picked, Signals, check_budget, lowest, uniforms
from selectune.selectors.blocks import blocks
from selectune.selectors.target import Comparing, even_weights

NO_NGRAM = np.iinfo(np.uint16).max
SMOOTHING = 1e-8  # added to every probability [1]
ROWS_AT_ONCE = 8192
GUMBEL_STEP = 1  # of `uniforms`, so that the noise is not the order among ties
HASH = np.uint64(0x9E3779B97F4A7C15)


class DSIR(Comparing):
    """Keep rows at random, the likelier the more they look like the target (DSIR, Xie et al. 2023 [1]).

    Each text is a bag of hashed n-grams (unigrams and bigrams of tokens, 10,000 bins). With p the share of each bin
    among all n-grams of the target, and q of the pool, a row's log weight is the sum over its n-grams of ln(p + 1e-8) -
    ln(q + 1e-8). Rows are drawn without replacement in proportion to their weights, by Gumbel top-k [2]: the budget is
    filled with the largest log weight - ln(-ln u), u = hash(seed, text) in (0, 1).

    Differs from [1]: tokens of the scoring tokenizer stand for words. Of several targets each counts alike.
    """

    requires = requires_target = frozenset({"ngrams"})

    def select(self, pool: Signals, target: Signals | None, budget: Budget, seed: int) -> Picked:
        """Keep the first rows; ``scores`` are the log weights."""
        check_budget(budget, pool["n_tokens"], "DSIR")
        target = self.target_of(pool, target)
        q, p = ngram_shares(pool["ngrams"]), ngram_shares(target["ngrams"], even_weights(target))
        gains = np.append(np.log(p + SMOOTHING) - np.log(q + SMOOTHING), 0.0)  # the last for no n-gram
        scores = np.empty(pool.n_rows)
        for block in blocks(pool.n_rows, ROWS_AT_ONCE):
            scores[block] = gains[np.minimum(pool["ngrams"][block], len(q))].sum(axis=1)
        # A draw of 0 would be an infinite Gumbel; half the smallest other draw stands for it.
        draws = np.maximum(uniforms(seed, pool["text_hash"], 1, GUMBEL_STEP), 2.0**-54)
        rows = lowest(np.log(-np.log(draws)) - scores, pool, budget, seed)
        diagnostics = {"mean_log_weight_pool": float(scores.mean()), "mean_log_weight_kept": float(scores[rows].mean())}
        flops = float(pool["ngrams"].shape[1] * pool.n_rows)
        return Picked(rows, scores, diagnostics, flops, "DSIR: an addition for each n-gram (analytic)")


def hashed_ngrams(ids: np.ndarray, offsets: np.ndarray, n_bins: int, max_length: int) -> np.ndarray:
    """Bins of the unigrams and bigrams of texts.

    Args:
        ids: tokens of all rows one after another, integers >= 0, shape (n_tokens,).
        offsets: row i is ``ids[offsets[i]:offsets[i + 1]]``, ascending, shape (n_rows + 1,).
        n_bins: at most 65,535.
        max_length: tokens of the longest row.

    Returns:
        uint16, shape (n_rows, 2 * max_length): unigrams first, then bigrams, in their order; 65,535 where there is
        none.
    """
    n_rows, lengths = len(offsets) - 1, np.diff(offsets)
    row_of = np.repeat(np.arange(n_rows), lengths)
    place = np.arange(len(row_of)) - np.repeat(offsets[:-1] - offsets[0], lengths)
    tokens = np.asarray(ids[offsets[0] : offsets[-1]]).astype(np.uint64) + np.uint64(1)  # 0 would hash to 0
    bins = np.full((n_rows, 2 * max_length), NO_NGRAM, dtype=np.uint16)
    bins[row_of, place] = _bin(tokens * HASH, n_bins)
    pairs = np.flatnonzero(row_of[:-1] == row_of[1:])  # the second token of a bigram is in the same row
    # The first token alone is multiplied, so that a bigram and its reverse differ.
    codes = (tokens[pairs] * HASH ^ (tokens[pairs + 1] + np.uint64(2**32))) * HASH
    bins[row_of[pairs], max_length + place[pairs]] = _bin(codes, n_bins)
    return bins


def ngram_shares(bins: np.ndarray, weights: np.ndarray | None = None, n_bins: int = 10_000) -> np.ndarray:
    """The share of each bin among all n-grams of some rows, float64, shape (n_bins,).

    Args:
        bins: of `hashed_ngrams`.
        weights: of each n-gram of a row, shape (n_rows,); default all alike.
        n_bins: number of bins.
    """
    counts = np.zeros(NO_NGRAM + 1)
    for block in blocks(len(bins), ROWS_AT_ONCE):
        each = None if weights is None else np.repeat(weights[block], bins.shape[1])
        counts += np.bincount(np.ravel(bins[block]), each, minlength=NO_NGRAM + 1)
    return counts[:n_bins] / (counts[:n_bins].sum() or 1.0)


def _bin(codes: np.ndarray, n_bins: int) -> np.ndarray:
    """The upper bits of a multiplicative hash, as the lower ones of a product depend on few bits of its factors."""
    return ((codes ^ (codes >> np.uint64(29))) * HASH >> np.uint64(32)) % np.uint64(n_bins)
