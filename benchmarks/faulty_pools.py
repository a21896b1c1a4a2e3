"""Pools with one known fault: does a diagnosis find it, and which rule's rows are worth more than random ones?

    python benchmarks/faulty_pools.py detect --csv results/faulty_pools.csv          # about an hour on one core
    python benchmarks/faulty_pools.py detect --csv results/faulty_pools.csv --check  # exits with 1 when a bar is missed
    python benchmarks/faulty_pools.py detect --faults junk off_topic --shares 0.1 0.6 --seeds 1

Of each data set 3,000 distinct rows make a pool; 100 others are trusted and 1,000 held out. `pool_faults.py` puts one
fault into a share of the pool. `diagnose` knows the trusted rows; `diagnose, no trusted rows` has the pool alone, and
is the same but for what compares rows with trusted ones. `Datalab` has the same embeddings and class probabilities,
and its own thresholds. The sketch is the cosine to the nearest other row, 1 less the probability of the given label, or
the distance to the nearest trusted row. `junk` is the worse of the scores of what is no language and of what is off
topic, each of which is 0.5 at its bound.

    python benchmarks/faulty_pools.py outcome --csv results/faulty_pools_outcome.csv

gives accuracy and macro F1 on the held-out rows of a linear head on frozen embeddings, which learns from the rows that
each rule chooses, at the same total cost as if the encoder were fine-tuned (`_outcomes.py`): no fine-tuning, which
`fine_tuned_outcomes.py` has. Entropies are read of the first seeds alone.

A pool that is in the file already is not examined again. The case is data set, fault, share and seed; the table shows
means over seeds.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections import defaultdict
from pathlib import Path

import _outcomes
import numpy as np
from _detectors import DIAGNOSE, JUNK, UNTRUSTED, Opinion, opinions
from _pools import MAX_TOKENS, CleanRows, Encoder, clean_rows
from _table import Row, parser, table, write
from pool_faults import MAKERS, FaultyPool

from selectune.diagnose.findings import NAMES

FAULTS = [fault for fault in MAKERS if fault != "clean"]
OUTCOME_FAULTS = [
    "label_flips", "class_flips", "near_copies", "exact_copies", "rare_class", "junk", "off_topic", "shuffled_words",
]  # fmt: skip
JUNK_FAULTS = ("junk", "gibberish", "other_letters", "repeated_lines", "boilerplate")
BARS = {  # least AUROC at a share of 30 %, by fault and finding; of some data sets alone where they are named
    ("near_copies", "near_copy"): 0.97,
    ("near_pairs", "near_copy"): 0.97,
    ("paraphrases", "near_copy"): 0.90,
    ("paraphrase_pairs", "near_copy"): 0.90,
    ("label_flips", "label_issue"): {"ag_news": 0.95, "sst2": 0.78},
    ("class_flips", "label_issue"): {"ag_news": 0.90, "sst2": 0.72},
    ("shuffled_words", "not_language"): 0.90,
    ("off_topic", "off_topic"): 0.95,
} | {(fault, "junk"): 0.98 for fault in JUNK_FAULTS}
EXACT = (("exact_copies", "exact_copy"), ("leakage", "leakage"), ("empty", "empty"), ("truncated", "truncated"))
EXACT_PRECISION = 0.99
MOST_ACCUSED = 0.02  # of a clean pool, of copies or junk
SHARE_ERROR = 0.05
BAR_SHARE = "30%"


def detect(case: str, fault: str, pool: FaultyPool, clean: CleanRows, encoder: Encoder) -> list[Row]:
    """The figures of one pool: of a clean one how many rows each finding names, else how its own fault is found."""
    if fault == "clean":
        wanted = {*NAMES, "junk", "copies_or_junk"}
    else:
        wanted = {pool.finding} | ({"junk", *JUNK} if fault in (*JUNK_FAULTS, "off_topic") else set())
    faulty = pool.faulty
    if fault == "truncated":  # 48 words of 20 Newsgroups can be over 128 tokens as they are
        faulty = faulty | (encoder.whole_lengths(pool.texts) > MAX_TOKENS)
    rows = []
    for (method, finding), opinion in opinions(pool, clean, encoder, wanted).items():
        figures = _figures(faulty, opinion)
        if fault == "leakage" and opinion.rows is not None and opinion.scores is not None:
            exact = opinion.rows[opinion.scores[opinion.rows] == 1]  # the data set has near copies of its own
            figures["precision_of_exact"] = float(faulty[exact].mean()) if len(exact) else 0.0
        rows += [Row(case, f"{method}: {finding}", name, value) for name, value in figures.items()]
    return rows


def _figures(faulty: np.ndarray, opinion: Opinion) -> dict[str, float]:
    """Measures of how well scores and accused rows fit the rows that are at fault; what cannot be told is left out."""
    from sklearn.metrics import roc_auc_score

    figures: dict[str, float] = {}
    if faulty.any() and not faulty.all() and opinion.scores is not None:
        figures["auroc"] = float(roc_auc_score(faulty, opinion.scores))
    if opinion.rows is not None:
        if len(opinion.rows) and faulty.any():
            figures["precision"] = float(faulty[opinion.rows].mean())
        if faulty.any():
            figures["recall"] = float(faulty[opinion.rows].sum() / faulty.sum())
        figures["accused"] = len(opinion.rows) / len(faulty)
    if opinion.share is not None:
        shares = zip(("share", "share_low", "share_high"), opinion.share, strict=True)
        figures |= {name: value for name, value in shares if np.isfinite(value)}
    if opinion.rows is not None:
        figures["true_share"] = float(faulty.mean())
    return figures


def means(rows: list[Row]) -> list[Row]:
    """Figures over seeds: the case loses its last part."""
    values: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for row in rows:
        values[row.case.rsplit("/", 1)[0], row.variant, row.metric].append(row.value)
    return [Row(*key, float(np.mean(several))) for key, several in values.items()]


def missed(rows: list[Row]) -> list[str]:
    """A sentence for each bar that the means over seeds miss; pools that were not examined miss none."""
    of = {(row.case, row.variant, row.metric): row.value for row in means(rows)}
    sentences = []

    def told(case: str, variant: str, metric: str, bar: str, met: bool) -> None:
        if not met:
            sentences.append(f"{case}, {variant}: {metric} is {of.get((case, variant, metric), 0.0):.4g}, not {bar}")

    for data in dict.fromkeys(row.case.split("/")[0] for row in rows):
        for method in (DIAGNOSE, UNTRUSTED):
            for (fault, finding), bars in BARS.items():
                bar = bars.get(data) if isinstance(bars, dict) else bars
                key = f"{data}/{fault}/{BAR_SHARE}", f"{method}: {finding}", "auroc"
                if bar is not None and key in of:
                    told(*key, f"{bar} or more", of[key] >= bar)
            key = f"{data}/clean/0%", f"{method}: copies_or_junk", "accused"
            if data == "ag_news" and key in of:
                told(*key, f"under {MOST_ACCUSED}", of[key] < MOST_ACCUSED)
        for fault, finding in EXACT:
            case, variant = f"{data}/{fault}/{BAR_SHARE}", f"{DIAGNOSE}: {finding}"
            if (case, variant, "recall") in of:
                told(case, variant, "recall", "1", of[case, variant, "recall"] == 1)
                metric = "precision_of_exact" if fault == "leakage" else "precision"
                precise = of.get((case, variant, metric), 0.0) >= EXACT_PRECISION
                told(case, variant, metric, f"{EXACT_PRECISION} or more", precise)
        for case in (f"{data}/clean/0%", f"{data}/label_flips/10%", f"{data}/label_flips/30%"):
            key = case, f"{DIAGNOSE}: label_issue", "share"
            if data == "ag_news" and key in of:
                true = of[(*key[:2], "true_share")]
                told(*key, f"within {SHARE_ERROR} of {true:.3g}", abs(of[key] - true) <= SHARE_ERROR)
    return sentences


def read(file: Path | None) -> list[Row]:
    """The rows that a file holds; none where it is not there."""
    if file is None or not file.is_file():
        return []
    with file.open(newline="") as handle:
        return [
            Row(line["case"], line["variant"], line["metric"], float(line["value"])) for line in csv.DictReader(handle)
        ]


def examine(options: argparse.Namespace) -> list[Row]:
    """Measure every pool that the file lacks, and write the file after each."""
    rows = read(options.csv)
    done = {row.case for row in rows}
    encoder = Encoder(options.model)
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for data in options.data:
            name = data.rsplit("/", 1)[-1]
            pools = [("clean", 0.0), *((fault, share) for share in options.shares for fault in options.faults)]
            cases = {f"{name}/{fault}/{share:.0%}/{seed}": (fault, share) for fault, share in pools}
            todo = {case: pool for case, pool in cases.items() if case not in done}
            if not todo:
                continue
            clean = clean_rows(data, options.rows, seed, options.foreign)
            for case, (fault, share) in todo.items():
                began = time.perf_counter()
                rows += detect(case, fault, clean.with_fault(fault, share), clean, encoder)
                if options.csv:
                    write(rows, options.csv)
                print(f"{case}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    return rows


def main() -> None:
    made = parser(__doc__)
    made.add_argument("mode", choices=["detect", "outcome"])
    made.add_argument("--data", nargs="+", default=["stanfordnlp/sst2", "ag_news", "newsgroups20"])
    made.add_argument("--foreign", default="pool_wikipedia", help="the data set of texts that are off topic")
    made.add_argument("--model", default="minilm-l6-mlm")
    made.add_argument("--faults", nargs="+", choices=FAULTS, help="default all; of outcomes eight of them")
    made.add_argument("--shares", nargs="+", type=float, default=[0.3])
    made.add_argument("--seeds", type=int, help="default 3; of outcomes 5")
    made.add_argument("--first_seed", type=int, default=0)
    made.add_argument("--rows", type=int, default=3000)
    made.add_argument("--entropy_seeds", type=int, default=2, help="of outcomes: seeds that read entropies")
    options = made.parse_args()
    sentences = []
    if options.mode == "detect":
        options.faults, options.seeds = options.faults or FAULTS, options.seeds or 3
        rows = examine(options)
        print(table(means(rows)))
        sentences = missed(rows)
    else:
        options.faults, options.seeds = options.faults or OUTCOME_FAULTS, options.seeds or 5
        print(table(_outcomes.intervals(_outcomes.examine(options))))
    for sentence in sentences:
        print(f"missed: {sentence}", file=sys.stderr)
    sys.exit(1 if sentences and options.check else 0)


if __name__ == "__main__":
    main()
