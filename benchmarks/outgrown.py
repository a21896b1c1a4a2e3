"""Errors of a fine-tuned learner beside those of a linear head on the embeddings of a diagnosis, as both see more rows.

    python benchmarks/outgrown.py --csv results/outgrown.csv          # forty minutes on one core
    python benchmarks/outgrown.py --csv results/outgrown.csv --check  # 1 where the prior of a pilot lies outside

Pools of SST-2 and AG News, clean or with one fault in 30 % of the rows, of which nested random subsets are drawn. On
each of them the 22M model is fine-tuned for three epochs, and a head is trained on embeddings of the same model cut
after one of its six layers, which is what a pilot of a tenth of the cost can pay for. Both are judged by the same 1,000
rows without the fault. Batches are of 16 rows, as in a pilot, and of 32 on the largest subset. AG News is cut to 32
tokens a row.

The log of the learner's error over the head's, against the log of the rows, is what `selectune.pilot.reference` carries
on from the subsets of a pilot to the whole pool: SLOPE with SLOPE_SD there is the prior of its slope. The slopes here
are between the largest subset and each smaller one after which the learner had left chance. Seeds are those from 10 on.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _fine_tuned import LEARNING_RATE, PRECISION, quiet, trainer
from _pools import CleanRows, clean_rows
from _table import Row, parser, read_records, table, write_records

from selectune.data.batches import plan_batches
from selectune.data.sources import find_model
from selectune.data.tokens import tokenize
from selectune.datamodules import TextClassification
from selectune.lightning_modules import FineTuner
from selectune.lightning_modules.scorers.base import stop_after
from selectune.lightning_modules.scorers.settings import ScorerSettings
from selectune.pilot.reference import SLOPE, SLOPE_SD
from selectune.pilot.rehearsal import Scaled, logits_of, losses_and_errors, train_head
from selectune.signals.definitions import ScoringModel
from selectune.signals.forward import make_scorer

SHARES = {"clean": 0.0, "label_flips": 0.3, "class_flips": 0.3, "rare_class": 0.3}
SIZES = (128, 256, 512, 1024, 8192)
MAX_LENGTH = {"sst2": 64, "ag_news": 32}
EPOCHS, LAYER, SMALL_BATCH, BATCH = 3, 1, 16, 32


@dataclass(frozen=True)
class Trained:
    """Both models after one subset; errors are shares of the held-out rows."""

    data: str
    fault: str
    seed: int
    rows: int
    learner: float
    head: float
    n_classes: int

    @property
    def at_chance(self) -> bool:
        """Whether the learner had not left chance, as a pilot takes it."""
        chance = 1 - 1 / self.n_classes
        return self.learner > chance - 2 * np.sqrt(chance * (1 - chance) / 1000)


def examine(options: argparse.Namespace) -> list[Trained]:
    """The trainings that the file lacks; it is written after each."""
    known = read_records(Trained, options.csv)
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for data in options.data:
            clean = clean_rows(data, max(SIZES), seed, options.foreign)
            for fault in options.faults:
                done = {one.rows for one in known if (one.data, one.fault, one.seed) == (clean.name, fault, seed)}
                sizes = [size for size in SIZES if size not in done]
                if sizes:
                    with tempfile.TemporaryDirectory() as folder:
                        known = both(clean, fault, sizes, Path(folder), known, options)
    return known


@dataclass(frozen=True)
class Embedded:
    """A pool with its fault, as files and as a diagnosis embeds it.

    Args:
        labels: of the pool, with the fault.
        ours: embeddings of the pool, scaled.
        theirs: of the held-out rows, scaled alike.
        held_out_labels: without the fault.
        nested: the order of rows by which subsets are nested.
        seed: of the heads.
    """

    labels: np.ndarray
    ours: np.ndarray
    theirs: np.ndarray
    held_out_labels: np.ndarray
    nested: np.ndarray
    seed: int

    @classmethod
    def of(cls, clean: CleanRows, fault: str, folder: Path, model: str) -> Embedded:
        """Write the files of a pool into a folder, and embed it."""
        from datasets import Dataset

        pool, length = clean.with_fault(fault, SHARES[fault]), MAX_LENGTH[clean.name]
        held_out = (clean.held_out, clean.held_out_labels)
        splits = {"train": (pool.texts, pool.labels), "test": held_out, "validation": held_out}
        for name, (texts, labels) in splits.items():
            Dataset.from_dict({"text": list(texts), "label": labels}).to_parquet(folder / f"{name}.parquet")
        states = [embedded(model, list(texts), length) for texts in (pool.texts, clean.held_out)]
        scale = Scaled.of(states[0])
        nested = np.random.default_rng([clean.seed, 1]).permutation(len(pool.texts))
        ours, theirs = scale(states[0]), scale(states[1])
        return cls(pool.labels, ours, theirs, clean.held_out_labels, nested, clean.seed)

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return int(self.held_out_labels.max()) + 1

    def head(self, rows: np.ndarray, passes: int) -> tuple[np.ndarray, np.ndarray]:
        """Losses and errors of the held-out rows by a head that was trained on some rows."""
        weights = train_head(self.ours[rows], self.labels[rows], self.n_classes, passes, self.seed)
        return losses_and_errors(logits_of(self.theirs, weights), self.held_out_labels)


def both(
    clean: CleanRows, fault: str, sizes: list[int], folder: Path, known: list[Trained], options: argparse.Namespace
) -> list[Trained]:
    """Train both models on subsets of a pool, and add what came of it."""
    pool = Embedded.of(clean, fault, folder, options.model)
    for size in sizes:
        rows = np.sort(pool.nested[:size])
        _, wrong = pool.head(rows, size * EPOCHS)
        error = fine_tuned(folder, rows, MAX_LENGTH[clean.name], options.model, clean)
        known = [*known, Trained(clean.name, fault, clean.seed, size, error, float(wrong.mean()), pool.n_classes)]
        if options.csv:
            write_records(known, options.csv)
        print(f"{clean.name}/{fault}/{size}: {error:.3f} beside {wrong.mean():.3f}", file=sys.stderr, flush=True)
    return known


def embedded(model: str, texts: list[str], length: int) -> np.ndarray:
    """Embeddings of texts by the first layers of a model, float32, shape (n_texts, width)."""
    scoring = ScoringModel(find_model(model), ScorerSettings(), length, 4096)
    scorer = make_scorer(["embedding"], scoring)
    stop_after(scorer.network, LAYER)
    tokens = tokenize(lambda part: [(text,) for text in texts[part]], len(texts), scoring.tokenizer, length)
    made = np.empty((len(texts), scorer.network.config.hidden_size), dtype=np.float32)
    for rows in plan_batches(tokens.lengths, scoring.max_batch_tokens):
        with torch.no_grad():
            made[rows] = scorer(dict(tokens.padded(rows, int(scoring.tokenizer.pad_token_id))))["embedding"].numpy()
    return made


def fine_tuned(folder: Path, rows: np.ndarray, length: int, model: str, clean: CleanRows) -> float:
    """Share of the held-out rows on which the learner errs after training on some rows."""
    data = TextClassification(
        dataset=str(folder), dev_split="validation", test_split="test", max_length=length, seed=clean.seed,
        batch_size=SMALL_BATCH if len(rows) < max(SIZES) else BATCH,
    )  # fmt: skip
    source = find_model(model)
    data.load(source)
    subset = data.trained_on(rows, source)
    fitting = trainer(max_epochs=EPOCHS, precision=PRECISION, limit_val_batches=0)
    learner = FineTuner(model, learning_rate=LEARNING_RATE, seed=clean.seed)
    fitting.fit(learner, subset)
    metrics: Any = fitting.test(learner, data, verbose=False)
    return 1 - float(metrics[0]["test/accuracy"])


def slopes(known: list[Trained]) -> list[tuple[Trained, float]]:
    """Of each subset that had left chance: the slope of the log of the errors' ratio up to the largest subset."""
    made = []
    for one in known:
        alike = (one.data, one.fault, one.seed, max(SIZES))
        last = next((other for other in known if (other.data, other.fault, other.seed, other.rows) == alike), None)
        if last is not None and one.rows < last.rows and not one.at_chance:
            change = np.log(last.learner / last.head) - np.log(one.learner / one.head)
            made.append((one, float(change / np.log(last.rows / one.rows))))
    return made


