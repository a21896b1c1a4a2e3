"""Time of a step and a pass where a process on a CPU keeps freed memory for the next one, against glibc as it comes.

    python benchmarks/kept_memory.py --csv results/kept_memory.csv  # seven rounds, some twenty minutes on two cores
    python benchmarks/kept_memory.py --rounds 3 --check             # exits with 1 where it takes longer

Two models with random weights, in float32 and bfloat16: one with the shapes of the 22M MiniLM, where `step_ms` is a
training step on 32 rows of 26 tokens and `forward_ms` a pass over 512 rows of 32; and a small causal language model
with a vocabulary of 49,152 tokens, where a step is on 16 rows of 96 to 128 tokens and a pass over 20 to 32 rows of 60
to 120. Medians within a process of its own, which is a model's. Ratios are medians over rounds of the ratio within a
round, with their quartiles; `peak_rss_mb` is the most that the process held, which is the price.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any

import numpy as np
from _table import Row, finish, parser

VARIANTS = ("kept", "returned")
CASES = {"fp32": "bert", "bf16": "bert", "fp32, language model": "llama", "bf16, language model": "llama"}
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
    for case in CASES:
        found: dict[str, list[dict[str, float]]] = {variant: [] for variant in VARIANTS}
        for turn in range(options.rounds):
            for variant in VARIANTS[:: 1 if turn % 2 == 0 else -1]:
                command = [sys.executable, __file__, "--child", variant, case]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
                found[variant].append(json.loads(done.stdout.splitlines()[-1]))
        for variant, runs in found.items():
            rows += [Row(case, variant, name, statistics.median(one[name] for one in runs)) for name in runs[0]]
        for name in WORK:
            pairs = zip(found["returned"], found["kept"], strict=True)
            quartiles = np.quantile([returned[name] / kept[name] for returned, kept in pairs], [0.25, 0.5, 0.75])
            labels = (f"{name}_ratio_{label}" for label in ("low", "median", "high"))
            rows += [Row(case, "returned", *one) for one in zip(labels, map(float, quartiles))]
            if quartiles[1] < 1:
                missed.append(f"{case}: {name} is {quartiles[1]:.2f} of what it is where memory is kept")
    finish(rows, missed, options)


def bert() -> tuple[Any, Iterator[Any], Iterator[Any]]:
    """A classifier, its batches to train on and those to read."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)
    network = BertForSequenceClassification(config)
    small, large = (torch.randint(5, 30_000, shape) for shape in ((32, 26), (512, 32)))
    return network, repeat(small), repeat(large)


def llama() -> tuple[Any, Iterator[Any], Iterator[Any]]:
    """A causal language model, and its batches."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=49_152, hidden_size=128, intermediate_size=384, num_hidden_layers=6, num_attention_heads=4,
        num_key_value_heads=4, tie_word_embeddings=True,
    )  # fmt: skip

    def batches(rows: list[int], lengths: list[int]) -> Iterator[Any]:
        draw = random.Random(0)
        while True:
            yield torch.randint(0, 49_152, (draw.choice(rows), draw.choice(lengths)))

    network = LlamaForCausalLM(config)
    return network, batches([16], [96, 104, 112, 120, 128]), batches([20, 25, 32], [60, 90, 120])


MODELS = {"bert": bert, "llama": llama}


def run(variant: str, case: str) -> dict[str, float]:
    """Medians of this process."""
    import torch

    from selectune.common.memory import keep_freed_memory
    from selectune.costs.meters import peak_rss

    if variant == "kept":
        keep_freed_memory()
    torch.manual_seed(0)
    network, to_train, to_read = MODELS[CASES[case]]()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5, fused=True)
    labels = torch.zeros(32, dtype=torch.long)

    def step() -> None:
        batch = next(to_train)
        network(input_ids=batch, labels=labels if CASES[case] == "bert" else batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    @torch.inference_mode()
    def forward() -> None:
        logits = network(input_ids=next(to_read)).logits
        if CASES[case] == "llama":
            logits.float().log_softmax(-1)

    numbers: dict[str, float] = {}
    works: dict[str, Callable[[], Any]] = {"step_ms": step, "forward_ms": forward}
    for name, times in WORK.items():
        network.train(name == "step_ms")
        taken = []
        with torch.autocast("cpu", torch.bfloat16, enabled=case.startswith("bf16")):
            for _ in range(times + 2):
                began = time.perf_counter()
                works[name]()
                taken.append(1e3 * (time.perf_counter() - began))
        numbers[name] = statistics.median(taken[2:])  # the first ones warm up
    return numbers | {"peak_rss_mb": peak_rss() / 2**20}


if __name__ == "__main__":
    main()
