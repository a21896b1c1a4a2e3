"""Rehearse trainings with a linear head on the embeddings of a diagnosis: at the full size, for next to nothing.

The head is softmax regression trained by minibatches, so that epochs mean to it what they mean to the learner: AdamW
(Loshchilov & Hutter 2019) with a rate that falls to 0 linearly. It stands in for the learner where only a small part of
a training can be paid for: as the reference of a learning curve, and in comparing plans.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from selectune.pilot.judging import UnseenRows

RATE, DECAY, BATCH = 2e-3, 0.01, 8
BETAS, EPSILON = (0.9, 0.999), 1e-8
PASSES = 6.0  # FLOPs of a training step by weight and row: a product forward, two backward


@dataclass(frozen=True)
class Scaled:
    """Embeddings with each dimension scaled to mean 0 and spread 1 over the rows of the pool."""

    mean: np.ndarray
    spread: np.ndarray

    @classmethod
    def of(cls, embeddings: np.ndarray) -> Scaled:
        """The scale of a pool, shape (n_rows, width)."""
        known = np.asarray(embeddings, dtype=np.float64)
        spread = known.std(axis=0)
        spread[spread == 0] = 1.0
        return cls(known.mean(axis=0), spread)

    def __call__(self, embeddings: np.ndarray) -> np.ndarray:
        """Scaled embeddings, float32, of the same shape."""
        return ((np.asarray(embeddings, dtype=np.float64) - self.mean) / self.spread).astype(np.float32)


def train_head(
    features: np.ndarray, labels: np.ndarray, n_classes: int, passes: int, seed: int, batch_size: int = BATCH
) -> np.ndarray:
    """Weights of a head after some passes over rows, float32, shape (width + 1, n_classes), the bias last.

    Args:
        features: of the rows to train on, scaled, shape (n_rows, width).
        labels: numbers of classes, shape (n_rows,).
        n_classes: of the task.
        passes: rows that are seen in all; rows are shuffled anew once all were seen.
        seed: of the order.
        batch_size: of a step.
    """
    rng = np.random.default_rng(seed)
    n_rows, steps = len(labels), max(1, passes // batch_size)
    epochs = -(-steps * batch_size // n_rows)
    order = np.concatenate([rng.permutation(n_rows) for _ in range(epochs)])[: steps * batch_size]
    order = order.reshape(steps, batch_size)
    targets = np.eye(n_classes, dtype=np.float32)[labels]
    weights = np.zeros((features.shape[1] + 1, n_classes), dtype=np.float32)
    first, second, gradient = (np.zeros_like(weights) for _ in range(3))
    for step, rows in enumerate(order):
        batch = features[rows]
        slopes = (softmax(batch @ weights[:-1] + weights[-1]) - targets[rows]) / batch_size
        gradient[:-1], gradient[-1] = batch.T @ slopes, slopes.sum(axis=0)
        first += (1 - BETAS[0]) * (gradient - first)
        second += (1 - BETAS[1]) * (gradient**2 - second)
        mean, square = first / (1 - BETAS[0] ** (step + 1)), second / (1 - BETAS[1] ** (step + 1))
        weights -= RATE * (1 - step / steps) * (mean / (np.sqrt(square) + EPSILON) + DECAY * weights)
    return weights


def logits_of(features: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Logits of rows, float32, shape (n_rows, n_classes)."""
    return np.asarray(features @ weights[:-1] + weights[-1])


def losses_and_errors(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Loss of each row, nats, and whether it was classified wrongly, each of shape (n_rows,)."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]
    return losses, logits.argmax(axis=1) != labels


def errors_unseen(
    features: np.ndarray, labels: np.ndarray, n_classes: int, chosen: np.ndarray, passes: int, unseen: UnseenRows,
    seed: int,
) -> np.ndarray:  # fmt: skip
    """Whether rows of the pool are classified wrongly by heads that saw no row of their fold, shape (n_judged,).

    Args:
        features: of all rows, scaled, shape (n_rows, width).
        labels: of all rows.
        n_classes: of the task.
        chosen: row ids to train on; of each head, those of the other folds.
        passes: of a head on all of `chosen`; each sees its part of them.
        unseen: the rows to judge, with their folds.
        seed: of the order.
    """
    wrong, own = np.empty(len(unseen.rows), dtype=bool), unseen.folds[unseen.rows]
    for fold in np.unique(own):
        rows, judged = chosen[unseen.folds[chosen] != fold], unseen.rows[own == fold]
        weights = np.zeros((features.shape[1] + 1, n_classes), dtype=np.float32)
        if len(rows):
            weights = train_head(features[rows], labels[rows], n_classes, round(passes * len(rows) / len(chosen)), seed)
        wrong[own == fold] = losses_and_errors(logits_of(features[judged], weights), labels[judged])[1]
    return wrong


def flops_of(passes: int, held_out: int, width: int, n_classes: int) -> float:
    """FLOPs of a training and of reading the held-out rows."""
    return (PASSES * passes + 2.0 * held_out) * (width + 1) * n_classes


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of the classes, of the same shape."""
    values = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(values / values.sum(axis=1, keepdims=True))
