"""The rule that tries bands: several of one size, and a proxy run on each that says which is kept."""

# No postponed annotations here: jsonargparse cannot evaluate those of a dataclass that is named by class path, and
# would hand `proxy` over as a dict.
from dataclasses import dataclass

import numpy as np

from selectune.common import checks
from selectune.common.errors import BudgetError, UserError
from selectune.selectors.base import Budget
from selectune.selectors.interval_rules import IntervalRule, cumulative_sizes


@dataclass(frozen=True)
class Proxy:
    """A small training run that stands for the whole one.

    Args:
        max_epochs: passes over the band.
        max_steps: optimizer steps, after which it ends earlier; -1 for no bound.
        learning_rate: the highest that the schedule reaches; default that of the whole run.
    """

    max_epochs: int = 1
    max_steps: int = -1
    learning_rate: float | None = None

    def __post_init__(self) -> None:
        checks.at_least("rule.proxy.max_epochs", self.max_epochs, 1)
        checks.limit("rule.proxy.max_steps", self.max_steps)
        checks.positive("rule.proxy.learning_rate", self.learning_rate)


@dataclass(frozen=True)
class Placed(IntervalRule):
    """The band at a place between the lowest and the highest that meet the budget.

    Of the sorted rows, the shortest run that reaches the budget from the start round(position s), where s is the last
    start from which the budget can still be reached; N - m for m of N rows. So 0 keeps the lowest scores, 1 the highest
    and 0.5 those in the middle.

    Args:
        position: in [0, 1].

    Raises:
        BudgetError: a position outside [0, 1].
    """

    position: float

    def __post_init__(self) -> None:
        if not 0 <= self.position <= 1:
            raise BudgetError(f"{self} is no place of a band; give 0 <= position <= 1.")

    def run(self, ordered: np.ndarray, sizes: np.ndarray, budget: Budget) -> tuple[int, int]:
        """The run that begins at the position."""
        filled, needed = cumulative_sizes(sizes, budget)
        last = int(np.searchsorted(filled, filled[-1] - needed, side="right")) - 1
        start = int(self.position * last + 0.5)
        return start, int(np.searchsorted(filled, filled[start] + needed, side="left"))


@dataclass(frozen=True)
class Search(IntervalRule):
    """Of several bands of one size, the one whose proxy run scores best on ``dev``.

    The paper (EUDS, Li et al. 2025) says that the interval must be tuned for each task; this is how it can be tuned
    here. The bands stand at even places from the lowest to the highest scores and overlap where ``bands`` times the
    budget exceeds the pool. The proxy runs are charged to selection. They train models, which no rule can: `fit` and
    `select` run them, and put the `candidates` in place of this rule.

    Args:
        bands: how many to try, at least 2.
        proxy: the run on each.

    Raises:
        UserError: fewer than 2 bands.
    """

    bands: int = 5
    proxy: Proxy = Proxy()

    def __post_init__(self) -> None:
        checks.at_least("Search's bands", self.bands, 2)

    def candidates(self) -> list[Placed]:
        """The rules to choose from, at the positions i / (bands - 1)."""
        return [Placed(i / (self.bands - 1)) for i in range(self.bands)]

    def run(self, ordered: np.ndarray, sizes: np.ndarray, budget: Budget) -> tuple[int, int]:
        """Refuse, as a rule has no proxy runs.

        Raises:
            UserError: always.
        """
        raise UserError(
            "Search needs a proxy run for each band, so it goes through `fit` or `select`; a rule alone cannot train, "
            "so use one of its candidates() or another rule here."
        )
