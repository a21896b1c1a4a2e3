"""A pool with a known fault as a pilot meets it: embeddings of a learner and of a scorer, findings, and plans' rows."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from _pools import CleanRows, Encoder, text_hash
from pool_faults import MAKERS

from selectune.diagnose import classes, copies
from selectune.diagnose.findings import Finding
from selectune.pilot.faults import Fault, faults_of
from selectune.pilot.judging import UnseenRows, nearest_cosines, sound_weights
from selectune.pilot.plan_rows import PlanRows
from selectune.pilot.recipes import Recipe, Task, recipes
from selectune.pilot.rehearsal import Scaled, errors_unseen, logits_of, losses_and_errors, softmax, train_head
from selectune.selectors.base import Signals, tie_keys
from selectune.selectors.copies import near_neighbours
from selectune.selectors.duplicates import minhash
from selectune.signals.cross_fit import cross_fit

POOL, HELD_OUT = 4000, 1000
CONTAMINATED = 0.1  # of the pool is split off it as ``dev``
LEFT_OUT = ("euds", "gotd")  # take a language model
TASK = Task("TextClassification", has_classes=True)
Outcome = dict[str, "Judged"]  # by set of held-out rows


@dataclass(frozen=True)
class Judged:
    """Held-out rows by a head: logits, losses and errors."""

    logits: np.ndarray
    losses: np.ndarray
    wrong: np.ndarray


@dataclass(frozen=True)
class HeldOut:
    """Rows that heads are judged on: features of the learner and of the scorer, and labels."""

    learner: np.ndarray
    scorer: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class PilotPool:
    """A pool, without the rows that are split off it.

    Args:
        learner: features of each row, scaled, shape (n_rows, width).
        scorer: the same of a model that costs less.
        labels: as the pool gives them, shape (n_rows,).
        n_classes: of the data set.
        signals: of the rows.
        findings: by name.
        held_out: rows to judge on: ``trusted`` and ``contaminated``, and ``test``, which is as it was before the fault.
        seed: by which it was drawn.
    """

    learner: np.ndarray
    scorer: np.ndarray
    labels: np.ndarray
    n_classes: int
    signals: Signals
    findings: dict[str, Finding]
    held_out: dict[str, HeldOut]
    seed: int

    @classmethod
    def of(cls, bank: CleanRows, encoder: Encoder, fault: str, share: float, seed: int) -> PilotPool:
        """A pool of rows of a bank, with a fault in a share of them."""
        rng = np.random.default_rng([seed, zlib.crc32(fault.encode()), round(1000 * share)])
        texts = [*bank.texts, *bank.held_out]
        labels = np.concatenate([bank.labels, bank.held_out_labels])
        test, dev, rows = np.split(rng.permutation(len(texts)), [HELD_OUT, 2 * HELD_OUT])
        made = MAKERS[fault]([texts[i] for i in rows[:POOL]], labels[rows[:POOL]], share, rng, bank.foreign)
        states = encoder.states(made.texts)
        scales = [Scaled.of(part) for part in states]
        learner, scorer = (scale(part) for scale, part in zip(scales, states, strict=True))

        def judged(some: np.ndarray) -> HeldOut:
            known = encoder.states([texts[i] for i in some])
            return HeldOut(scales[0](known[0]), scales[1](known[1]), labels[some])

        split = int(CONTAMINATED * len(made.texts))
        held_out = {"test": judged(test), "trusted": judged(dev)}
        held_out["contaminated"] = HeldOut(learner[:split], scorer[:split], made.labels[:split])
        texts, given = made.texts[split:], made.labels[split:]
        signals, findings = _examined(texts, given, states[1][split:], encoder, seed)
        return cls(
            learner[split:], scorer[split:], given, int(labels.max()) + 1, signals, findings, held_out, seed
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def faults(self) -> dict[str, Fault]:
        """Faults of the pool, as a plan reads them from a diagnosis."""
        content = {
            name: {
                "rows": len(one.rows), "share": one.share, "low": one.low, "high": one.high, "details": one.details
            }
            for name, one in self.findings.items()
        }  # fmt: skip
        return faults_of({"findings": content})

    @cached_property
    def recipes(self) -> dict[str, Recipe]:
        """Recipes of plans by name, but for those that take a language model."""
        return {name: one for name, one in recipes(self.faults, TASK)[0].items() if name not in LEFT_OUT}

    @cached_property
    def plan_rows(self) -> PlanRows:
        """Chooses the rows of plans."""
        return PlanRows(self.signals, {name: one.rows for name, one in self.findings.items()}, self.seed)

    def rows_of(self, plan: str, passes: int, epochs: int, seed: int) -> np.ndarray:
        """Rows that a plan trains on where it sees so many in all."""
        recipe = self.recipes[plan]
        return self.plan_rows.chosen(recipe, passes if recipe.selector is None else passes // epochs, seed)

    @cached_property
    def unseen(self) -> UnseenRows:
        """Rows of the pool that rehearsals are judged by where no row is trusted."""
        probabilities, hashes = (self.signals[name] for name in ("class_probabilities", "text_hash"))
        return UnseenRows.of(
            self.scorer, self.labels, probabilities, hashes, "rare_class" in self.faults, self.seed
        )  # fmt: skip

    def errors_unseen(self, plan: str, passes: int, epochs: int, seed: int) -> np.ndarray:
        """Whether heads on the scorer's embeddings err on these after a plan's training."""
        rows = self.rows_of(plan, passes, epochs, seed)
        return errors_unseen(self.scorer, self.labels, self.n_classes, rows, passes, self.unseen, seed)

    def train(self, rows: np.ndarray, passes: int, seed: int, scorer: bool = False) -> Outcome:
        """Losses and errors of held-out rows by a head that was trained on some rows."""
        features = self.scorer if scorer else self.learner
        weights = train_head(features[rows], self.labels[rows], self.n_classes, passes, seed)
        judged = {}
        for name, one in self.held_out.items():
            logits = logits_of(one.scorer if scorer else one.learner, weights)
            judged[name] = Judged(logits, *losses_and_errors(logits, one.labels))
        return judged

    def weights(self, dev: str, probe: Outcome) -> np.ndarray:
        """Weights of held-out rows that carry the faults of the pool, by a head on the scorer's embeddings."""
        one, even = self.held_out[dev], "rare_class" in self.faults
        probabilities = softmax(probe[dev].logits)
        return sound_weights(one.labels, probabilities, nearest_cosines(one.scorer, self.scorer), even)


