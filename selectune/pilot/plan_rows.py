"""The rows that plans train on, chosen by signals that are there already."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from selectune import selectors
from selectune.data.splits import other_rows
from selectune.pilot.costs import made_of
from selectune.pilot.recipes import Recipe
from selectune.selectors.base import Budget, Selector, Signals
from selectune.selectors.checking import checked_select


@dataclass
class PlanRows:
    """Chooses rows of a pool by the recipes of plans, as a fit would.

    Args:
        signals: of the whole pool; those that the recipes read.
        named: row ids that each finding of a diagnosis names.
        seed: of filters.
    """

    signals: Signals
    named: Mapping[str, np.ndarray]
    seed: int
    _left: dict[str, np.ndarray] = field(default_factory=dict, init=False)

    def left(self, recipe: Recipe) -> np.ndarray:
        """Row ids that the filters of a recipe leave, ascending."""
        if recipe.name not in self._left:
            dropped = [self.named[name] for name in recipe.dropped if name in self.named]
            rows = other_rows(self.signals.n_rows, *dropped)
            for spec in recipe.filters:
                rows = rows[self._picked(made_of(spec), rows, Budget(), self.seed)]
            self._left[recipe.name] = rows
        return self._left[recipe.name]

    def chosen(self, recipe: Recipe, n_rows: int, seed: int) -> np.ndarray:
        """So many row ids of a recipe, ascending; fewer where its filters leave fewer.

        Args:
            recipe: of the plan; one without a selector takes random rows of all.
            n_rows: at least 1.
            seed: of the choice.
        """
        left = self.left(recipe)
        selector = selectors.Random() if recipe.selector is None else made_of(recipe.selector)
        return left[self._picked(selector, left, Budget(rows=min(n_rows, len(left))), seed)]

    def _picked(self, selector: Selector, rows: np.ndarray, budget: Budget, seed: int) -> np.ndarray:
        """Positions in some rows that a selector picks."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # such as a class that is exhausted, which the fit warns of
            return checked_select(selector, self.signals.take(rows), None, budget, seed).rows


def needed(recipe: Recipe) -> frozenset[str]:
    """Names of the signals that a recipe reads, of the pool and of a target alike."""
    specs = [*recipe.filters, *([] if recipe.selector is None else [recipe.selector])]
    made = [made_of(spec) for spec in specs]
    return frozenset().union(*(one.requires | one.requires_target for one in made))


def compares(recipe: Recipe) -> bool:
    """Whether a recipe compares the pool with a target."""
    specs = [*recipe.filters, *([] if recipe.selector is None else [recipe.selector])]
    return any(made_of(spec).requires_target for spec in specs)
