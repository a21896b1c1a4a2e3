"""Divide BoolQ into passages that a selection aims at and questions that are asked, which share no passage.

    python benchmarks/boolq_data.py --output runs/boolq-data

By the hash of the passage: half of the passages are in ``train``, the questions on the others in ``validation``. For
where only one split of BoolQ is at hand; its own splits share no passage either.
"""

from __future__ import annotations

from pathlib import Path

from _parts import place_of, write
from _table import parser

from selectune.data.sources import find_data

COLUMNS = ("question", "passage", "answer")


def main() -> None:
    made = parser(__doc__ or "")
    made.add_argument("--data", default="boolq")
    made.add_argument("--output", type=Path, default=Path("runs/boolq-data"))
    options = made.parse_args()
    rows = find_data(options.data).splits["validation"]
    aimed_at = [place_of(passage) < 0.5 for passage in rows["passage"]]
    for split, which in (("train", True), ("validation", False)):
        kept = [i for i, aimed in enumerate(aimed_at) if aimed == which]
        write({name: [rows[name][i] for i in kept] for name in COLUMNS}, options.output / f"{split}.parquet")
        print(f"{split}: {len(kept)} rows")


if __name__ == "__main__":
    main()
