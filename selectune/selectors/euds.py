"""EUDS: keep the rows whose entropies lie inside an interval, by one entropy or by several (IGSE).

H. Li, Y. Liu, C. Huang, "Entropy-Based Data Selection for Language Models", IEEE Access 13 (2025), arXiv 2602.17465.
From the paper: a band of entropy is kept, not a top-k; information, generative and semantic entropy combined are called
IGSE. How the interval is placed and how the three are combined are this project's definitions.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import numpy as np

from selectune.common import checks
from selectune.common.errors import BadRowsError, BudgetError, ConcentratedScores, DataError, UserError
from selectune.selectors.anchored import Checked
from selectune.selectors.base import Budget, Picked, Selector, Signals, lowest
from selectune.selectors.interval_rules import (
    NARROW,
    Band,
    Densest,
    IntervalRule,
    by_score,
    concentration,
    finite,
)
from selectune.selectors.ordering import DECIMALS, mid_ranks, midpoint_rank, rounded

FEW = 0.5  # of a band's share of the pool: a smaller share of the target is told


class EntropyInterval(Selector):
    """Keep the band of an entropy that holds the budget (EUDS, Li et al. 2025).

    Very predictable and very noisy texts teach little, so rows are kept whose entropy lies inside an interval.

    Args:
        entropy: the signal to read, e.g. ``generative_entropy``, nats, shape (n_rows,).
        rule: how the interval is placed; see `selectune.selectors.interval_rules`.

    Warns:
        ConcentratedScores: many rows tie at a bound, or the band is a point, so that it is close to random.
    """

    def __init__(self, entropy: str = "generative_entropy", rule: IntervalRule = Densest()) -> None:  # noqa: B008
        self.entropy, self.rule = entropy, rule

    @property
    def requires(self) -> frozenset[str]:
        """The entropy."""
        return frozenset({self.entropy})

    @property
    def requires_target(self) -> frozenset[str]:
        """The entropy, where the rule reads the target's."""
        return self.requires if _read(self.rule, self.entropy) else frozenset()

    @property
    def sets_own_size(self) -> bool:
        """Whether the rule does."""
        return self.rule.sets_own_size

    def select(self, pool: Signals, target: Signals | None, budget: Budget, seed: int) -> Picked:
        """Keep the rule's band; ``scores`` are the entropy."""
        scores = finite(pool[self.entropy], self.entropy)
        theirs = _of_target(target, self.rule, self.entropy)
        band, told, _ = _banded(self.rule, scores, self.entropy, pool, budget, seed, theirs)
        return Picked(band.rows, scores, {"bands": {self.entropy: told}})


