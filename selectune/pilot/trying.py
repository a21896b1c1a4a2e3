"""Trainings of a pilot: nested subsets and arms by the model, rehearsals of whole trainings by a linear head."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from selectune.costs.ledger import Ledger
from selectune.pilot import rehearsal
from selectune.pilot.decision import Decision
from selectune.pilot.design import Design
from selectune.pilot.judging import FOLDS, UnseenRows, nearest_cosines, sound_weights
from selectune.pilot.learning_curve import CurveForecast, Measured, at_chance, forecast_curve
from selectune.pilot.plan_rows import PlanRows
from selectune.pilot.plans import Plan
from selectune.pilot.recipes import Recipe
from selectune.pilot.recommendation import Trial
from selectune.pilot.reference import Reference
from selectune.pilot.small_trainings import PART, Judged

RANDOM = "random"
WORTH = 1.5  # times as many rows, for which it pays to train on a larger subset in place of others
CERTAIN = 0.95  # of what the limit leaves, as batches are padded
LEAST_PASSES = 0.5  # of those designed, below which an arm is left out for want of cost


@dataclass(frozen=True)
class Embedded:
    """Rows as a linear head reads them.

    Args:
        pool: embeddings of the pool, scaled, shape (n_rows, width).
        labels: of the pool, numbers of classes.
        held_out: embeddings of the held-out rows, scaled alike.
        held_out_labels: of them.
        n_classes: of the task.
        nearest: cosine of each held-out row to the nearest row of the pool.
    """

    pool: np.ndarray
    labels: np.ndarray
    held_out: np.ndarray
    held_out_labels: np.ndarray
    n_classes: int
    nearest: np.ndarray

    @classmethod
    def of(cls, pool: np.ndarray, labels: np.ndarray, held_out: np.ndarray, judged: np.ndarray, n: int) -> Embedded:
        """Of embeddings and labels of both; `n` classes."""
        scale = rehearsal.Scaled.of(pool)
        ours, theirs = scale(pool), scale(held_out)
        return cls(ours, labels, theirs, judged, n, nearest_cosines(theirs, ours))


@dataclass
class Heads:
    """Linear heads on embeddings, charged to a ledger; the names of their trainings there are put into `done`."""

    rows: Embedded
    ledger: Ledger
    done: list[str]

    def logits(self, name: str, some: np.ndarray, passes: int, seed: int) -> np.ndarray:
        """Logits of the held-out rows after a head was trained on some rows of the pool."""
        rows = self.rows
        self.done.append(f"rehearsal-{name}")
        with self.ledger.stage("pilot", PART, self.done[-1]) as cost:
            weights = rehearsal.train_head(rows.pool[some], rows.labels[some], rows.n_classes, passes, seed)
            flops = rehearsal.flops_of(passes, len(rows.held_out), rows.pool.shape[1], rows.n_classes)
            cost.add(examples=passes, flops=flops, method="a linear head on embeddings (analytic)")
        return rehearsal.logits_of(rows.held_out, weights)

    def judge(self, name: str, some: np.ndarray, passes: int, seed: int) -> Judged:
        """Losses and errors of the held-out rows after such a training."""
        return self.judged(self.logits(name, some, passes, seed))

    def judged(self, logits: np.ndarray) -> Judged:
        """Losses and errors by logits of the held-out rows."""
        return Judged(*rehearsal.losses_and_errors(logits, self.rows.held_out_labels))

    def unseen(self, probabilities: np.ndarray, text_hash: np.ndarray, even_classes: bool, seed: int) -> UnseenRows:
        """Rows of the pool to judge rehearsals by, see `UnseenRows.of`."""
        rows = self.rows
        with self.ledger.stage("pilot", PART, "unseen rows") as cost:
            made = UnseenRows.of(rows.pool, rows.labels, probabilities, text_hash, even_classes, seed)
            cost.add(
                len(made.rows), flops=2.0 * len(made.rows) * rows.pool.size, method="products of embeddings (analytic)"
            )
        return made

    def errors_unseen(self, name: str, some: np.ndarray, passes: int, unseen: UnseenRows, seed: int) -> np.ndarray:
        """Whether heads that were trained on some rows err on those that they did not see."""
        rows = self.rows
        self.done.append(f"rehearsal-{name}-unseen")
        with self.ledger.stage("pilot", PART, self.done[-1]) as cost:
            wrong = rehearsal.errors_unseen(rows.pool, rows.labels, rows.n_classes, some, passes, unseen, seed)
            passes *= FOLDS - 1
            flops = rehearsal.flops_of(passes, len(unseen.rows), rows.pool.shape[1], rows.n_classes)
            cost.add(examples=passes, flops=flops, method="linear heads on embeddings (analytic)")
        return wrong


@dataclass
class Trials:
    """All trainings of a pilot, and what they say.

    Args:
        subsets: row ids of the nested subsets, the smallest first.
        curve: the model after each of them.
        cheap: a head after each of them.
        cheap_full: the head after all rows.
        arms: the model after the rows of a plan, with these, by name.
        rehearsed: a head after the rows of a plan at its full size, by name; random rows among them.
        n_rows: of each of these.
        weights: of the held-out rows, where they carry the faults of the pool; None where they do not.
        unseen: rows of the pool that rehearsals are judged by then.
        on_unseen: whether a head after the rows of a plan errs on these, by name.
        why_not: of plans without an arm, by name.
        at_chance: rows after which the model had not left chance, so that a larger subset took the place of smaller
            ones and of arms; 0 where it had.
    """

    design: Design
    n_classes: int
    subsets: list[np.ndarray] = field(default_factory=list)
    curve: list[Judged] = field(default_factory=list)
    cheap: list[Judged] = field(default_factory=list)
    cheap_full: Judged | None = None
    arms: dict[str, tuple[np.ndarray, int, Judged]] = field(default_factory=dict)
    rehearsed: dict[str, tuple[np.ndarray, int, Judged]] = field(default_factory=dict)
    weights: np.ndarray | None = None
    unseen: UnseenRows | None = None
    on_unseen: dict[str, np.ndarray] = field(default_factory=dict)
    why_not: dict[str, str] = field(default_factory=dict)
    at_chance: int = 0

    def forecast(self, size: int, reference: Judged, seed: int) -> CurveForecast:
        """The accuracy after training on so many random rows; the reference is a head that was."""
        measured = Measured(
            tuple(len(rows) for rows in self.subsets),
            np.stack([one.losses for one in self.curve])[None],
            np.stack([one.wrong for one in self.curve])[None],
        )
        cheap = Reference(
            np.stack([one.losses for one in self.cheap]), np.stack([one.wrong for one in self.cheap]), reference.wrong,
            outgrown=True,
        )  # fmt: skip
        return forecast_curve(measured, size, self.n_classes, seed, cheap)

    def gains(self, as_it_is: bool = False) -> list[Trial]:
        """Gains of the plans over random rows by arms and by rehearsals.

        Args:
            as_it_is: on the held-out rows with whatever faults they carry; else on sound rows, where these are weighed.
        """
        arms = {name: judged.wrong for name, (_, _, judged) in self.arms.items()}
        rehearsed = {name: judged.wrong for name, (_, _, judged) in self.rehearsed.items()}
        weights = of_rehearsals = None if as_it_is else self.weights
        if self.unseen is not None and not as_it_is:
            rehearsed, of_rehearsals = dict(self.on_unseen), self.unseen.weights
        random, trials = rehearsed.pop(RANDOM), []
        if arms:
            trials.append(Trial.of_arms(arms, self.curve[-1].wrong, len(self.subsets[-1]), weights))
        if rehearsed:
            trials.append(Trial.of_rehearsals(rehearsed, random, of_rehearsals))
        return trials


@dataclass
class Trying:
    """Makes the trainings of a pilot within its limit.

    Args:
        decision: the ranked plans.
        recipes: of these, by name; those whose signals are there.
        design: sizes.
        rows: chooses rows of plans.
        lengths: tokens of each row of the pool, as the model reads it.
        heads: linear heads.
        train: the model after some rows and passes, see `SmallTrainings.judge`.
        left: the part of the limit that is left, in row passes of the mean length.
        seed: of subsets and choices.
    """

    decision: Decision
    recipes: Mapping[str, Recipe]
    design: Design
    rows: PlanRows
    lengths: np.ndarray
    heads: Heads
    train: Callable[[np.ndarray, float], Judged]
    left: Callable[[], float]
    seed: int

    def run(self, split_off: bool, tried: Sequence[str]) -> Trials:
        """Train everything; held-out rows that were part of the pool are weighed, and rows of the pool are judged, too.

        Args:
            split_off: whether they were part of it.
            tried: names of the plans to make arms of.
        """
        n_rows, epochs = len(self.lengths), self.decision.full.epochs
        trials = Trials(self.design, self.heads.rows.n_classes)
        everything = self.heads.logits("all", np.arange(n_rows), round(n_rows * epochs), self.seed)
        trials.cheap_full = self.heads.judged(everything)
        if split_off:
            rows, rare = self.heads.rows, any(fault.name == "rare_class" for fault in self.decision.faults)
            trials.weights = sound_weights(rows.held_out_labels, rehearsal.softmax(everything), rows.nearest, rare)
            probabilities, hashes = self.rows.signals["class_probabilities"], self.rows.signals["text_hash"]
            trials.unseen = self.heads.unseen(np.asarray(probabilities), np.asarray(hashes), rare, self.seed)
        fitting = [ranked.plan for ranked in self.decision.ranked if not ranked.plan.unfit]
        for plan in fitting:
            self._rehearse(trials, plan)
        self._subsets(trials, epochs)
        for plan in (plan for plan in fitting if plan.name in tried):
            if trials.at_chance:
                trials.why_not[plan.name] = f"the model had not left chance after {trials.at_chance:,} rows"
            else:
                self._arm(trials, plan)
        return trials

    def _subsets(self, trials: Trials, epochs: float) -> None:
        """The model, and a head, on nested random subsets, the largest first.

        A model that has not left chance after that one would not after fewer rows, nor would a plan's arm of the same
        cost. All that the limit leaves goes into a single larger subset then.
        """
        nested = np.random.default_rng([self.seed, 1]).permutation(len(self.lengths))
        chance = 1 - 1 / trials.n_classes

        def train(size: int) -> Judged:
            judged = self.train(np.sort(nested[:size]), size * epochs)
            made.append((size, judged))
            return judged

        made: list[tuple[int, Judged]] = []
        *smaller, largest = self.design.sizes
        if at_chance(train(largest).wrong, chance):
            larger = min(int(CERTAIN * self.left() / epochs), len(self.lengths))
            if larger >= WORTH * largest:
                trials.at_chance = largest
                smaller = []
                train(larger)
        for size in smaller:
            train(size)
        for place, (size, judged) in enumerate(sorted(made, key=lambda one: one[0])):
            some = np.sort(nested[:size])
            trials.subsets.append(some)
            trials.curve.append(judged)
            trials.cheap.append(self.heads.judge(f"subset-{size}", some, round(size * epochs), self.seed + 1 + place))

    def _rehearse(self, trials: Trials, plan: Plan) -> None:
        """A head on the rows of a plan at its full size."""
        if plan.name in self.recipes:
            recipe, keep = self.recipes[plan.name], plan.keep_rows
            rows = self.rows.left(recipe) if keep is None else self.rows.chosen(recipe, keep, self.seed)
            passes = max(1, round(plan.rows * plan.epochs))
            seed = self.seed + 100
            trials.rehearsed[plan.name] = rows, passes, self.heads.judge(plan.name, rows, passes, seed)
            if trials.unseen is not None:
                trials.on_unseen[plan.name] = self.heads.errors_unseen(plan.name, rows, passes, trials.unseen, seed)

    def _arm(self, trials: Trials, plan: Plan) -> None:
        """The model on rows of a plan at the cost of the largest subset, less its part for choosing."""
        full, recipe = self.decision.full, self.recipes[plan.name]
        spent = plan.cost.training.over(full.cost, full.unit) / self.decision.share
        # for fewer epochs on more rows, as at the full size
        epochs = max(1.0, plan.epochs) if recipe.selector is None else full.epochs
        tokens = float(self.lengths[trials.subsets[-1]].mean())
        passes, rows = self.design.passes * min(1.0, spent), np.zeros(0, dtype=np.int64)
        for _ in range(2):  # its rows may be longer than random ones
            rows = self.rows.chosen(recipe, max(1, int(passes / epochs)), self.seed + 1)
            passes = self.design.passes * min(1.0, spent) * tokens / float(self.lengths[rows].mean())
        passes = min(passes, self.left() * float(self.lengths.mean()) / float(self.lengths[rows].mean()))
        if passes < LEAST_PASSES * self.design.passes * min(1.0, spent):
            trials.why_not[plan.name] = "the limit leaves too little for it"
            return
        trials.arms[plan.name] = rows, round(passes), self.train(rows, passes)
