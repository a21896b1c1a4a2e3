"""Zero-shot scores beside a plain loop of lm-evaluation-harness' formula, on the same prompts.

    python benchmarks/zero_shot.py --model smollm2-135m --csv results/zero_shot.csv          # 20 minutes
    python benchmarks/zero_shot.py --model smollm2-135m --csv results/zero_shot.csv --check  # 1 where they differ

The model as it is, in float32, on AG News and BoolQ. The loop reads one prompt with one label at a time, as a row of
its own: the log probability of the label is the sum over its tokens. `apart` is the largest difference of a label's log
probability, in nats, and may be 1e-4; `seconds` are those of each way, of one run.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import torch
from _table import Row, parser, table, write

from selectune.data.sources import find_model
from selectune.data.tokens import load_tokenizer
from selectune.evaluations import ZeroShot
from selectune.evaluations.language_model import CausalModel
from selectune.lightning_modules.heads.base import load_network

MOST_APART = 1e-4


def tasks(rows: int) -> list[ZeroShot]:
    """The tasks, with so many rows of each."""
    news = ["World", "Sports", "Business", "Technology"]
    prompt = "{passage}\nQuestion: {question}?\nAnswer:"
    return [
        ZeroShot("ag_news", "{text}\nTopic:", news, split="test", max_rows=rows),
        ZeroShot("boolq", prompt, ["no", "yes"], "answer", "validation", max_rows=rows),
    ]


def plain_loop(model: CausalModel, task: ZeroShot) -> np.ndarray:
    """Log probabilities of all labels after all prompts, shape (n_rows, n_labels)."""
    made = np.zeros((len(task.prompts), len(task.labels)))
    for row, prompt in enumerate(task.prompts):
        before = model.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        for place, label in enumerate(task.labels):
            whole = model.tokenizer(f"{prompt} {label}", add_special_tokens=False)["input_ids"]
            after = whole[len(before) :]
            with torch.inference_mode():
                logits = model.network(input_ids=torch.tensor([whole[:-1][-model.room :]])).logits[0].log_softmax(-1)
            made[row, place] = float(logits[-len(after) :].gather(1, torch.tensor(after)[:, None]).sum())
    return made


def main() -> None:
    made = parser(__doc__ or "")
    made.add_argument("--model", default="HuggingFaceTB/SmolLM2-135M-Instruct")
    made.add_argument("--rows", type=int, default=300)
    options = made.parse_args()
    source = find_model(options.model)
    network, _ = load_network("AutoModelForCausalLM", source)
    model, rows = CausalModel(network.eval(), load_tokenizer(source.folder), source.described), []
    for task in tasks(options.rows):
        task.check(None)
        began = time.perf_counter()
        found = task.run(model)
        between = time.perf_counter()
        slow = plain_loop(model, task)
        seconds = {"batches": between - began, "plain loop": time.perf_counter() - between}
        sums = np.stack([found.rows[f"log_probability_{i}"] for i in range(len(task.labels))], axis=1)
        rows += [Row(task.name, "both", "apart", float(np.abs(sums - slow).max()))]
        rows += [Row(task.name, way, "seconds", value) for way, value in seconds.items()]
        rows += [Row(task.name, "batches", name, value) for name, value in found.metrics.items()]
        same = (slow.argmax(axis=1) == task.true).mean()
        rows += [Row(task.name, "plain loop", "accuracy", float(same)), Row(task.name, "both", "rows", len(slow))]
    if options.csv:
        write(rows, options.csv)
    print(table(rows))
    wrong = [row for row in rows if row.metric == "apart" and row.value > MOST_APART]
    for row in wrong:
        print(f"missed: {row.case} is {row.value:.2g} nats apart, over {MOST_APART}", file=sys.stderr)
    sys.exit(1 if wrong and options.check else 0)


if __name__ == "__main__":
    main()
