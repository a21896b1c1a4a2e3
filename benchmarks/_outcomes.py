"""Accuracy of a linear head on frozen embeddings that learns from the rows of each rule, at one total cost.

Costs are in forward passes over one row, as if the encoder itself were fine-tuned: a row that is trained on costs three
passes an epoch; embedding a row one, its entropies by the probe one (embeddings of the same pass are free), exact ones
two and a half.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from _entropies import Entropies, signals_of
from _heads import BATCH, guesses
from _pools import CleanRows, Encoder, clean_rows
from _table import Row, read_records, write_records
from pool_faults import FaultyPool

from selectune.selectors import IGSE, Anchored, Balanced, LabelIssues, Random, SemanticDuplicates
from selectune.selectors.base import Budget, Selector, Signals
from selectune.selectors.filtering import Filter
from selectune.verdict.intervals import difference_of_seeds

RANDOM, FEWER = "random", "fewer_epochs"
TRAINED, EMBEDDED, PROBED, EXACT = 3.0, 1.0, 1.0, 2.5  # passes of a row
EPOCHS = 3
BUDGETS = (0.5, 0.16)  # shares of the cost of three epochs on all rows
BOTH = ("information_entropy", "generative_entropy")  # those whose band a target can place


@dataclass(frozen=True)
class Arm:
    """Rows to train on.

    Args:
        selector: fills the budget; None trains on all rows for fewer steps.
        filters: drop rows before it.
        passes: over every row of the pool, before anything is trained.
        entropies: whether these are read.
    """

    selector: Selector | None
    filters: Sequence[Filter] = ()
    passes: float = 0.0
    entropies: bool = False


_ANCHORED = IGSE(BOTH, Anchored())
ARMS = {  # by the names of their files in configs/selectors, where they have one
    RANDOM: Arm(Random()),
    FEWER: Arm(None),
    "balanced": Arm(Balanced()),
    "semantic_duplicates": Arm(Random(), [SemanticDuplicates()], EMBEDDED),
    "label_issues": Arm(Random(), [LabelIssues()], EMBEDDED),
    "all_three": Arm(Balanced(), [SemanticDuplicates(), LabelIssues()], EMBEDDED),
    "igse": Arm(IGSE(), (), PROBED, True),
    "igse_exact": Arm(IGSE(), (), EXACT, True),
    "igse_anchored": Arm(_ANCHORED, (), PROBED, True),
    "igse_anchored_exact": Arm(_ANCHORED, (), EXACT, True),
}


@dataclass(frozen=True)
class Outcome:
    """A line of the file: what a head on the rows of an arm is worth on held-out rows.

    ``..._at_prior`` weighs the held-out rows to the shares of the classes in the pool.
    """

    data: str
    fault: str
    finding: str
    share: float
    seed: int
    budget: float
    arm: str
    rows: int
    steps: int
    faulty_rows: int
    accuracy: float
    macro_f1: float
    accuracy_at_prior: float
    macro_f1_at_prior: float

    @property
    def pool(self) -> tuple[str, str, float, int]:
        """The pool that it is of."""
        return self.data, self.fault, self.share, self.seed


def figures(true: np.ndarray, guessed: np.ndarray, pool_labels: np.ndarray) -> tuple[float, float, float, float]:
    """Accuracy and macro F1 of held-out rows, and both with the rows weighed to the classes' shares in the pool."""
    from sklearn.metrics import accuracy_score, f1_score

    n_classes = int(max(true.max(), pool_labels.max())) + 1
    ours, theirs = (np.bincount(labels, minlength=n_classes) / len(labels) for labels in (true, pool_labels))
    weights = (theirs / np.maximum(ours, 1e-12))[true]
    of = [
        (accuracy_score(true, guessed, sample_weight=w), f1_score(true, guessed, average="macro", sample_weight=w))
        for w in (None, weights)
    ]
    return float(of[0][0]), float(of[0][1]), float(of[1][0]), float(of[1][1])


