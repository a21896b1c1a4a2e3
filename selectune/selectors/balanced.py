"""Rows by class: as many of each, or in given shares."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from selectune.common import checks
from selectune.common.errors import UserError
from selectune.selectors.base import Budget, Picked, Selector, Signals, check_budget
from selectune.selectors.baselines import Random, classes_of
from selectune.selectors.checking import checked_select

PRIOR = "Balanced's prior"


class Balanced(Selector):
    """Keep classes in the shares that they will have where the model is used, as far as their rows reach.

    A class that has fewer rows than its share of the budget is kept whole, and the others make up for it in proportion
    to their shares. Within a class another selector selects, by the signals of its rows alone. A budget in tokens is
    shared out in tokens, and classes are filled one after the other up to their shares' sum.

    Args:
        prior: ``balanced``, even over the classes that there are; ``train``, as the pool has them; or the share of each
            class by its number, scaled to sum 1. A class of share 0 only makes up for others. Default the signal
            ``class_prior``, which ``data.prior`` states; ``balanced`` where there is none.
        within: selects inside each class; default random rows.

    Raises:
        UserError: shares that are none; a selector that sets its own size.

    Warns:
        UserWarning: a class has fewer rows than its share.
    """

    def __init__(
        self, prior: Literal["balanced", "train"] | Sequence[float] | None = None, within: Selector | None = None
    ) -> None:
        if isinstance(prior, str):
            checks.one_of(PRIOR, prior, ("balanced", "train"))
        elif prior is not None and (
            not len(prior) or not np.isfinite(prior).all() or min(prior) < 0 or sum(prior) <= 0
        ):
            raise UserError(f"{PRIOR} {list(prior)} must be finite shares of at least 0, not all 0.", option=PRIOR)
        if within is not None and within.sets_own_size:
            name = type(within).__name__
            raise UserError(
                f"Balanced gives {name} a budget for each class, but it fixes its own bounds; put it before Balanced "
                "in a Chain.",
                option="Balanced's within",
            )
        self.prior, self.within = prior if prior is None or isinstance(prior, str) else list(prior), within

    @property
    def requires(self) -> frozenset[str]:
        """The signals that the selector within reads."""
        return frozenset() if self.within is None else self.within.requires

    @property
    def requires_target(self) -> frozenset[str]:
        """The signals of the target that the selector within reads."""
        return frozenset() if self.within is None else self.within.requires_target

    @property
    def leaves_unscored(self) -> bool:
        """True: rows of a class that gets no row have no score."""
        return True

    def select(self, pool: Signals, target: Signals | None, budget: Budget, seed: int) -> Picked:
        """Keep each class's share; ``scores`` are those of the selector within, which compare rows of one class.

        Raises:
            DataError: rows without classes.
            UserError: as many shares as classes are needed.
        """
        check_budget(budget, pool["n_tokens"], "Balanced")
        labels, within = classes_of(pool, "Balanced"), self.within or Random()
        sizes = np.ones(pool.n_rows, dtype=np.int64) if budget.tokens is None else pool["n_tokens"]
        held = np.bincount(labels, weights=sizes).astype(np.int64)
        asked = budget.tokens or budget.rows or 0
        shares = self._shares(labels, pool.get("class_prior"))
        quotas = quotas_of(shares, held, asked)
        exhausted = np.flatnonzero((held < np.floor(shares * asked)) & (quotas == held))
        if len(exhausted) and asked < held.sum():
            warnings.warn(
                f"Balanced keeps all rows of {len(exhausted)} of {len(held)} classes (numbers "
                f"{', '.join(map(str, exhausted[:5]))}), which have fewer than their share of the budget; the others "
                "make up for them.",
                UserWarning,
                stacklevel=2,
            )

        picked, scores = np.zeros(pool.n_rows, dtype=bool), np.full(pool.n_rows, np.nan)
        inside: dict[str, Any] = {}
        flops: float | None = 0.0
        methods: set[str] = set()
        for number in np.flatnonzero(quotas):
            # up to the sum of the shares so far, so that what one class overshoots in tokens the next one lacks
            missing = int(quotas[: number + 1].sum() - sizes[picked].sum())
            if missing <= 0:
                continue
            members = np.flatnonzero(labels == number)
            part = Budget(tokens=missing) if budget.tokens is not None else Budget(rows=missing)
            of_class = checked_select(within, pool.take(members), target, part, seed)
            picked[members[of_class.rows]] = True
            scores[members] = of_class.scores
            inside[str(number)] = of_class.diagnostics
            flops = None if flops is None or of_class.flops is None else flops + of_class.flops
            methods.add(of_class.flops_method)
        rows = np.flatnonzero(picked)
        diagnostics: dict[str, Any] = {
            "shares": np.round(shares, 6).tolist(),
            "rows_of_class": np.bincount(labels[rows], minlength=len(held)).tolist(),
            "exhausted_classes": exhausted.tolist(),
        }
        if any(inside.values()):
            diagnostics["within"] = inside
        return Picked(rows, scores, diagnostics, flops, "; ".join(sorted(methods - {""})))

    def _shares(self, labels: np.ndarray, stated: np.ndarray | None) -> np.ndarray:
        """Share of each class by number, sum 1; ``stated`` is the share of each row's class."""
        counts = np.bincount(labels)
        if self.prior is None and stated is not None:
            shares = np.zeros(len(counts))
            shares[labels] = stated
            return shares / max(shares.sum(), 1e-12)
        if self.prior is None or isinstance(self.prior, str):
            shares = counts.astype(np.float64) if self.prior == "train" else (counts > 0).astype(np.float64)
            return shares / shares.sum()
        if len(self.prior) < len(counts):
            raise UserError(
                f"{PRIOR} has {len(self.prior)} shares, but the rows are of {len(counts)} classes; give one each.",
                option=PRIOR,
            )
        shares = np.array(self.prior[: len(counts)], dtype=np.float64)
        return shares / max(shares.sum(), 1e-12)


def quotas_of(shares: np.ndarray, held: np.ndarray, asked: int) -> np.ndarray:
    """Rows or tokens of a budget that each class gets, int64, shape (n_classes,), sum ``asked``.

    In proportion to the shares, at most what a class holds; what it lacks goes to the others in proportion to theirs,
    and to classes of share 0 last. Rounded by largest remainders, of equal ones the first class.

    Args:
        shares: sum 1, shape (n_classes,).
        held: rows or tokens of each class, shape (n_classes,).
        asked: at most the sum of what they hold.
    """
    weights = np.maximum(shares, 1e-12)
    full = held == 0
    while True:
        rest = asked - held[full].sum()
        wanted = np.where(full, held, rest * weights / max(weights[~full].sum(), 1e-300))
        over = ~full & (wanted > held + 1e-9)
        if not over.any():
            break
        full |= over
    quotas = np.floor(wanted + 1e-9).astype(np.int64)
    remainders = np.where(quotas < held, wanted - quotas, -1)
    quotas[np.argsort(-np.round(remainders, 9), kind="stable")[: asked - quotas.sum()]] += 1
    return quotas
