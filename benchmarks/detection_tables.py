"""Tables of how well faults are found in pools that have one, as docs/diagnose.md shows them.

python benchmarks/detection_tables.py          # prints both, from results/faulty_pools.csv
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from _detectors import DATALAB, DIAGNOSE, SKETCH, UNTRUSTED
from _table import Row
from faulty_pools import read
from outcome_tables import DATA, table

RESULTS = Path(__file__).resolve().parents[1] / "results" / "faulty_pools.csv"
ORDER = ("ag_news", "sst2", "newsgroups20")
COPY, LABEL, JUNK = ("near_copy",), ("label_issue",), ("not_language", "off_topic")
FAULTS: dict[str, tuple[str, Sequence[str]]] = {  # the name of each, and the findings that it is found by
    "near_copies": ("near copies of 100 rows", COPY),
    "near_pairs": ("near copies, one of each row", COPY),
    "paraphrases": ("paraphrases of 100 rows", COPY),
    "paraphrase_pairs": ("paraphrases, one of each row", COPY),
    "label_flips": ("wrong labels", LABEL),
    "class_flips": ("wrong labels, more in some classes", LABEL),
    "shuffled_words": ("shuffled words", ("not_language",)),
    "gibberish": ("random letters", JUNK),
    "other_letters": ("other alphabets", JUNK),
    "repeated_lines": ("repeated words", JUNK),
    "boilerplate": ("boilerplate", JUNK),
    "off_topic": ("off topic", ("off_topic",)),
    "junk": ("junk: letters, other texts, boilerplate", JUNK),
}


class Figures:
    """Areas under the curve by pool and method."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._of: dict[tuple[str, str, str, str], list[float]] = {}
        for row in rows:
            if row.metric == "auroc":
                data, fault, share, _ = row.case.split("/")
                self._of.setdefault((data, fault, share, row.variant), []).append(row.value)

    def mean(self, data: str, fault: str, share: str, method: str) -> str:
        """The mean over seeds; a dash where it was not measured."""
        findings = FAULTS[fault][1]
        finding = findings[0] if len(findings) == 1 else "junk"  # the worse of two scores
        values = self._of.get((data, fault, share, f"{method}: {finding}"))
        return f"{np.mean(values):.3f}" if values else "–"


def at_30(figures: Figures) -> str:
    """All methods at 30 %."""
    rows = []
    for fault, (title, findings) in FAULTS.items():
        ours = [figures.mean(data, fault, "30%", DIAGNOSE) for data in ORDER]
        others = [
            " / ".join(figures.mean(data, fault, "30%", method) for data in ORDER)
            for method in (UNTRUSTED, DATALAB, SKETCH)
        ]
        if "off_topic" not in findings:  # trusted rows have no part in it
            others[0] = "the same"
        rows.append([title, ", ".join(f"`{name}`" for name in findings), *ours, *others])
    head = ["fault in 30 % of the rows", "finding", *(DATA[data] for data in ORDER)]
    return table([*head, "without trusted rows", "Datalab", "plain sketch"], rows, 2)


def at_other_shares(figures: Figures) -> str:
    """The diagnosis at 10 and 60 %: AG News / SST-2 / 20 Newsgroups."""
    rows = []
    for fault, (title, findings) in FAULTS.items():
        cells = []
        for share in ("10%", "60%"):
            cells.append(" / ".join(figures.mean(data, fault, share, DIAGNOSE) for data in ORDER))
            other = " / ".join(figures.mean(data, fault, share, UNTRUSTED) for data in ORDER)
            cells.append(other if "off_topic" in findings else "the same")
        rows.append([title, *cells])
    return table(["fault", "10 %", "10 %, without trusted rows", "60 %", "60 %, without trusted rows"], rows, 1)


def tables() -> dict[str, str]:
    """Both tables, by what they show."""
    figures = Figures(read(RESULTS))
    return {"30 %": at_30(figures), "10 and 60 %": at_other_shares(figures)}


def main() -> None:
    for name, text in tables().items():
        print(f"{name}\n\n{text}\n")


if __name__ == "__main__":
    main()
