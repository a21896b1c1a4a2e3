"""EUDS: keep the rows whose entropies lie inside an interval, by one entropy or by several (IGSE).

H. Li, Y. Liu, C. Huang, "Entropy-Based Data Selection for Language Models", IEEE Access 13 (2025), arXiv 2602.17465.
From the paper: a band of entropy is kept, not a top-k; information, generative and semantic entropy combined are called
IGSE. How the interval is placed and how the three are combined are this project's definitions.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from selectune.common import checks
from selectune.common.errors import BudgetError, ConcentratedScores, UserError
from selectune.selectors.base import Budget, Picked, Selector, Signals, lowest, rounded
from selectune.selectors.interval_rules import NARROW, Band, Densest, IntervalRule, concentration, finite


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
    def sets_own_size(self) -> bool:
        """Whether the rule does."""
        return self.rule.sets_own_size

    def select(self, pool: Signals, target: Signals | None, budget: Budget, seed: int) -> Picked:
        """Keep the rule's band; ``scores`` are the entropy."""
        scores = finite(pool[self.entropy], self.entropy)
        band = self.rule.band(scores, budget, pool.tie_keys(seed), pool["n_tokens"])
        return Picked(band.rows, scores, {"bands": {self.entropy: _described(scores, band, budget, self.entropy)}})


class IGSE(Selector):
    """Keep the rows that lie in the bands of several entropies at once (EUDS, Li et al. 2025).

    ``combine: box``. The rule picks a band of each entropy k at the budget asked for, and c_k is the rank quantile of
    that band's midpoint: the share of rows below it plus half of those equal to it. With u_ik the rank quantile of row
    i, (mid-rank - 1/2) / N, the budget is filled with the smallest d_i = max_k |u_ik - c_k|, rounded to 9 decimals,
    ties by key and row id: a box of equal widths around the bands' centres, widened until the budget is met. A rule
    that sets its own size leaves nothing to widen: the rows inside all of its bands are kept.

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
    def sets_own_size(self) -> bool:
        """Whether the rule does."""
        return self.rule.sets_own_size

    def select(self, pool: Signals, target: Signals | None, budget: Budget, seed: int) -> Picked:
        """Keep the box, or the band of the sum.

        ``scores`` are d_i for a box (with a rule that sets its own size, the number of bands that leave the row out),
        and the weighted sum for a sum.
        """
        values = {name: finite(pool[name], name) for name in self.entropies}
        if self.combine == "sum":
            return self._sum(values, pool, budget, seed)
        keys, n_tokens = pool.tie_keys(seed), pool["n_tokens"]
        bands = {name: self.rule.band(scores, budget, keys, n_tokens) for name, scores in values.items()}
        described = {name: _described(scores, bands[name], budget, name) for name, scores in values.items()}
        if self.sets_own_size:
            outside = np.full(pool.n_rows, len(bands), dtype=np.float64)
            for band in bands.values():
                outside[band.rows] -= 1
            rows = np.flatnonzero(outside == 0)
            if len(rows) == 0:
                ranges = "; ".join(f"{name} {band.low:.9g} to {band.high:.9g}" for name, band in bands.items())
                raise BudgetError(f"No row lies inside all the bands ({ranges}); choose wider bounds.")
            return Picked(rows, outside, {"bands": described})

        distance = np.zeros(pool.n_rows)
        for name, scores in values.items():  # in place and one after the other, as pools are large
            np.maximum(distance, np.abs(rank_quantiles(scores, 2 * scores) - described[name]["centre"]), out=distance)
        distance = rounded(distance)
        rows = lowest(distance, pool, budget, seed)
        half_width = float(distance[rows].max())
        edge, edge_kept = np.count_nonzero(distance == half_width), np.count_nonzero(distance[rows] == half_width)
        diagnostics = {"bands": described, "half_width": half_width}
        diagnostics |= {"edge_rows": int(edge_kept), "edge_rows_left_out": int(edge - edge_kept)}
        return Picked(rows, distance, diagnostics)

    def _sum(self, values: dict[str, np.ndarray], pool: Signals, budget: Budget, seed: int) -> Picked:
        """The rule's band of the weighted sum of standardized entropies."""
        total = np.zeros(pool.n_rows)
        for (name, scores), weight in zip(values.items(), self.weights, strict=True):
            if np.ptp(scores) < NARROW:
                warnings.warn(
                    f"{name} is concentrated (all rows lie within 1e-6), so selection by it is close to random.",
                    ConcentratedScores,
                    stacklevel=3,
                )
            ordered = np.sort(scores)  # moments are summed in sorted order, so that the order of rows does not matter
            if ordered[0] < ordered[-1]:
                std = float(np.sqrt(np.mean((ordered - ordered.mean()) ** 2)))
                total += weight * ((scores - ordered.mean()) / std)
        total = rounded(total)
        band = self.rule.band(total, budget, pool.tie_keys(seed), pool["n_tokens"])
        return Picked(band.rows, total, {"bands": {"sum": _described(total, band, budget, "the sum of entropies")}})


def rank_quantiles(scores: np.ndarray, doubled: np.ndarray | float) -> np.ndarray:
    """Share of the scores below x plus half of the share equal to x, for x = doubled / 2; the shape of ``doubled``.

    For a row's own score this is (mid-rank - 1/2) / N. Twice x is taken so that the midpoint of two scores, low + high,
    stands on the grid of 1e-9 that the scores stand on, and "equal" is exact.
    """
    ordered, doubled = np.sort(2 * rounded(scores)), rounded(np.asarray(doubled))
    below_or_equal = np.searchsorted(ordered, doubled, side="left") + np.searchsorted(ordered, doubled, side="right")
    return np.asarray(below_or_equal / (2 * len(ordered)))


def _described(scores: np.ndarray, band: Band, budget: Budget, name: str) -> dict[str, Any]:
    """Bounds, centre (the rank quantile of the midpoint) and `concentration` of a band."""
    centre = float(rank_quantiles(scores, band.low + band.high))
    bounds = {"low": band.low, "high": band.high, "centre": centre, "rows": len(band.rows)}
    return bounds | concentration(scores, band, budget, name)
