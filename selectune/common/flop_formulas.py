"""Floating-point operations by formula: of what is no matrix product in a model, and of transport.

An addition, a product, a division, a root, an exponential or a logarithm is one operation; comparisons are none.
"""

from __future__ import annotations


def adamw_flops(n_parameters: int) -> int:
    """FLOPs of one step of AdamW, 14 a parameter (Loshchilov & Hutter 2019, algorithm 2).

    Decay ``p *= 1 - lr w``: 1. ``m = b1 m + (1 - b1) g``: 3. ``v = b2 v + (1 - b2) g^2``: 4.
    Denominator ``sqrt(v) / sqrt(1 - b2^t) + eps``: 3. ``p -= lr / (1 - b1^t) m / denominator``: 3.
    A root or a division is one operation, as are all below; what is computed once a step is left out.
    """
    return 14 * n_parameters


def softmax_flops(n_rows: int, width: int) -> int:
    """FLOPs of a softmax of `n_rows` vectors: subtract the largest, exponentiate, add up, divide; no comparisons."""
    return n_rows * (4 * width - 1)


def logsumexp_flops(n_rows: int, width: int) -> int:
    """FLOPs of a log-sum-exp of `n_rows` vectors: subtract the largest, exponentiate, add up; one log, one addition."""
    return n_rows * (3 * width + 1)


def entropy_flops(n_rows: int, width: int) -> int:
    """FLOPs of the entropies of `n_rows` softmax vectors, straight from logits: log-sum-exp(z) - sum(p z).

    To the log-sum-exp a product and a sum for each entry, a division and a subtraction.
    """
    return logsumexp_flops(n_rows, width) + n_rows * (2 * width + 1)


def transport_flops(n_rows: int, n_targets: int, width: int, reads: int, kernel_passes: int, spread: bool) -> int:
    """FLOPs of a transport solve between `n_rows` of pool and `n_targets` of target (`selectune.selectors.transport`).

    A pass over the embeddings makes the cost, 2 d a cell, and a softmax of each row, and adds up the columns, 2 a cell.
    A pass over a kernel is two mat-vecs, 2 a cell each. The spread of the cost takes second moments, 2 d^2 a row.

    Args:
        n_rows: of the pool, over all ranks.
        n_targets: of the target.
        width: of the embeddings, d.
        reads: passes over the embeddings.
        kernel_passes: passes over a cached kernel.
        spread: whether eps is relative to the cost's standard deviation.
    """
    cells = n_rows * n_targets
    read = 2 * width * cells + softmax_flops(n_rows, n_targets) + 2 * cells
    moments = 2 * width**2 * (n_rows + n_targets) if spread else 0
    return reads * read + kernel_passes * 4 * cells + moments
