"""Leave out whole data sets of a pool before its rows are looked at."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Literal

import numpy as np

from selectune.common import checks
from selectune.common.errors import BudgetError
from selectune.selectors.base import Budget, Picked, Signals
from selectune.selectors.baselines import domains_of, turns
from selectune.selectors.ordering import key_order
from selectune.selectors.target import Comparing, even_weights


class DomainScreen(Comparing):
    """Keep the rows of the data sets nearest to the target by transport (GOT-D's pre-screen, Kang et al. 2024).

    The distance is the debiased one, OT(x, y) - (OT(x, x) + OT(y, y)) / 2, between a sample of a data set and the
    target. A run scores the samples alone, so data sets that lie far away cost next to nothing; use it as the
    ``prefilter`` of a `Chain`, so that the rows left alone are scored for its ``selector``.

    Args:
        domains: data sets to keep.
        sample: rows of each, and of the target, to compare; the first by hash(seed, text).
        rows: of all kept data sets, as many of each as they reach; default all.
        cost: of the transport, see `selectune.selectors.transport`.
        eps: of the transport.
        max_iterations: upper limit of the iterations of each solve.
        allow_unconverged: use the potentials of the last iteration where a solve does not converge.

    Warns:
        UserWarning: no data set would be left out.

    Raises:
        BudgetError: a number below 1.
        TransportError: an eps or a number of iterations that is out of range.
    """

    def __init__(
        self,
        domains: int = 2,
        sample: int = 10_000,
        rows: int | None = None,
        cost: Literal["sqeuclidean", "cosine"] = "sqeuclidean",
        eps: dict[str, float] = {"std": 0.05},  # noqa: B006
        max_iterations: int = 1000,
        allow_unconverged: bool = False,
    ) -> None:
        for name, value in (("domains", domains), ("sample", sample), ("rows", rows)):
            checks.at_least(f"DomainScreen's {name}", value, 1, BudgetError)
        from selectune.selectors.transport import Eps, checked_stop

        Eps.of(eps)
        checked_stop(1.0, max_iterations, None, 0.0, 1)
        self.domains, self.sample, self.rows, self.cost, self.eps = domains, sample, rows, cost, eps
        self.max_iterations, self.allow_unconverged = max_iterations, allow_unconverged

    @property
    def sets_own_size(self) -> bool:
        """True."""
        return True

    def select(self, pool: Signals, target: Signals | None, budget: Budget, seed: int) -> Picked:
        """Keep the rows of the nearest data sets; ``scores`` are the distance of a row's own.

        Raises:
            DataError: no target; a pool of one data set; embeddings that are not finite or not of the target's width.
        """
        from selectune.selectors.transport import sinkhorn_divergences  # with torch, which takes seconds

        names = ("embedding", "domain", "text_hash")
        sample = pool.take(self.sampled(pool, seed), names)
        target = self.target_of(sample, target)
        domains = np.unique(sample["domain"]).tolist()
        if self.domains >= len(domains):
            warnings.warn(
                f"DomainScreen keeps {self.domains} of {len(domains)} data sets, so it leaves none out; ask for fewer.",
                UserWarning,
                stacklevel=2,
            )
        weights, some = even_weights(target), key_order(target.tie_keys(seed))[: self.sample]
        divergences, flops = sinkhorn_divergences(
            [sample["embedding"][sample["domain"] == number] for number in domains],
            np.asarray(target["embedding"][some]), weights[some] / weights[some].sum(), cost=self.cost,
            eps=self.eps, max_iterations=self.max_iterations, allow_unconverged=self.allow_unconverged,
        )  # fmt: skip
        distances = dict(zip(domains, divergences))
        nearest = sorted(sorted(distances, key=lambda number: (distances[number], number))[: self.domains])
        diagnostics = {"distances": distances, "kept_domains": nearest}
        nothing = np.zeros(0, dtype=np.int64), np.zeros(0)
        picked = Picked(*nothing, diagnostics, flops, "transport of samples (analytic)")
        return self.of_pool(picked, pool, seed)

    def sampled(self, pool: Signals, seed: int) -> np.ndarray:
        """Rows that are compared, the first of each data set by key, ascending; a run scores these alone.

        Raises:
            DataError: a pool of one data set.
        """
        return np.flatnonzero(turns(domains_of(pool, "DomainScreen"), pool.tie_keys(seed)) < self.sample)

    def of_pool(self, picked: Picked, pool: Signals, seed: int) -> Picked:
        """The selection from a pool, after `select` has compared the data sets by a sample of it.

        The pool has at least the signals that every pool has; ``picked`` has ``distances`` and ``kept_domains`` in its
        diagnostics.
        """
        domain, keys, distances = pool["domain"], pool.tie_keys(seed), picked.diagnostics["distances"]
        kept = np.flatnonzero(np.isin(domain, picked.diagnostics["kept_domains"]))
        if self.rows is not None and self.rows < len(kept):
            before = turns(domain[kept], keys[kept])
            kept = np.sort(kept[np.lexsort((keys[kept], before))[: self.rows]])
        of_domain = np.array([distances.get(number, np.nan) for number in range(int(domain.max()) + 1)])
        return replace(picked, rows=kept, scores=of_domain[domain])