class IGSE(Selector):
    """Keep the rows that lie in the bands of several entropies at once (EUDS, Li et al. 2025).

    ``combine: box``. The rule picks a band of each entropy k at the budget asked for, and c_k is the rank quantile of
    that band's midpoint: the share of rows below it plus half of those equal to it. With u_ik the rank quantile of row
    i, (mid-rank - 1/2) / N, the budget is filled with the smallest d_i = max_k |u_ik - c_k|, ties by key and row id. A
    d_i is a multiple of 1 / 2N, compared as such and told with 9 decimals. So the rows kept lie in a box of equal
    widths around the bands' centres, widened until the budget is met. A rule that sets its own size leaves nothing to
    widen: the rows inside all of its bands are kept.

    ``combine: sum``. The rule picks a band of sum_k w_k (s_ik - mean_k) / std_k, with population moments; an entropy
    that is the same for all rows adds 0.

    Args:
        entropies: the signals to combine, nats, each of shape (n_rows,).
        rule: how intervals are placed; see `selectune.selectors.interval_rules`.
        combine: ``box`` or ``sum``.
        weights: w_k of ``sum``, one for each entropy; all 1 when left out.

    Raises:
        UserError: no entropies or one named twice; weights that do not match them, or given to ``box``.

    Warns:
        ConcentratedScores: selection by one of the entropies, or by the sum, is close to random.
    """

    def __init__(
        self,
        entropies: Sequence[str] = ("information_entropy", "generative_entropy", "semantic_entropy"),
        rule: IntervalRule = Densest(),  # noqa: B008
        combine: Literal["box", "sum"] = "box",
        weights: Sequence[float] | None = None,
    ) -> None:
        if not entropies or len(set(entropies)) < len(entropies):
            raise UserError(f"IGSE needs entropies that are named once each, not {list(entropies)}.")
        checks.one_of("IGSE's combine", combine, ("box", "sum"))
        if weights is not None and combine == "box":
            raise UserError("IGSE takes weights only with combine: sum; leave them out, or combine by sum.")
        if weights is not None and (len(weights) != len(entropies) or not np.isfinite(weights).all()):
            raise UserError(f"IGSE needs {len(entropies)} finite weights, one for each entropy, not {list(weights)}.")
        self.entropies, self.rule, self.combine = tuple(entropies), rule, combine
        self.weights = tuple(weights) if weights is not None else (1.0,) * len(self.entropies)

    @property
    def requires(self) -> frozenset[str]:
        """The entropies."""
        return frozenset(self.entropies)

    @property
    def requires_target(self) -> frozenset[str]:
        """The entropies, where the rule needs the target's; a checked band has one less, see `_read`."""
        return frozenset(name for name in self.entropies if _read(self.rule, name))

    @property
    def sets_own_size(self) -> bool:
        """Whether the rule does."""
        return self.rule.sets_own_size

    def select(self, pool: Signals, target: Signals | None, budget: Budget, seed: int) -> Picked:
        """Keep the box, or the band of the sum.

        ``scores`` are d_i for a box (with a rule that sets its own size, the number of bands that leave the row out),
        and the weighted sum for a sum.
        """
        theirs = {name: _of_target(target, self.rule, name) for name in self.entropies}
        if self.combine == "sum":
            return self._sum(theirs, pool, budget, seed)
        bands: dict[str, Band] = {}
        described: dict[str, dict[str, Any]] = {}
        furthest: np.ndarray | None = None  # 2 N max_k |u_ik - c_k|, whole numbers
        for name in self.entropies:  # one after the other and in place, as pools are large
            scores = finite(pool[name], name)
            bands[name], described[name], in_order = _banded(self.rule, scores, name, pool, budget, seed, theirs[name])
            if not self.sets_own_size:
                off_centre = mid_ranks(*in_order)
                off_centre -= midpoint_rank(in_order[0], bands[name].low, bands[name].high)
                np.abs(off_centre, out=off_centre)
                furthest = off_centre if furthest is None else np.maximum(furthest, off_centre, out=furthest)
                del off_centre
            del scores, in_order  # else the next entropy's come beside them
        if furthest is None:
            outside = np.full(pool.n_rows, len(bands), dtype=np.float64)
            for band in bands.values():
                outside[band.rows] -= 1
            rows = np.flatnonzero(outside == 0)
            if len(rows) == 0:
                ranges = "; ".join(f"{name} {band.low:.9g} to {band.high:.9g}" for name, band in bands.items())
                raise BudgetError(f"No row lies inside all the bands ({ranges}); choose wider bounds.")
            return Picked(rows, outside, {"bands": described})

        distance = furthest / (2 * pool.n_rows)
        np.round(distance, DECIMALS, out=distance)
        # whole numbers are faster to part, for a budget of rows, and slower to sort, for one of tokens
        rows = lowest(furthest if budget.tokens is None else distance, pool, budget, seed)
        widest = furthest[rows].max()
        edge, edge_kept = np.count_nonzero(furthest == widest), np.count_nonzero(furthest[rows] == widest)
        diagnostics = {"bands": described, "half_width": float(distance[rows].max())}
        diagnostics |= {"edge_rows": int(edge_kept), "edge_rows_left_out": int(edge - edge_kept)}
        return Picked(rows, distance, diagnostics)

    def _sum(self, theirs: dict[str, np.ndarray | None], pool: Signals, budget: Budget, seed: int) -> Picked:
        """The rule's band of the weighted sum of entropies, those of the target standardized as the pool's are."""
        total, target_total = np.zeros(pool.n_rows), None
        for name, weight in zip(self.entropies, self.weights, strict=True):
            scores = finite(pool[name], name)
            if np.ptp(scores) < NARROW:
                warnings.warn(
                    f"{name} is concentrated (all rows lie within 1e-6), so selection by it is close to random.",
                    ConcentratedScores,
                    stacklevel=3,
                )
            ordered = np.sort(scores)  # moments are summed in sorted order, so that the order of rows does not matter
            if ordered[0] < ordered[-1]:
                mean, std = ordered.mean(), float(np.sqrt(np.mean((ordered - ordered.mean()) ** 2)))
                total += weight * ((scores - mean) / std)
                if (of_target := theirs[name]) is not None:
                    target_total = (0.0 if target_total is None else target_total) + weight * ((of_target - mean) / std)
        total = rounded(total)
        if any(of_target is None for of_target in theirs.values()):
            target_total = None
        band, told, _ = _banded(self.rule, total, "the sum of entropies", pool, budget, seed, target_total)
        return Picked(band.rows, total, {"bands": {"sum": told}})


