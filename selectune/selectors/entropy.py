"""Entropies of texts: pure functions of token counts, of embeddings and of logits. All are in nats.

The paper (EUDS, Li et al. 2025) names an information, a generative and a semantic entropy; the definitions here are
this project's own choice, each with its source:

1. C. E. Shannon, "A Mathematical Theory of Communication", Bell System Technical Journal 27 (1948).
2. G. A. Miller, "Note on the bias of information estimates", Information Theory in Psychology (1955).
3. K. Rose, "Deterministic annealing for clustering, compression, classification, regression, and related optimization
   problems", Proceedings of the IEEE 86 (1998).
4. D. Arthur, S. Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.
5. M. Milakov, N. Gimelshein, "Online normalizer calculation for softmax", arXiv 1805.02867 (2018).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from selectune.errors import DataError

TOKENS_AT_ONCE = 2**22
ROWS_AT_ONCE = 2048
FIT_ROWS = 65_536
SEEDING_ROWS = 16_384
COINCIDE = 1e-12


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
    entropies, _, lengths = _token_entropies(token_ids, offsets)
    return _normalized(entropies, lengths, normalize)


def miller_madow(
    token_ids: np.ndarray, offsets: np.ndarray, normalize: Literal["none", "length"] = "none"
) -> np.ndarray:
    """`plugin_entropy` + (distinct - 1) / (2 L), which corrects the plugin's bias on short rows to first order [2].

    At most ln L + (L - 1) / (2 L): it may exceed ln L, and its share of ln L may exceed 1. Arguments, result and errors
    are those of `plugin_entropy`.
    """
    entropies, distinct, lengths = _token_entropies(token_ids, offsets)
    corrected = entropies + np.maximum(distinct - 1, 0) / (2 * np.maximum(lengths, 1))
    return _normalized(corrected, lengths, normalize)


@dataclass(frozen=True)
class PrototypeEntropy:
    """What `prototype_entropy` found.

    Args:
        entropies: nats in [0, ln k], float64, shape (n_rows,).
        k: prototypes in use.
        tau: temperature, a squared distance between unit vectors, in [0, 4].
        iterations: of k-means.
        flops: arithmetic spent; the formula stands in `prototype_entropy`.
    """

    entropies: np.ndarray
    k: int
    tau: float
    iterations: int
    flops: int


def prototype_entropy(
    embeddings: np.ndarray,
    seed: int,
    order_keys: np.ndarray | None = None,
    max_prototypes: int = 256,
    iterations: int = 20,
) -> PrototypeEntropy:
    """Semantic entropy: of each row's soft assignment to prototypes of the pool [3].

    p_k is proportional to exp(-d2_k / tau), with d2_k = |x / |x| - c_k|^2 and tau the median over the pool of d2 to the
    nearest prototype. The prototypes c are K = min(max_prototypes, round(sqrt n_rows)) centres: k-means++ [4], then a
    fixed number of Lloyd iterations. A cluster that loses all its rows keeps its centre; k is below K where there are
    fewer distinct rows. Distances below 1e-12 count as 0. If tau is 0 (over half of the rows coincide with a
    prototype), its limit is meant: all mass on the nearest prototype, shared evenly by those equally near (to 1e-12).

    Centres are seeded on the first 16,384 and fitted on the first 65,536 rows in the order of the keys. Beside the
    fitted rows, memory is a few blocks of 2,048 rows; arithmetic is float64.

    FLOPs = 2 d k (S + T F + 2 N) + d T F + 5 k N: a multiply and an add for each coordinate of each distance (S rows
    for seeding, T iterations over F rows, two passes over all N), an add for each coordinate that enters a mean, and
    the softmax.

    Args:
        embeddings: of any length but 0, floats of any precision, shape (n_rows, d); a memory map is read in blocks.
        seed: of the row order, when no keys are given, and of k-means++.
        order_keys: uint64, shape (n_rows,), such as ``Signals.tie_keys(seed)``: rows go in the order of (key, row id),
            so that permuting a pool of distinct texts permutes the result and changes no more than its last bits.
        max_prototypes: upper bound of K.
        iterations: of Lloyd's algorithm.

    Raises:
        DataError: no rows, or rows that are zero or not finite.
    """
    n_rows, width = embeddings.shape
    _check_embeddings(embeddings)
    rng = np.random.default_rng(seed % 2**64)
    order = rng.permutation(n_rows) if order_keys is None else np.argsort(order_keys, kind="stable")
    sample = np.asarray(embeddings[order[:FIT_ROWS]])
    seeding = sample[:SEEDING_ROWS]

    centres = _kmeans_plus_plus(_unit(seeding), min(max_prototypes, round(n_rows**0.5)), rng)
    for _ in range(iterations):
        centres = _lloyd(sample, centres)
    tau = float(np.median(np.concatenate([d2.min(axis=1) for _, d2 in _distances(embeddings, centres)])))
    entropies = np.concatenate([_assignment_entropy(d2, tau) for _, d2 in _distances(embeddings, centres)])

    k, fitted = len(centres), iterations * len(sample)
    flops = 2 * width * k * (len(seeding) + fitted + 2 * n_rows) + width * fitted + 5 * k * n_rows
    return PrototypeEntropy(entropies, k, tau, iterations, flops)


@torch.no_grad()
def entropy_from_hidden(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    block: int = 1024,
    vocab_block: int = 2048,
) -> torch.Tensor:
    """Entropy of softmax(hidden @ weight.T + bias) at each position, without ever holding the logits [1, 5].

    H = lse(z) - sum_v p_v z_v is summed in float32 over blocks of positions and of the vocabulary. Logits of -inf
    contribute 0; a position whose logits are all -inf, or contain NaN or +inf, gives NaN.

    Args:
        hidden: input of the head's last, linear layer, shape (n, d).
        weight: of that layer, shape (V, d).
        bias: of that layer, shape (V,).
        block: positions at once.
        vocab_block: vocabulary entries at once; working memory is about 8 * block * vocab_block bytes, so 16 MiB. A
            GPU wants larger blocks.

    Returns:
        Nats in [0, ln V], float32, shape (n,).
    """
    # Speed, the bare product in blocks of 256 positions being 1 (V 30,522, d 384, float32, two cores, medians of
    # several runs). Whole logits: log_softmax 0.74; shifted in place, then sum p z by mul 0.67, mul_ 0.79, einsum 0.83,
    # bmm 0.85; in kept buffers 0.81 to 0.87. Blocks of the vocabulary, which stay in the cache: einsum 1.10, bmm 1.16,
    # mul_ 1.15 to 1.33, so that the entropy costs less than writing the logits down. All lose where cores are shared.
    weights = weight.split(vocab_block)
    biases: Iterable[torch.Tensor | None] = [None] * len(weights) if bias is None else bias.split(vocab_block)
    layers = list(zip(weights, biases, strict=True))
    return torch.cat([_streamed_entropy(F.linear(h, w, b) for w, b in layers) for h in hidden.split(block)])


@torch.no_grad()
def entropy_from_head(
    hidden: torch.Tensor, head: Callable[[torch.Tensor], torch.Tensor], block: int = 256, vocab_block: int = 4096
) -> torch.Tensor:
    """`entropy_from_hidden` for any head, hidden (m, d) -> logits (m, V); only ``block`` positions of them are held."""
    return torch.cat([_streamed_entropy(head(h).split(vocab_block, dim=-1)) for h in hidden.split(block)])


def _streamed_entropy(chunks: Iterable[torch.Tensor]) -> torch.Tensor:
    """ln S - T / S, with m the highest logit so far, S = sum exp(z - m) and T = sum (z - m) exp(z - m), float32."""
    highest = total = moment = torch.zeros(())
    for i, chunk in enumerate(chunks):
        logits = chunk.float()
        if i == 0:
            total = moment = torch.zeros(len(logits), device=logits.device)
            highest = torch.full_like(total, torch.finfo(torch.float32).min)
        top = torch.maximum(highest, logits.amax(dim=-1))
        shifted = (logits - top[:, None]).clamp_(min=-1e4)  # exp(-1e4) is 0, and 0 * -1e4 is not NaN as 0 * -inf is
        del chunk, logits  # their memory, still in the cache, is where the exponentials go
        exponentials = shifted.exp()
        drop = highest - top
        scale = drop.exp()
        moment = scale * (moment + drop * total) + shifted.mul_(exponentials).sum(dim=-1)
        total = scale * total + exponentials.sum(dim=-1)
        highest = top
    return total.log() - moment / total


def _token_entropies(token_ids: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Plugin entropy, distinct tokens and length of each row, in chunks of about `TOKENS_AT_ONCE` tokens."""
    offsets = np.asarray(offsets, dtype=np.int64)
    lengths = np.diff(offsets)
    if offsets[0] < 0 or offsets[-1] > len(token_ids) or (lengths < 0).any():
        raise ValueError(f"offsets must ascend inside [0, {len(token_ids)}]")
    entropies, distinct = np.zeros(len(lengths)), np.zeros(len(lengths), dtype=np.int64)
    start = 0
    while start < len(lengths):
        within = np.searchsorted(offsets, offsets[start] + TOKENS_AT_ONCE, side="right") - 1
        stop = max(start + 1, int(within))
        ids = np.asarray(token_ids[offsets[start] : offsets[stop]], dtype=np.int64)
        entropies[start:stop], distinct[start:stop] = _count_entropies(ids, lengths[start:stop])
        start = stop
    return entropies, distinct, lengths


