"""Time of a training step with dropout drawn by `CpuDropout` and as PyTorch does it, and of a dropout alone.

    python benchmarks/dropout.py --csv results/dropout.csv            # a minute on two cores
    python benchmarks/dropout.py --csv results/dropout.csv --check    # exits with 1 where ours takes longer

A model with the shapes of the 22M MiniLM and random weights, in float32 and in bfloat16 autocast, on 32 rows of 26
tokens without an optimizer; `dropout_ms` is that of 32 x 26 x 384 float32 values. Both ways in one process, in turns,
the first of a pair in every other one. Numbers are medians; ratios are of PyTorch's time to ours within a pair, with
their quartiles.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
from _table import Row, finish, parser

ROWS, LENGTH = 32, 26
WAYS = ("ours", "pytorch")


def main() -> None:
    made = parser(__doc__ or "")
    made.add_argument("--pairs", type=int, default=60)
    options = made.parse_args()
    rows, missed = [], []
    for case, metric, work in works():
        for _ in range(3):
            work()
        found = paired(work, options.pairs)
        rows += [Row(case, way, metric, float(np.median(found[way]))) for way in WAYS]
        quartiles = np.quantile(found["pytorch"] / found["ours"], [0.25, 0.5, 0.75])
        labels = (f"{metric}_ratio_{label}" for label in ("low", "median", "high"))
        rows += [Row(case, "pytorch", *one) for one in zip(labels, map(float, quartiles))]
        if quartiles[1] < 1:
            missed.append(f"{case}: {metric} of PyTorch is {quartiles[1]:.2f} of ours")
    finish(rows, missed, options)


def works() -> list[tuple[str, str, Callable[[], Any]]]:
    """Case, metric and work."""
    import torch
    import torch.nn.functional as F
    from transformers import BertConfig, BertForSequenceClassification

    from selectune.common.memory import keep_freed_memory

    keep_freed_memory()  # as a training on a CPU has it
    torch.manual_seed(0)
    sizes = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
    network = BertForSequenceClassification(BertConfig(**sizes)).train()
    ids = torch.randint(0, 30_000, (ROWS, LENGTH))
    real = (torch.arange(LENGTH) < torch.randint(LENGTH - 4, LENGTH + 1, (ROWS, 1))).long()
    values = torch.randn(ROWS, LENGTH, 384, requires_grad=True)

    def step(bf16: bool) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = network(input_ids=ids, attention_mask=real, labels=torch.zeros(ROWS, dtype=torch.long)).loss
        loss.backward()
        network.zero_grad()

    return [
        ("fp32", "step_ms", lambda: step(False)),
        ("bf16", "step_ms", lambda: step(True)),
        ("alone", "dropout_ms", lambda: F.dropout(values, 0.1)),
    ]


def paired(work: Callable[[], Any], pairs: int) -> dict[str, np.ndarray]:
    """Milliseconds of the work in both ways, shape (pairs,)."""
    from selectune.lightning_modules.cpu_dropout import CpuDropout

    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for turn in range(pairs):
        for way in WAYS[:: 1 if turn % 2 == 0 else -1]:
            with CpuDropout() if way == "ours" else nullcontext():
                began = time.perf_counter()
                work()
                found[way].append(1e3 * (time.perf_counter() - began))
    return {way: np.array(taken) for way, taken in found.items()}


if __name__ == "__main__":
    main()
