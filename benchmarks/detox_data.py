"""Divide scored prompts and continuations into what a scorer learns from, what a selection aims at, and what is asked.

    python benchmarks/detox_data.py --data toxicity_prompts --output runs/detox-data
    python main.py fit --data TextClassification --data.dataset runs/detox-data/scorer --data.regression true \\
      --data.max_length 64 --model.checkpoint minilm-l6-mlm --output runs/toxicity-scorer
    python benchmarks/detox_data.py --data allenai/real-toxicity-prompts --no_scorer --most 10000 \\
      --output runs/detox-data-hub

By the hash of the prompt, so that no prompt is in two parts: `scorer` (half of them; its test split a fifth of these),
`clean_texts` and `toxic_texts` (a quarter; continuations scored at most 0.1 and at least 0.5), `toxic_prompts` (a
quarter; with `--no_scorer` the scorer's half too).

Rows are those of RealToxicityPrompts as the hub has them, whose prompts are `toxic` from a score of 0.5 on and else
`nontoxic`; or flat ones, with the columns `prompt`, `kind`, `continuation` and `continuation_toxicity`. Prompts and
continuations without a score are left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from _parts import place_of, write
from _table import parser

from selectune.data.sources import find_data

CLEAN, TOXIC = 0.1, 0.5


def part_of(prompt: str, scorer: bool = True) -> str:
    """The part that a prompt belongs to."""
    place = place_of(prompt)
    if place < 0.5 and scorer:
        return "scorer/test" if place < 0.1 else "scorer/train"
    return "texts" if 0.5 <= place < 0.75 else "toxic_prompts/test"


def flat(rows: Any) -> dict[str, list[Any]]:
    """Columns of flat rows, of either layout."""
    if isinstance(rows[0]["prompt"], str):
        return {name: list(rows[name]) for name in ("prompt", "kind", "continuation", "continuation_toxicity")}
    scored = [(row["prompt"], row["continuation"]) for row in rows if row["prompt"]["toxicity"] is not None]
    return {
        "prompt": [prompt["text"] for prompt, _ in scored],
        "kind": ["toxic" if prompt["toxicity"] >= TOXIC else "nontoxic" for prompt, _ in scored],
        "continuation": [continuation["text"] for _, continuation in scored],
        "continuation_toxicity": [continuation["toxicity"] for _, continuation in scored],
    }


def first_of_each(kinds: np.ndarray, which: np.ndarray, most: int) -> np.ndarray:
    """At most so many of `which`, bool, of each kind, the first ones."""
    kept = np.zeros(len(which), dtype=bool)
    for kind in np.unique(kinds[which]):
        kept[np.flatnonzero(which & (kinds == kind))[:most]] = True
    return kept


def main() -> None:
    made = parser(__doc__ or "")
    made.add_argument("--data", default="toxicity_prompts")
    made.add_argument("--output", type=Path, default=Path("runs/detox-data"))
    made.add_argument("--no_scorer", action="store_true", help="the scorer is a published one")
    made.add_argument("--most", type=int, default=10**9, help="prompts of each kind that are asked")
    options = made.parse_args()
    splits = find_data(options.data).splits
    rows = flat(splits["test" if "test" in splits else "train"])
    parts = np.array([part_of(prompt, not options.no_scorer) for prompt in rows["prompt"]])
    of_text = {"text": rows["continuation"], "label": rows["continuation_toxicity"]}
    known = np.array([score is not None for score in of_text["label"]])

    def some(which: np.ndarray, columns: dict[str, Any]) -> dict[str, list[Any]]:
        return {name: [values[i] for i in np.flatnonzero(which)] for name, values in columns.items()}

    for split in ("train", "test") if not options.no_scorer else ():
        write(some((parts == f"scorer/{split}") & known, of_text), options.output / "scorer" / f"{split}.parquet")
    scores = np.array([score if score is not None else np.nan for score in of_text["label"]], dtype=np.float64)
    for name, fits in (("clean_texts", scores <= CLEAN), ("toxic_texts", scores >= TOXIC)):
        write(some((parts == "texts") & fits, {"text": of_text["text"]}), options.output / name / "train.parquet")
    asked = first_of_each(np.array(rows["kind"]), parts == "toxic_prompts/test", options.most)
    prompts = {"prompt": rows["prompt"], "kind": rows["kind"]}
    write(some(asked, prompts), options.output / "toxic_prompts" / "test.parquet")
    for name, count in zip(*np.unique(parts, return_counts=True), strict=True):
        print(f"{name}: {count} prompts")


if __name__ == "__main__":
    main()