def _count_entropies(ids: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """H = ln L - (1 / L) sum_v c_v ln c_v of each row and its distinct tokens, from one sort of (row, token) pairs."""
    if len(ids) and not 0 <= ids.min() <= ids.max() < 2**31:
        raise ValueError(f"token ids must lie in [0, 2^31), not in [{ids.min()}, {ids.max()}]")
    pairs = np.sort(np.repeat(np.arange(len(lengths)), lengths) << 31 | ids)
    first = np.flatnonzero(np.diff(pairs, prepend=-1))  # where a run of equal pairs begins
    counts = np.diff(first, append=len(pairs))
    rows = pairs[first] >> 31
    distinct = np.bincount(rows, minlength=len(lengths))
    spread = np.bincount(rows, weights=counts * np.log(counts), minlength=len(lengths))
    size = np.maximum(lengths, 1)
    return np.clip(np.log(size) - spread / size, 0.0, np.log(np.maximum(distinct, 1))), distinct


def _normalized(entropies: np.ndarray, lengths: np.ndarray, normalize: str) -> np.ndarray:
    """Entropies as they are, or over ln L with 0 where L <= 1."""
    if normalize == "none":
        return entropies
    if normalize != "length":
        raise ValueError(f"normalize is {normalize!r}, but must be 'none' or 'length'")
    return np.where(lengths > 1, entropies / np.log(np.maximum(lengths, 2)), 0.0)


def _unit(rows: np.ndarray) -> np.ndarray:
    """Rows as float64 of length 1."""
    values = np.array(rows, dtype=np.float64)
    values /= np.sqrt(np.einsum("ij,ij->i", values, values))[:, None]
    return values


def _distances(rows: np.ndarray, centres: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Unit rows (b, d) and their squared distances to the centres (b, k), block by block."""
    for start in range(0, len(rows), ROWS_AT_ONCE):
        unit = _unit(rows[start : start + ROWS_AT_ONCE])
        yield unit, _squared_distances(unit, centres)


def _squared_distances(unit: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """|x - c|^2 = 1 + |c|^2 - 2 x.c for unit x; what is below 1e-12 is noise of the subtraction, and 0."""
    d2 = unit @ (-2.0 * centres.T)
    d2 += 1.0 + np.einsum("ij,ij->i", centres, centres)
    d2[d2 < COINCIDE] = 0.0
    return d2


def _kmeans_plus_plus(unit: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Up to k distinct rows, each drawn with probability proportional to its squared distance to those before [4]."""
    chosen = [int(rng.random() * len(unit))]
    nearest = np.full(len(unit), np.inf)
    while len(chosen) < k:
        nearest = np.minimum(nearest, _squared_distances(unit, unit[chosen[-1:]])[:, 0])
        mass = np.cumsum(nearest)
        if mass[-1] == 0:
            break
        chosen.append(int(np.searchsorted(mass, rng.random() * mass[-1], side="right")))
    return unit[chosen]


def _lloyd(rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Each centre moved to the mean of the unit rows nearest to it (the first of equally near centres)."""
    sums, counts = np.zeros_like(centres), np.zeros(len(centres), dtype=np.int64)
    for unit, d2 in _distances(rows, centres):
        labels = d2.argmin(axis=1)
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


def _check_embeddings(embeddings: np.ndarray) -> None:
    """Refuse an empty pool, and rows that have no direction."""
    if len(embeddings) == 0:
        raise DataError("There are no embeddings: the pool has no rows.")
    squares = [
        np.einsum("ij,ij->i", block, block)
        for start in range(0, len(embeddings), ROWS_AT_ONCE)
        for block in [np.asarray(embeddings[start : start + ROWS_AT_ONCE], dtype=np.float64)]
    ]
    norms = np.concatenate(squares)
    bad = np.flatnonzero(~(np.isfinite(norms) & (norms > 0)))
    if len(bad):
        named = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
        raise DataError(
            f"{len(bad)} of {len(norms)} embeddings are zero or not finite (rows {named}); "
            "score these rows again, or leave them out of the pool."
        )
