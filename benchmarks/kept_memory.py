"""Time of a step and a pass where a process on a CPU keeps freed memory for the next one, against glibc as it comes.

    python benchmarks/kept_memory.py --csv results/kept_memory.csv  # seven rounds, some eight minutes on two cores
    python benchmarks/kept_memory.py --rounds 3 --check             # exits with 1 where it takes longer

A model with the shapes of the 22M MiniLM and random weights, float32 and bfloat16: `step_ms` is a training step on 32
rows of 26 tokens, `forward_ms` a pass over 512 rows of 32, medians within a process of its own. Ratios are medians over
rounds of the ratio within a round, with their quartiles; `peak_rss_mb` is the most that the process held.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from _table import Row, finish, parser

VARIANTS = ("kept", "returned")
PRECISIONS = {"fp32": False, "bf16": True}
WORK = {"step_ms": 15, "forward_ms": 5}  # and how often


def main() -> None:
    made = parser(__doc__ or "")
    made.add_argument("--rounds", type=int, default=7)
    made.add_argument("--child", nargs=2, help="used by the script itself")
    options = made.parse_args()
    if options.child:
        print(json.dumps(run(*options.child)))
        return
    rows, missed = [], []
    for precision in PRECISIONS:
        found: dict[str, list[dict[str, float]]] = {variant: [] for variant in VARIANTS}
        for turn in range(options.rounds):
            for variant in VARIANTS[:: 1 if turn % 2 == 0 else -1]:
                command = [sys.executable, __file__, "--child", variant, precision]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
                found[variant].append(json.loads(done.stdout.splitlines()[-1]))
        for variant, runs in found.items():
            rows += [Row(precision, variant, name, statistics.median(one[name] for one in runs)) for name in runs[0]]
        for name in WORK:
            pairs = zip(found["returned"], found["kept"], strict=True)
            quartiles = np.quantile([returned[name] / kept[name] for returned, kept in pairs], [0.25, 0.5, 0.75])
            labels = (f"{name}_ratio_{label}" for label in ("low", "median", "high"))
            rows += [Row(precision, "returned", *one) for one in zip(labels, map(float, quartiles))]
            if quartiles[1] < 1:
                missed.append(f"{precision}: {name} is {quartiles[1]:.2f} of what it is where memory is kept")
    finish(rows, missed, options)


def run(variant: str, precision: str) -> dict[str, float]:
    """Medians of this process."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    from selectune.common.memory import keep_freed_memory
    from selectune.costs.meters import peak_rss

    if variant == "kept":
        keep_freed_memory()
    torch.manual_seed(0)
    config = BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)
    network = BertForSequenceClassification(config)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5, fused=True)
    batch, labels = torch.randint(5, 30_000, (32, 26)), torch.zeros(32, dtype=torch.long)
    large = torch.randint(5, 30_000, (512, 32))

    def step() -> None:
        network(input_ids=batch, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    @torch.inference_mode()
    def forward() -> None:
        network(input_ids=large)

    numbers: dict[str, float] = {}
    works: dict[str, Callable[[], Any]] = {"step_ms": step, "forward_ms": forward}
    for name, times in WORK.items():
        network.train(name == "step_ms")
        taken = []
        with torch.autocast("cpu", torch.bfloat16, enabled=PRECISIONS[precision]):
            for _ in range(times + 2):
                began = time.perf_counter()
                works[name]()
                taken.append(1e3 * (time.perf_counter() - began))
        numbers[name] = statistics.median(taken[2:])  # the first ones warm up
    return numbers | {"peak_rss_mb": peak_rss() / 2**20}


if __name__ == "__main__":
    main()
