"""Selectors of selectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from selectune.common import checks
from selectune.common.errors import BudgetError, UserError
from selectune.selectors.base import ALWAYS, Budget, Picked, Selector, Signals, cumulative_sizes
from selectune.selectors.checking import checked_select
from selectune.selectors.filtering import Filter

PREFILTER_KEEP = "Chain's prefilter_keep"


class Chain(Selector):
    """Let one selector narrow the pool for the next, which meets the budget among what is left.

    The budget is that of the whole pool: ``keep: 0.16`` is 16 % of all rows, and not of those left. Where a run chains,
    the second selector's signals are computed for the rows left alone, so a cheap prefilter spares forward passes; and
    signals that compare rows, such as ``semantic_entropy``, compare those left.

    ``Chain(filters=[a, b], selector=c)`` is short for ``Chain(a, Chain(b, c))``.

    Args:
        prefilter: narrows the pool.
        selector: selects among the rows left; may be a chain too.
        prefilter_keep: share of the rows that the prefilter leaves, over 0 and at most 1; left out where the prefilter
            fixes its own bounds, as a `Filter` does.
        filters: drop rows one after another, in place of a prefilter.

    Raises:
        UserError: no selector; neither a prefilter nor filters, or both; a ``prefilter_keep`` that is missing, or that
            the prefilter does not take.
        BudgetError: a ``prefilter_keep`` that is no share.
    """

    def __init__(
        self,
        prefilter: Selector | None = None,
        selector: Selector | None = None,
        prefilter_keep: float | None = None,
        filters: Sequence[Filter] = (),
    ) -> None:
        if selector is None:
            raise UserError("Chain needs a selector for the rows that are left; name one.", option="Chain's selector")
        if (prefilter is None) == (not filters):
            raise UserError(
                "Chain needs something that narrows the pool: give either a prefilter, or filters.",
                option="Chain's prefilter",
            )
        first, rest = prefilter, selector
        if filters:
            first, rest = filters[0], Chain(filters=filters[1:], selector=selector) if len(filters) > 1 else selector
        assert first is not None
        name = type(first).__name__
        if first.sets_own_size and prefilter_keep is not None:
            raise UserError(
                f"{name} fixes its own bounds, so Chain takes no prefilter_keep; leave it out.", option=PREFILTER_KEEP
            )
        if not first.sets_own_size and prefilter_keep is None:
            raise UserError(
                f"Chain needs to know how many rows {name} leaves; give prefilter_keep, such as 0.5.",
                option=PREFILTER_KEEP,
            )
        checks.share(PREFILTER_KEEP, prefilter_keep, BudgetError)
        self.prefilter, self.selector, self.prefilter_keep = first, rest, prefilter_keep

    @property
    def requires(self) -> frozenset[str]:
        """The signals that either reads."""
        return self.prefilter.requires | self.selector.requires

    @property
    def requires_target(self) -> frozenset[str]:
        """The signals of the target that either reads."""
        return self.prefilter.requires_target | self.selector.requires_target

    @property
    def sets_own_size(self) -> bool:
        """Whether the last selector does."""
        return self.selector.sets_own_size

    @property
    def leaves_unscored(self) -> bool:
        """True: the rows that the prefilter drops have no score."""
        return True

    def select(self, pool: Signals, target: Signals | None, budget: Budget, seed: int) -> Picked:
        """Keep what the selector picks of what the prefilter leaves; see `link`."""
        return self.link(pool, budget, lambda part, rows, asked: checked_select(part, rows, target, asked, seed))

    def link(self, pool: Signals, budget: Budget, select: Callable[[Selector, Signals, Budget], Picked]) -> Picked:
        """Rows of a pool by the prefilter, then by the selector among those left; with diagnostics and FLOPs of both.

        The pool has at least the signals that every pool has, and ``select`` lets one of the two select from it. The
        ``scores`` are the second's, NaN for rows that the prefilter dropped.

        Raises:
            BudgetError: a budget over what the prefilter leaves; and whatever the two raise.
        """
        first = select(self.prefilter, pool, Budget.of(pool.n_rows, 0, keep=self.prefilter_keep))
        left = pool.take(first.rows, self.selector.requires | ALWAYS)
        filled, asked = cumulative_sizes(left["n_tokens"], budget)
        if asked > filled[-1]:
            unit, name = "rows" if budget.tokens is None else "tokens", type(self.prefilter).__name__
            raise BudgetError(
                f"The budget is {asked} {unit}, but {name} leaves {filled[-1]} of the pool; ask for fewer, or let it "
                "leave more (prefilter_keep, or its bounds).",
                option=PREFILTER_KEEP,
            )
        second = select(self.selector, left, budget)

        scores = np.full(pool.n_rows, np.nan)
        scores[first.rows] = second.scores
        diagnostics = {"prefilter": {"rows": len(first.rows), **first.diagnostics}, "selector": second.diagnostics}
        flops = None if first.flops is None or second.flops is None else first.flops + second.flops
        methods = "; ".join(method for method in (first.flops_method, second.flops_method) if method)
        return Picked(first.rows[second.rows], scores, diagnostics, flops, methods)