def chosen(arm: Arm, pool: Signals, target: Signals | None, n_rows: int, seed: int) -> np.ndarray:
    """So many rows of an arm, or as many as its filters leave."""
    left = np.arange(pool.n_rows)
    if arm.selector is None:
        return left
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # exhausted classes, concentrated entropies: what is measured
        for each in arm.filters:
            left = left[each.kept(pool.take(left), None, seed).rows]
        budget = Budget(rows=min(n_rows, len(left)))
        return left[arm.selector.select(pool.take(left), target, budget, seed).rows]


def outcomes(
    fault: str, share: float, pool: FaultyPool, clean: CleanRows, encoder: Encoder, entropies: Entropies | None
) -> list[Outcome]:
    """Outcomes of the arms on one pool; of those that read entropies only where these are given."""
    signals = signals_of(pool.texts, pool.labels, encoder, entropies, clean.seed)
    target = None if entropies is None else signals_of(clean.trusted, None, encoder, entropies)
    held_out, _ = encoder.states(clean.held_out)
    n, n_classes = len(pool.texts), int(max(pool.labels.max(), clean.held_out_labels.max())) + 1
    found = []
    for budget in BUDGETS:
        for name, arm in ARMS.items():
            passes = budget * TRAINED * EPOCHS - arm.passes  # for each row of the pool
            n_rows = round(passes * n / (TRAINED * EPOCHS))
            if (arm.entropies and entropies is None) or n_rows < BATCH:
                continue
            rows = chosen(arm, signals, target, n_rows, clean.seed)
            steps = round(passes * n / (TRAINED * BATCH))
            learned = signals["embedding"][rows], pool.labels[rows]
            guessed = guesses(*learned, held_out, n_classes, steps, clean.seed)
            rounded = (round(each, 5) for each in figures(clean.held_out_labels, guessed, pool.labels))
            key = clean.name, fault, pool.finding, share, clean.seed, budget, name
            found.append(Outcome(*key, len(rows), steps, int(pool.faulty[rows].sum()), *rounded))
    return found


def examine(options: argparse.Namespace) -> list[Outcome]:
    """Measure every pool that the file lacks, and write the file after each."""
    found = read_records(Outcome, options.csv)
    done = {outcome.pool for outcome in found}
    encoder = Encoder(options.model)
    entropies = Entropies(encoder)
    pools = [("clean", 0.0), *((fault, share) for share in options.shares for fault in options.faults)]
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for data in options.data:
            name = data.rsplit("/", 1)[-1]
            todo = [(fault, share) for fault, share in pools if (name, fault, share, seed) not in done]
            clean = clean_rows(data, options.rows, seed, options.foreign) if todo else None
            for fault, share in todo:
                assert clean is not None
                began = time.perf_counter()
                reads = entropies if seed < options.entropy_seeds and share in (0.0, 0.3) else None
                found += outcomes(fault, share, clean.with_fault(fault, share), clean, encoder, reads)
                if options.csv:
                    write_records(found, options.csv)
                took = time.perf_counter() - began
                print(f"{name}/{fault}/{share:.0%}/{seed}: {took:.0f} s", file=sys.stderr, flush=True)
    return found


def intervals(found: Iterable[Outcome]) -> list[Row]:
    """Means over seeds in per cent, and the differences from random rows and from fewer epochs, in points."""
    values: dict[tuple[str, str], dict[int, Outcome]] = defaultdict(dict)
    for one in found:
        values[f"{one.data}/{one.fault}/{one.share:.0%}/{one.budget:.0%}", one.arm][one.seed] = one
    made = []
    for (case, arm), of in values.items():
        for metric in ("accuracy", "macro_f1"):
            mine = {seed: 100 * float(getattr(one, metric)) for seed, one in of.items()}
            made.append(Row(case, arm, metric, float(np.mean(list(mine.values())))))
            for against in (RANDOM, FEWER):
                theirs = {seed: 100 * float(getattr(one, metric)) for seed, one in values[case, against].items()}
                difference = None if arm == against else difference_of_seeds(mine, theirs)
                if difference is not None:
                    gaps = (("", difference.value), ("_low", difference.low), ("_high", difference.high))
                    made += [Row(case, arm, f"{metric}_vs_{against}{name}", value) for name, value in gaps]
    return made
