"""A linear head on frozen embeddings, trained by minibatches for as many steps as are paid for."""

from __future__ import annotations

import numpy as np
import torch

BATCH = 16
LEARNING_RATE, WEIGHT_DECAY, WARMUP = 3e-3, 0.01, 0.06  # the last two as `FineTuner` has them


def guesses(
    known: np.ndarray, labels: np.ndarray, held_out: np.ndarray, n_classes: int, steps: int, seed: int
) -> np.ndarray:
    """Classes of held-out rows, int64, shape (n_held_out,), by a head that learned from known ones.

    Embeddings are standardised by those that the head learns from. Rows come in a new order each epoch; the learning
    rate rises for 6 % of the steps and then falls to 0, whatever their number.

    Args:
        known: embeddings, shape (n_rows, width).
        labels: class numbers, shape (n_rows,).
        held_out: embeddings, shape (n_held_out, width).
        n_classes: of the data set.
        steps: of 16 rows each.
        seed: of the first weights and of the orders.
    """
    mean, spread = known.mean(0), known.std(0)
    spread[spread == 0] = 1.0
    rows, others = (torch.from_numpy(((each - mean) / spread).astype(np.float32)) for each in (known, held_out))
    classes = torch.from_numpy(labels.astype(np.int64))
    torch.manual_seed(seed)
    head = torch.nn.Linear(rows.shape[1], n_classes)
    optimizer = torch.optim.AdamW(head.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    rise = round(WARMUP * steps)
    order = torch.zeros(0, dtype=torch.int64)
    for step in range(steps):
        if len(order) == 0:
            order = torch.randperm(len(rows))
        batch, order = order[:BATCH], order[BATCH:]
        rate = (step + 1) / (rise + 1) if step < rise else (steps - step) / max(1, steps - rise)
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * rate
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(head(rows[batch]), classes[batch]).backward()
        optimizer.step()
    with torch.no_grad():
        return head(others).argmax(1).numpy()
