"""Divide scored prompts and continuations into what a scorer learns from, what a selection aims at, and what is asked.

    python benchmarks/detox_data.py --data toxicity_prompts --output runs/detox-data
    python main.py fit --data TextClassification --data.dataset runs/detox-data/scorer --data.regression true \\
      --data.max_length 64 --model.checkpoint minilm-l6-mlm --output runs/toxicity-scorer

By the hash of the prompt, so that no prompt is in two parts: `scorer` (half of them; its test split a fifth of these),
`clean_texts` and `toxic_texts` (a quarter; continuations scored at most 0.1 and at least 0.5), `toxic_prompts` (a
quarter).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from _parts import place_of, write
from _table import parser

from selectune.data.sources import find_data

CLEAN, TOXIC = 0.1, 0.5


def part_of(prompt: str) -> str:
    """The part that a prompt belongs to."""
    place = place_of(prompt)
    if place < 0.5:
        return "scorer/test" if place < 0.1 else "scorer/train"
    return "texts" if place < 0.75 else "toxic_prompts/test"


def main() -> None:
    made = parser(__doc__ or "")
    made.add_argument("--data", default="toxicity_prompts")
    made.add_argument("--output", type=Path, default=Path("runs/detox-data"))
    options = made.parse_args()
    rows = find_data(options.data).splits["test"]
    parts = np.array([part_of(prompt) for prompt in rows["prompt"]])
    of_text = {"text": rows["continuation"], "label": rows["continuation_toxicity"]}
    known = np.array([score is not None for score in of_text["label"]])

    def some(which: np.ndarray, columns: dict[str, Any]) -> dict[str, list[Any]]:
        return {name: [values[i] for i in np.flatnonzero(which)] for name, values in columns.items()}

    for split in ("train", "test"):
        write(some((parts == f"scorer/{split}") & known, of_text), options.output / "scorer" / f"{split}.parquet")
    scores = np.array([score if score is not None else np.nan for score in of_text["label"]], dtype=np.float64)
    for name, fits in (("clean_texts", scores <= CLEAN), ("toxic_texts", scores >= TOXIC)):
        write(some((parts == "texts") & fits, {"text": of_text["text"]}), options.output / name / "train.parquet")
    asked = {"prompt": rows["prompt"], "kind": rows["kind"]}
    write(some(parts == "toxic_prompts/test", asked), options.output / "toxic_prompts" / "test.parquet")
    for name, count in zip(*np.unique(parts, return_counts=True), strict=True):
        print(f"{name}: {count} prompts")


if __name__ == "__main__":
    main()