def _read(rule: IntervalRule, name: str) -> bool:
    """Whether a rule reads an entropy of the target.

    A check leaves ``semantic_entropy`` out, which places a row among the prototypes of its own set, so that the
    target's is not on the pool's scale; a rule that places its band by the target has nothing else to place it by.
    """
    return rule.needs_target and not (isinstance(rule, Checked) and name == "semantic_entropy")


def _of_target(target: Signals | None, rule: IntervalRule, name: str) -> np.ndarray | None:
    """The entropy of the target's rows, where the rule reads it, shape (n_target,)."""
    if not _read(rule, name):
        return None
    if target is None:
        raise DataError(
            f"{type(rule).__name__} needs rows that are known to be good, to place the band by; name data.target.",
            option="data.target",
        )
    if name == "semantic_entropy":
        warnings.warn(
            "semantic_entropy places a row among the prototypes of its own set (unless it is sampled), so the target's "
            f"is not on the pool's scale; leave it out where the rule is {type(rule).__name__}.",
            UserWarning,
            stacklevel=3,
        )
    try:
        return finite(target[name], f"the target's {name}")
    except BadRowsError as error:  # whose ids are not the pool's
        raise DataError(str(error), rows=error.rows) from error


def _banded(
    rule: IntervalRule,
    scores: np.ndarray,
    name: str,
    pool: Signals,
    budget: Budget,
    seed: int,
    target_scores: np.ndarray | None,
) -> tuple[Band, dict[str, Any], tuple[np.ndarray, np.ndarray]]:
    """The rule's band of rounded scores, described; and ``by_score`` of them.

    It is described by its bounds, its centre (the rank quantile of their midpoint) and `concentration`, and by its
    share of the target where that is known.

    Warns:
        UserWarning: the band holds a smaller part of the target's rows than half of that which it holds of the pool's.
    """
    tie_keys = partial(pool.tie_keys, seed)
    ordered, order = by_score(scores, tie_keys, budget)
    band = rule.band(scores, budget, tie_keys, pool["n_tokens"], target_scores, (ordered, order))
    centre = midpoint_rank(ordered, band.low, band.high) / (2 * len(ordered))
    told: dict[str, Any] = {"low": band.low, "high": band.high, "centre": centre, "rows": len(band.rows)}
    if target_scores is not None:
        inside = float(np.mean((rounded(target_scores) >= band.low) & (rounded(target_scores) <= band.high)))
        told["target_share"] = inside
        if inside < FEW * len(band.rows) / len(order):
            warnings.warn(
                f"The band of {name} holds {inside:.1%} of the target's rows and {len(band.rows) / len(order):.1%} of "
                "the pool's, so it lies where the target is not; place it by the target (the rule Anchored).",
                UserWarning,
                stacklevel=3,
            )
    return band, told | concentration(ordered, band, budget, name), (ordered, order)
