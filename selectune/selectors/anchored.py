"""Interval rules that read the scores of a target: rows that are known to be good."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from selectune.common.errors import DataError
from selectune.selectors.base import Budget, Selector, cumulative_sizes
from selectune.selectors.interval_rules import Densest, IntervalRule
from selectune.selectors.ordering import rank_quantiles, rounded

NO_TARGET = "{name} needs the scores of a target, rows that are known to be good; name data.target."


@dataclass(frozen=True)
class Anchored(IntervalRule):
    """The band around the target's median that holds the target's central quantiles, as far as the budget reaches.

    A pool with much junk has its mode where the junk is; the target's rows say where good rows lie. With u the rank
    quantile of a row's score among the target's, the budget is filled with the smallest |u - 1/2|, so that the band
    grows from the target's median by the same share of the target below and above. Of equal ones, such as rows beyond
    all of the target's, those come first whose place in the sorted pool is nearest to where u passes 1/2, then the
    lowest. So a smaller budget keeps a part of a larger one's band.
    """

    needs_target = True

    def run(self, ordered: np.ndarray, sizes: np.ndarray, budget: Budget) -> tuple[int, int]:
        """Refuse, as there is no target.

        Raises:
            DataError: always.
        """
        raise DataError(NO_TARGET.format(name="Anchored"), option="data.target")

    def run_by_target(
        self, ordered: np.ndarray, sizes: np.ndarray, budget: Budget, target_scores: np.ndarray
    ) -> tuple[int, int]:
        """The run that grows from the target's median."""
        quantiles = rounded(rank_quantiles(target_scores, 2 * ordered))
        off_median = rounded(np.abs(quantiles - 0.5))
        # Among rows of one distance from 1/2 the nearest to the place where u passes it, so that the run has no gap.
        middle = (np.searchsorted(quantiles, 0.5, side="left") + np.searchsorted(quantiles, 0.5, side="right")) / 2
        distance = np.abs(np.arange(len(ordered)) + 0.5 - middle)
        order = np.lexsort((distance, off_median))
        filled, needed = cumulative_sizes(sizes[order], budget)
        taken = order[: np.searchsorted(filled, needed, side="left")]
        return int(taken.min()), int(taken.max()) + 1


class Checked(IntervalRule):
    """The band of another rule, with a warning where it holds few of the target's rows.

    The target's rows have to be scored for it, which the rule alone does not need: so it is asked for by name, or by
    ``data.trusted``, see `checked_by_target`.

    Args:
        rule: places the band.
    """

    needs_target = True

    def __init__(self, rule: IntervalRule = Densest()) -> None:  # noqa: B008
        self.rule = rule
        self.sets_own_size = rule.sets_own_size  # type: ignore[misc]

    def __repr__(self) -> str:
        return f"Checked({self.rule})"

    def run(self, ordered: np.ndarray, sizes: np.ndarray, budget: Budget) -> tuple[int, int]:
        """The other rule's."""
        return self.rule.run(ordered, sizes, budget)

    def run_by_target(
        self, ordered: np.ndarray, sizes: np.ndarray, budget: Budget, target_scores: np.ndarray
    ) -> tuple[int, int]:
        """The other rule's."""
        return self.rule.run_by_target(ordered, sizes, budget, target_scores)


def checked_by_target(selector: Selector) -> Selector:
    """The selector, and those inside it, with every `Densest` band `Checked`, as there are rows known to be good."""
    made: Any = copy(selector)
    if type(getattr(made, "rule", None)) is Densest:
        made.rule = Checked(made.rule)
    for inner in ("prefilter", "selector", "within"):
        if isinstance(part := getattr(made, inner, None), Selector):
            setattr(made, inner, checked_by_target(part))
    return made
