"""Interval rules: they place the band of scores that is kept.

The paper (EUDS, Li et al. 2025) keeps the samples whose entropy lies inside an optimal interval; how the interval is
placed is this project's definition. All rules keep a run of neighbours in the order of the rows by (score rounded to 9
decimals, tie key, row id).
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from selectune.common.errors import BadRowsError, BudgetError, ConcentratedScores, DataError
from selectune.selectors.base import Budget, check_budget, cumulative_sizes
from selectune.selectors.blocks import blocks
from selectune.selectors.ordering import ascending, places_of, ranked, rounded, smallest

NARROW = 1e-6
MANY_TIES = 0.1
TieKeys = Callable[[np.ndarray | slice], np.ndarray]


@dataclass(frozen=True)
class Band:
    """The rows that a rule keeps.

    Args:
        rows: row ids, int64, shape (n_kept,), ascending.
        low: the lowest score among them.
        high: the highest.
        start: place of the first of them among all scores in their order.
        stop: one more than the place of the last.
    """

    rows: np.ndarray
    low: float
    high: float
    start: int
    stop: int


class IntervalRule(ABC):
    """Places a band of a score; a subclass defines in `run` where it begins and ends."""

    sets_own_size: ClassVar[bool] = False
    """Whether the rule fixes its own bounds and so takes no budget."""

    @property
    def needs_target(self) -> bool:
        """Whether `band` reads the scores of a target too."""
        return False

    @abstractmethod
    def run(self, ordered: np.ndarray, sizes: np.ndarray, budget: Budget) -> tuple[int, int]:
        """The band as positions ``[start, stop)`` of the sorted rows.

        Args:
            ordered: the scores, rounded and ascending, shape (n_rows,).
            sizes: of the rows in the same order, in tokens where the budget is, and then ties are in the order of (tie
                key, row id); else 1 each. Shape (n_rows,).
            budget: between 1 and the whole pool, in rows or tokens; empty for a rule that sets its own size.
        """

    def run_by_target(
        self, ordered: np.ndarray, sizes: np.ndarray, budget: Budget, target_scores: np.ndarray
    ) -> tuple[int, int]:
        """The same, where the scores of a target are known; `run`, unless a rule reads them."""
        return self.run(ordered, sizes, budget)

    def band(
        self,
        scores: np.ndarray,
        budget: Budget,
        tie_keys: TieKeys,
        n_tokens: np.ndarray,
        target_scores: np.ndarray | None = None,
        in_order: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> Band:
        """The band that the rule keeps.

        Args:
            scores: one a row, in any unit, shape (n_rows,).
            budget: rows are met exactly; tokens are reached by the last row of the run and not before.
            tie_keys: gives those of some rows, uint64, such as ``partial(pool.tie_keys, seed)``.
            n_tokens: tokens of each row, int64, shape (n_rows,).
            target_scores: the same score of the target's rows, finite, shape (n_target,), where `needs_target`.
            in_order: ``by_score(scores, tie_keys, budget)`` of rounded scores, where it is known. Rows of one score may
                change their places in it, so it serves one call.

        Raises:
            BudgetError: the budget is missing, over the pool, or given to a rule that sets its own size; or no score
                lies inside the rule's bounds.
            DataError: scores that are not finite.
        """
        ordered, order = by_score(finite(scores), tie_keys, budget) if in_order is None else in_order
        if not self.sets_own_size:
            check_budget(budget, n_tokens, str(self))
        elif budget.is_set:
            raise BudgetError(
                f"{self} fixes its own bounds and takes no budget; "
                "leave out data.keep, data.keep_rows and data.keep_tokens, or choose another rule.",
                option="data.keep",
            )
        sizes = np.broadcast_to(1, len(order)) if budget.tokens is None else np.asarray(n_tokens)[order]
        if target_scores is None:
            start, stop = self.run(ordered, sizes, budget)
        else:
            start, stop = self.run_by_target(ordered, sizes, budget, rounded(target_scores))
        start, stop = int(start), int(stop)  # a rule of one's own may give NumPy's, which are no JSON
        if start >= stop:
            raise BudgetError(
                f"{self} keeps no row: the {len(ordered)} scores lie between {ordered[0]:.9g} and {ordered[-1]:.9g}; "
                "choose bounds that hold some of them."
            )
        if budget.tokens is None:
            _order_ties(order, ordered, (start, stop), tie_keys)
        rows = np.sort(order[start:stop]).astype(np.int64)
        return Band(rows, float(ordered[start]), float(ordered[stop - 1]), start, stop)


@dataclass(frozen=True)
class Densest(IntervalRule):
    """The shortest interval that holds the budget, i.e. the highest-density interval.

    For each start, the shortest run that reaches the budget; of these the narrowest in score. Of equally narrow ones
    (to 1e-9), the one whose midpoint (low + high) / 2 is nearest the median score, then the lowest.
    """

    def run(self, ordered: np.ndarray, sizes: np.ndarray, budget: Budget) -> tuple[int, int]:
        """The narrowest of the shortest runs."""
        if budget.tokens is None and budget.rows is not None:
            stops: Any = range(budget.rows, len(ordered) + 1)
            high = ordered[budget.rows - 1 :]
        else:
            filled, needed = cumulative_sizes(sizes, budget)
            stops = np.searchsorted(filled, filled[:-1] + needed, side="left")
            stops = stops[stops <= len(ordered)]  # later starts cannot reach the budget
            high = ordered[stops - 1]
        narrowest = min(float((high[block] - ordered[block]).min()) for block in blocks(len(stops)))
        twice_median = ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]
        best = np.inf, len(stops)  # distance from the median, and start
        for block in blocks(len(stops)):
            # Scores stand on a grid of 1e-9, so half a step more keeps float noise out of "equal to 1e-9".
            starts = block.start + np.flatnonzero(high[block] - ordered[block] <= narrowest + 1.5e-9)
            if len(starts):
                off_centre = rounded(np.abs(ordered[starts] + high[starts] - twice_median))
                best = min(best, (float(off_centre.min()), int(starts[off_centre.argmin()])))
        return best[1], int(stops[best[1]])


@dataclass(frozen=True)
class Central(IntervalRule):
    """The band around the median: of N sorted rows, m in the middle.

    It begins at position floor((N - m) / 2), so as many rows are left out below as above, or one fewer below. These
    bands are nested: they start from the median row and grow by one row above or below in turn. A budget in tokens
    takes the smallest of them that reaches it.
    """

    def run(self, ordered: np.ndarray, sizes: np.ndarray, budget: Budget) -> tuple[int, int]:
        """The smallest central run that reaches the budget."""
        filled, needed = cumulative_sizes(sizes, budget)
        lengths = np.arange(1, len(ordered) + 1)
        starts = (len(ordered) - lengths) // 2
        smallest = int(np.searchsorted(filled[starts + lengths] - filled[starts], needed, side="left"))
        return int(starts[smallest]), int(starts[smallest] + lengths[smallest])


@dataclass(frozen=True)
class Quantile(IntervalRule):
    """The ranks between two quantiles: of N sorted rows, the positions from round(low N) up to round(high N).

    So the row of rank r is kept where low < (r - 1/2) / N <= high; adjoining bands share no row and leave none out, and
    ``Quantile(0, q)`` keeps as many rows as ``keep: q``. Takes no budget.

    Args:
        low: where the band begins, 0 <= low < high.
        high: where it ends, high <= 1.

    Raises:
        BudgetError: bounds that are not 0 <= low < high <= 1.
    """

    low: float
    high: float
    sets_own_size: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 1:
            raise BudgetError(f"{self} is no band of ranks; give 0 <= low < high <= 1.")

    def run(self, ordered: np.ndarray, sizes: np.ndarray, budget: Budget) -> tuple[int, int]:
        """The positions between the two quantiles."""
        return int(len(ordered) * self.low + 0.5), int(len(ordered) * self.high + 0.5)


@dataclass(frozen=True)
class Absolute(IntervalRule):
    """All rows with low <= score <= high, compared after rounding to 9 decimals. Takes no budget.

    Args:
        low: in the score's unit (nats for an entropy); ``-.inf`` for no bound.
        high: the same; ``.inf`` for no bound.

    Raises:
        BudgetError: bounds that are not low <= high.
    """

    low: float
    high: float
    sets_own_size: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise BudgetError(f"{self} is no interval; give low <= high.")

    def run(self, ordered: np.ndarray, sizes: np.ndarray, budget: Budget) -> tuple[int, int]:
        """The positions of the scores inside the bounds."""
        low, high = rounded(np.array([self.low, self.high]))
        return int(np.searchsorted(ordered, low, side="left")), int(np.searchsorted(ordered, high, side="right"))


def by_score(scores: np.ndarray, tie_keys: TieKeys, budget: Budget) -> tuple[np.ndarray, np.ndarray]:
    """Rounded scores in their order, and the rows that they are of, both of shape (n_rows,).

    Where tokens are counted, rows of one score are in the order of (tie key, row id); elsewhere of row ids, as a band
    of so many rows needs the keys only where it is cut.
    """
    if budget.tokens is None:
        return ascending(scores)
    order = ranked(scores, tie_keys(slice(None)))
    return scores[order], order


def _order_ties(order: np.ndarray, ordered: np.ndarray, cuts: tuple[int, int], tie_keys: TieKeys) -> None:
    """Part the rows of one score by their keys, where a band begins or ends among them; in place."""
    before = 0
    for cut in cuts:
        if 0 < cut < len(ordered) and ordered[cut - 1] == ordered[cut]:
            first, last = np.maximum(before, places_of(ordered, ordered[cut]))  # both cuts may be among the same rows
            tied = order[first:last]  # by row id
            inside = smallest(tie_keys(tied), cut - first)
            order[first:last] = np.concatenate([tied[inside], np.delete(tied, inside)])
            before = cut


def finite(scores: np.ndarray, name: str = "the score") -> np.ndarray:
    """Scores rounded to 9 decimals, float64, shape (n_rows,); a DataError unless they are one finite number a row."""
    values = rounded(scores)
    if values.ndim != 1 or len(values) == 0:
        raise DataError(f"{name} has shape {values.shape}, but a band needs one number a row and at least one row.")
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise BadRowsError(
            f"{len(bad)} of {len(values)} values of {name} are NaN or infinite (rows {{rows}}); "
            "score these rows again, or leave them out of the pool.",
            bad.tolist(),
        )
    return values


def concentration(ordered: np.ndarray, band: Band, budget: Budget, name: str) -> dict[str, Any]:
    """Share of a band that ties decide, for the manifest; warns where it is large.

    The pool's scores are rounded and ascending. A row ties at a bound when its score is the band's lowest or highest
    and another row of the pool has the same.

    Returns:
        ``width`` (high - low), ``tied_rows`` (kept rows that tie at a bound), ``tied_share`` (of the rows kept) and
        ``tied_rows_left_out`` (rows of the same scores that were not kept).

    Warns:
        ConcentratedScores: the band is narrower than 1e-6, or over a tenth of it ties at a bound. Where nearly all that
            tie are kept, the selection is not random, but made of few values, and the message says so. Not when the
            whole pool is kept, nor for ties that a rule with bounds of its own keeps entirely.
    """
    tied = tied_in_pool = 0
    for first, stop in {places_of(ordered, bound) for bound in (band.low, band.high)}:
        if stop - first > 1:
            tied += min(stop, band.stop) - max(first, band.start)
            tied_in_pool += stop - first
    width, share, left_out = band.high - band.low, tied / len(band.rows), tied_in_pool - tied
    reason, effect, few_values = "", "selection by it is close to random", False
    if width < NARROW and len(band.rows) > 1:
        reason = f"the band kept is {width:.1e} wide"
    elif share > MANY_TIES and (budget.is_set or left_out):
        reason = f"{share:.0%} of the rows kept tie at a bound of the band, and {left_out} equal rows are left out"
        if left_out < MANY_TIES * tied:
            effect, few_values = "a few values of it decide what is kept", True
    if reason and len(band.rows) < len(ordered):
        message = (
            f"{name} is concentrated ({reason}), so {effect}; use another entropy or estimator, or several (IGSE)."
        )
        warnings.warn(ConcentratedScores(message, close_to_random=not few_values), stacklevel=3)
    return {"width": width, "tied_rows": tied, "tied_share": share, "tied_rows_left_out": left_out}
