"""Selectors of selectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from selectune.common import checks
from selectune.common.errors import BudgetError, UserError
from selectune.selectors.base import ALWAYS, Budget, Picked, Selector, Signals
from selectune.selectors.checking import checked_select
from selectune.selectors.interval_rules import filled_by


class Chain(Selector):
    """Let one selector narrow the pool for the next, which meets the budget among what is left.

    The budget is that of the whole pool: ``keep: 0.16`` is 16 % of all rows, and not of those left. Where a run chains,
    the second selector's signals are computed for the rows left alone, so a cheap prefilter spares forward passes; and
    signals that compare rows, such as ``semantic_entropy``, compare those left.

    Args:
        prefilter: narrows the pool.
        selector: chooses among the rows left; may be a chain too.
        prefilter_keep: share of the rows that the prefilter leaves, over 0 and at most 1; left out where the prefilter
            fixes its own bounds, as `Deduplicate` does.

    Raises:
        UserError: a ``prefilter_keep`` that is missing, or that the prefilter does not take.
        BudgetError: a ``prefilter_keep`` that is no share.
    """

    def __init__(self, prefilter: Selector, selector: Selector, prefilter_keep: float | None = None) -> None:
        name = type(prefilter).__name__
        if prefilter.sets_own_size and prefilter_keep is not None:
            raise UserError(f"{name} fixes its own bounds, so Chain takes no prefilter_keep; leave it out.")
        if not prefilter.sets_own_size and prefilter_keep is None:
            raise UserError(f"Chain must be told how many rows {name} leaves; give prefilter_keep, such as 0.5.")
        checks.share("Chain's prefilter_keep", prefilter_keep, BudgetError)
        self.prefilter, self.selector, self.prefilter_keep = prefilter, selector, prefilter_keep

    @property
    def requires(self) -> frozenset[str]:
        """What either reads."""
        return self.prefilter.requires | self.selector.requires

    @property
    def requires_target(self) -> frozenset[str]:
        """What either reads."""
        return self.prefilter.requires_target | self.selector.requires_target

    @property
    def sets_own_size(self) -> bool:
        """Whether the last selector does."""
        return self.selector.sets_own_size

    @property
    def leaves_unscored(self) -> bool:
        """Those that the prefilter drops."""
        return True

    def select(self, pool: Signals, target: Signals | None, budget: Budget, seed: int) -> Picked:
        """Keep what the selector picks of what the prefilter leaves; see `join`.

        Raises:
            BudgetError: a budget over what the prefilter leaves; and whatever the two raise.
        """
        first = checked_select(self.prefilter, pool, target, self.prefilter_budget(pool.n_rows), seed)
        names = self.selector.requires | (ALWAYS & set(pool))
        left = Signals({name: pool[name][first.rows] for name in names})
        self.check_budget(budget, left["n_tokens"])
        second = checked_select(self.selector, left, target, budget, seed)
        return self.join(first, second, pool.n_rows)

    def prefilter_budget(self, n_rows: int) -> Budget:
        """How much the prefilter leaves of a pool of so many rows; empty where it fixes its own bounds."""
        return Budget.of(n_rows, 0, keep=self.prefilter_keep)

    def check_budget(self, budget: Budget, n_tokens: np.ndarray) -> None:
        """Refuse a budget over what the prefilter left.

        Args:
            budget: of the whole chain.
            n_tokens: of the rows left, shape (n_left,).

        Raises:
            BudgetError: as above.
        """
        filled, asked = filled_by(n_tokens, budget)
        if asked > filled[-1]:
            unit, name = "rows" if budget.tokens is None else "tokens", type(self.prefilter).__name__
            raise BudgetError(
                f"The budget is {asked} {unit}, but {name} leaves {filled[-1]} of the pool; ask for fewer, or let it "
                "leave more (prefilter_keep, or its bounds)."
            )

    def join(self, first: Picked, second: Picked, n_rows: int) -> Picked:
        """One answer of two.

        Args:
            first: what the prefilter picked of the pool.
            second: what the selector picked of the rows left; its row ids are positions in ``first.rows``.
            n_rows: of the pool.

        Returns:
            Rows of the pool; the second's ``scores``, NaN for rows that the prefilter dropped, shape (n_rows,); the
            diagnostics and the FLOPs of both.
        """
        scores = np.full(n_rows, np.nan)
        scores[first.rows] = second.scores
        told: dict[str, Any] = {
            "prefilter": {"rows": len(first.rows), **first.diagnostics},
            "selector": second.diagnostics,
        }
        known = [picked.flops for picked in (first, second) if picked.flops is not None]
        methods = "; ".join(method for method in (first.flops_method, second.flops_method) if method)
        flops = sum(known) if len(known) == 2 else None
        return Picked(np.sort(first.rows[second.rows]), scores, told, flops, methods)