def _examined(
    texts: list[str], labels: np.ndarray, embeddings: np.ndarray, encoder: Encoder, seed: int
) -> tuple[Signals, dict[str, Finding]]:
    """Signals of a pool, and what a diagnosis by the scorer finds in it that plans answer."""
    hashes, tokens = text_hash(texts), encoder.tokens(texts)
    ids, offsets = next(tokens.content())
    probabilities = cross_fit(embeddings, labels, hashes, seed).probabilities
    names = [str(number) for number in range(probabilities.shape[1])]
    signals = Signals(
        {
            "text_hash": hashes, "n_tokens": tokens.n_tokens(), "input_tokens": tokens.lengths, "label": labels,
            "embedding": embeddings, "class_probabilities": probabilities, "minhash": minhash(ids, offsets),
        }
    )  # fmt: skip
    bags = copies.bag_of_tokens(ids, offsets, len(encoder.scoring.tokenizer))
    neighbours = near_neighbours(embeddings, seed, copies.NEIGHBOURS, tie_keys(hashes, seed))
    return signals, {
        "exact_copy": copies.exact_copies(texts, labels),
        "near_copy": copies.near_copies(*neighbours, bags, labels),
        "label_issue": classes.label_issues(labels, probabilities, names, seed),
        "rare_class": classes.rare_classes(labels, names),
    }