def main() -> None:
    made = parser(__doc__ or "")
    made.add_argument("--data", nargs="+", default=["stanfordnlp/sst2", "ag_news"])
    made.add_argument("--foreign", default="pool_wikipedia", help="the data set of texts that are off topic")
    made.add_argument("--model", default="minilm-l6-mlm")
    made.add_argument("--faults", nargs="+", choices=list(SHARES), default=["clean", "label_flips", "rare_class"])
    made.add_argument("--seeds", type=int, default=1)
    made.add_argument("--first_seed", type=int, default=10)
    options = made.parse_args()
    quiet()
    known = examine(options)
    found = slopes(known)
    rows = [Row(f"{one.data}/{one.fault}/{one.seed}", str(one.rows), "learner", one.learner) for one in known]
    rows += [Row(f"{one.data}/{one.fault}/{one.seed}", str(one.rows), "head", one.head) for one in known]
    rows += [Row(f"{one.data}/{one.fault}/{one.seed}", str(one.rows), "slope", slope) for one, slope in found]
    print(table(sorted(rows, key=lambda row: (row.case, int(row.variant)))))
    values = np.array([slope for _, slope in found])
    mean, sd = float(values.mean()), float(values.std(ddof=1))
    print(
        f"slope {mean:.3f}, standard deviation {sd:.3f}, of {len(values)} subsets of {len(known) // len(SIZES)} pools"
    )
    if options.check and not (abs(mean - SLOPE) <= SLOPE_SD and sd <= 1.5 * SLOPE_SD):
        print(f"missed: a pilot takes it to be {SLOPE} with a standard deviation of {SLOPE_SD}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
