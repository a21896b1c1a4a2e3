"""Plans: what to train on and for how long, each solved so that choosing and training together spend a budget."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from selectune.costs.saving import Unit, percent
from selectune.pilot.recipes import NAMES, Recipe, Spec, Task
from selectune.runs.training_length import ends_after

# Rows that a filter leaves are forecast; a budget nearer than this to all of them trains on all that are left instead,
# as more than are left would be refused.
NEARLY_ALL = 0.9
# results/small_gotd_summary.csv
GOTD_MEASURED = (
    "Measured against random rows to warm up on, which cost less than half as much: \N{MINUS SIGN}0.7 "
    "[\N{MINUS SIGN}9.3, +7.9] points of micro F1 on ChemProt, \N{MINUS SIGN}2.2 [\N{MINUS SIGN}6.3, +1.9] of macro "
    "F1 on SciIE (3 seeds each)."
)


@dataclass(frozen=True)
class Amount:
    """A cost: FLOPs, None where they are unknown, and device seconds, added up over devices."""

    flops: float | None = 0.0
    device_s: float = 0.0

    def __add__(self, other: Amount) -> Amount:
        flops = None if self.flops is None or other.flops is None else self.flops + other.flops
        return Amount(flops, self.device_s + other.device_s)

    def times(self, factor: float) -> Amount:
        """So many times the cost."""
        return Amount(None if self.flops is None else self.flops * factor, self.device_s * factor)

    def over(self, other: Amount, unit: Unit) -> float:
        """The share that this is of another cost, in a unit; infinite where either is unknown."""
        part, whole = getattr(self, unit), getattr(other, unit)
        return float("inf") if part is None or not whole else float(part / whole)


@dataclass(frozen=True)
class FullTraining:
    """The training on all rows, as it is configured.

    Args:
        cost: of it, evaluations left out.
        unit: in which shares of it are counted.
        rows: of the pool.
        tokens_per_row: mean of them, as the model reads a row.
        epochs: of it.
        batches: of it in all.
        batch_size: rows of a batch, over all devices.
        accumulated: batches of a step of the optimizer.
        by_steps: whether its length is a number of steps, and so is the same for fewer rows.
    """

    cost: Amount
    unit: Unit
    rows: int
    tokens_per_row: float
    epochs: float
    batches: int
    batch_size: int
    accumulated: int = 1
    by_steps: bool = False

    def on(self, rows: int, tokens_per_row: float, epochs: float) -> Amount:
        """The cost of another training, in proportion to its tokens."""
        return self.cost.times(rows * tokens_per_row * epochs / (self.rows * self.tokens_per_row * self.epochs))


@dataclass(frozen=True)
class Choice:
    """The cost of choosing rows by a recipe and the rows that it leaves, by a forecast.

    Args:
        cost: of choosing, whatever the budget.
        rows: that can be kept at most.
        tokens_per_row: mean of the rows that will be kept.
        of_full_warm_up: of a choice of rows to warm up on, the share that its cost is of warming up on all rows.
        problem: why it cannot be made, in a sentence; empty where it can.
    """

    cost: Amount
    rows: int
    tokens_per_row: float
    of_full_warm_up: float = 0.0
    problem: str = ""


@dataclass(frozen=True)
class Cost:
    """The cost of a plan; `share` is that of selection and training together in the cost of the full training."""

    selection: Amount
    training: Amount
    share: float


@dataclass(frozen=True)
class Plan:
    """A training within a budget.

    Args:
        name: of `selectune.pilot.recipes.NAMES`.
        answers: findings of the pool that it answers.
        rows: that are trained on.
        epochs: that they are trained for.
        cost: of choosing and training.
        overlay: settings that ``fit`` takes over those of the job; empty where it does not fit into the budget.
        unfit: why it does not fit into the budget; empty where it does.
        note: what else to know of it.
        rule: its name in the table of expected gains, see `Recipe`.
    """

    name: str
    answers: tuple[str, ...]
    rows: int
    epochs: float
    cost: Cost
    overlay: dict[str, Any]
    unfit: str = ""
    note: str = ""
    rule: str = ""

    @property
    def keep_rows(self) -> int | None:
        """The number of rows that its selector keeps; None where all are trained on that its filters leave."""
        kept: int | None = self.overlay["data"]["init_args"]["keep_rows"]
        return kept

    @property
    def simplicity(self) -> tuple[int, float]:
        """The order of plans that promise the same: the simpler one first, then the cheaper one."""
        return NAMES.index(self.name), self.cost.share


def candidates(
    recipes: Mapping[str, Recipe], choices: Mapping[str, Choice], full: FullTraining, share: float, task: Task
) -> list[Plan]:
    """The plans that spend a share of the full cost, in the order of their simplicity.

    Args:
        recipes: by name, see `selectune.pilot.recipes.recipes`.
        choices: what choosing by each takes, by the same names; `fewer_epochs` needs none.
        full: the training on all rows.
        share: the budget, over 0 and at most 1.
        task: settings of the job.
    """
    plans: dict[str, Plan] = {}
    for name in (name for name in NAMES if name in recipes):
        recipe = recipes[name]
        if recipe.selector is None:
            plans[name] = _fewer_epochs(full, share, task)
        elif name == "gotd":
            plans[name] = _warmed_up(recipe, choices[name], plans["random"], task)
        else:
            plans[name] = _chosen(recipe, choices[name], full, share, task)
        plans[name] = replace(plans[name], rule=recipe.rule)
    return list(plans.values())


def _fewer_epochs(full: FullTraining, share: float, task: Task) -> Plan:
    batches = max(1, int(full.batches * share * (1 + 1e-9)))
    trainer: dict[str, Any] = {}
    if batches < full.batches:
        trainer = ends_after(batches, max(1, round(full.epochs * share)), full.accumulated)
        batches = trainer["max_steps"] * full.accumulated
    epochs = full.epochs * batches / full.batches
    training = full.on(full.rows, full.tokens_per_row, epochs)
    cost = Cost(Amount(), training, training.over(full.cost, full.unit))
    unfit = ""
    if cost.share > share * (1 + 1e-6):
        unfit = f"One step of the optimizer is {percent(cost.share)} of the full cost, which is over the budget."
    return Plan("fewer_epochs", (), full.rows, epochs, cost, {} if unfit else _overlay(task, None, trainer), unfit)


def _chosen(recipe: Recipe, choice: Choice, full: FullTraining, share: float, task: Task) -> Plan:
    """The plan of a recipe that chooses rows to train on."""
    chosen, rows, unfit = choice.cost.over(full.cost, full.unit), 0, choice.problem
    if not unfit:
        a_row = full.on(1, choice.tokens_per_row, full.epochs).over(full.cost, full.unit)
        rows = max(0, int((share - chosen) / a_row * (1 + 1e-9)))
        if not rows:
            unfit = f"Choosing alone costs {percent(chosen)} of the full training, which leaves nothing of the budget."
    if unfit:
        return Plan(recipe.name, recipe.answers, 0, 0.0, Cost(choice.cost, Amount(), chosen), {}, unfit)

    selector, epochs, trainer = recipe.choosing, full.epochs, dict[str, Any]()
    keep_rows: int | None = min(rows, choice.rows)
    if (recipe.filters or recipe.dropped) and rows >= NEARLY_ALL * choice.rows:
        # all rows that are left, for as long as the budget pays
        selector, keep_rows, epochs, rows = recipe.filtering, None, full.epochs * rows / choice.rows, choice.rows
    rows = min(rows, choice.rows)
    if epochs != full.epochs or full.by_steps:
        batches = math.ceil(rows / full.batch_size) * epochs
        trainer = ends_after(max(1, int(batches)), max(1, round(epochs)), full.accumulated)
    training = full.on(rows, choice.tokens_per_row, epochs)
    cost = Cost(choice.cost, training, (choice.cost + training).over(full.cost, full.unit))
    review = task.review if recipe.dropped else None
    return Plan(recipe.name, recipe.answers, rows, epochs, cost, _overlay(task, selector, trainer, keep_rows, review))


def _warmed_up(recipe: Recipe, choice: Choice, random: Plan, task: Task) -> Plan:
    """Random rows after a warm-up on chosen ones, of so many that the warm-up costs what it does with all of them."""
    trained = 1 - choice.of_full_warm_up
    unfit = choice.problem or random.unfit
    if not unfit and trained <= 0:
        unfit = "Choosing the rows to warm up on costs more than warming up on all of them."
    if unfit:
        return replace(random, name=recipe.name, overlay={}, unfit=unfit)
    rows = max(1, int(trained * choice.rows))
    settings = {"selector": recipe.selector, "keep": None, "keep_rows": rows, "keep_tokens": None}
    warm_up: dict[str, Any] = {"data": {"class_path": task.warm_up_data, "init_args": settings}}
    note = (
        f"The warm-up costs what it does on all of its rows: {percent(1 - trained)} is for choosing, the rest for "
        f"{rows:,} rows. {GOTD_MEASURED}"
    )
    return replace(random, name=recipe.name, overlay=random.overlay | {"warm_up": warm_up}, note=note)


def _overlay(
    task: Task,
    selector: Spec | None,
    trainer: dict[str, Any],
    keep_rows: int | None = None,
    review: str | None = None,
) -> dict[str, Any]:
    """Settings over those of the job, which may choose rows in another way."""
    data: dict[str, Any] = {
        "selector": selector,
        "keep": None,
        "keep_rows": keep_rows,
        "keep_tokens": None,
        "selection": None,
    }
    data |= {} if review is None else {"review": review}
    return {"data": {"class_path": task.data, "init_args": data}} | ({"trainer": trainer} if trainer else {})
